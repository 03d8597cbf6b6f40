"""The plug-in's modules without GIMP."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from fake_gi import faked


@pytest.fixture
def fake() -> Iterator[SimpleNamespace]:
    """The plug-in's modules under the fake, and `inside_gimp` to make images with."""
    with faked() as modules:
        yield modules

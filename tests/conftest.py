"""Fixtures for all tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from real_daemon import Daemon


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(short_path: Path) -> Iterator[Daemon]:
    """Where a daemon can live, not started yet."""
    daemon = Daemon(short_path)
    yield daemon
    daemon.end()


@pytest.fixture
def daemon(place: Daemon) -> Daemon:
    """A daemon of the test's own."""
    return place.start()


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[Daemon]:
    """A daemon for tests that leave it as they found it: its network is loaded once for all."""
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    daemon = Daemon(folder).start()
    yield daemon
    daemon.end()
    shutil.rmtree(folder, ignore_errors=True)

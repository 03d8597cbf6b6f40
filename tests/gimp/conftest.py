"""Real GIMPs with the plug-in, and a real daemon beside them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Picture

from dreamd.sample import cloudscape
from gimp_desk import BRIEF, KEYS, Desk
from gimp_lab import Lab
from real_daemon import Daemon
from real_gimp import Gimp, System, systems

#: Set where a missing GIMP is a failure, as in CI.
REQUIRED = "DEEPDREAM_REQUIRE_GIMP"


@pytest.fixture(scope="session", params=systems() or [None], ids=lambda system: system.name if system else "none")
def system(request: pytest.FixtureRequest) -> System:
    """Each GIMP that there is."""
    if request.param is None:
        missing = "There is no GIMP 3 for these tests: ./install/test makes some, on Debian and as root."
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(missing)
    found: System = request.param
    return found


@pytest.fixture(scope="session")
def make_gimp(shared_daemon: Daemon) -> Iterator[Callable[..., Gimp]]:
    """Makes GIMPs with the plug-in, which know the shared daemon, or with `daemon` another one."""
    made: list[tuple[Gimp, Path]] = []

    def make(system: System, daemon: Daemon = shared_daemon, **options: Any) -> Gimp:
        folder = Path(tempfile.mkdtemp(prefix="dd-"))
        config = {"DEEPDREAM_CONFIG": str(folder / "config")}
        gimp = Gimp(system, folder, environment=daemon.environment | config, shared=(daemon.folder,), **options)
        made.append((gimp, folder))
        gimp.add_plugin()
        return gimp.start()

    yield make
    for gimp, folder in made:
        gimp.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def gimp(system: System, make_gimp: Callable[..., Gimp]) -> Gimp:
    """A GIMP without a window, for tests that close the images they make."""
    return make_gimp(system)


@pytest.fixture
def lab(gimp: Gimp, shared_daemon: Daemon) -> Iterator[Lab]:
    """The same with helpers inside, and the daemon to compare with; images are closed after each test."""
    with shared_daemon.client() as client:
        lab = Lab(gimp, client)
        yield lab
        lab("forget()")


# With a window


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "cloud.png"
    Picture.fromarray(cloudscape()[0]).save(path)
    return path


@pytest.fixture(scope="session")
def window(system: System, make_gimp: Callable[..., Gimp], cloud: Path, shared_daemon: Daemon) -> Desk:
    """A GIMP with a window."""
    gimp = make_gimp(system, window=True, keys=KEYS)
    picture = gimp.folder / "cloud.png"
    picture.write_bytes(cloud.read_bytes())
    return Desk(gimp, picture, shared_daemon)


@pytest.fixture
def desk(window: Desk) -> Iterator[Desk]:
    """The same with the picture open, its cloud selected, and a brief dream in memory."""
    window.remember(**BRIEF)
    window.open()
    yield window
    window.close()

"""GIMP uses a daemon on another computer, when it is told to in its Networks window."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gimp_desk import AGAIN, BRIEF, KEYS, NETWORKS, RUNNING, Desk
from real_daemon import Daemon
from real_gimp import Gimp, System, wait_for
from two_computers import Computers, met


@pytest.fixture
def laptop() -> Iterator[Daemon]:
    """Where GIMP is, and no daemon."""
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    laptop = Daemon(folder)
    del laptop.environment["DEEPDREAM_ENDPOINT"]  # GIMP's own setting is to decide
    yield laptop
    laptop.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def desk(system: System, make_gimp: Callable[..., Gimp], cloud: Path, laptop: Daemon) -> Desk:
    gimp = make_gimp(system, laptop, window=True, keys=KEYS)
    laptop.environment["DEEPDREAM_CONFIG"] = gimp.environment["DEEPDREAM_CONFIG"]
    picture = gimp.folder / "cloud.png"
    picture.write_bytes(cloud.read_bytes())
    desk = Desk(gimp, picture, laptop)
    desk.remember(**BRIEF)
    # The root has no CURVE: its relay is the one of the machine around it.
    command = ["chroot", "/tmp/host", str(Path(sys.executable).with_name("deepdream"))]
    (laptop.folder / "data").mkdir(exist_ok=True)
    (laptop.folder / "data" / "daemon-command").write_text("\n".join(command))
    return desk


@pytest.fixture
def computers(place: Daemon, laptop: Daemon, desk: Desk) -> Iterator[Computers]:
    computers = met(place, laptop)
    yield computers
    computers.line.close()


def test_a_dream_is_dreamt_in_the_studio(desk: Desk, computers: Computers) -> None:
    desk.open()
    desk.press(NETWORKS)
    window = desk.gimp.window_of("Networks")
    desk.gimp.press("alt+d", window=window)
    desk.gimp.type(computers.endpoint)
    desk.gimp.press("Return", window=window)
    wait_for(lambda: computers.studio.run("status").stdout.count(", laptop connected"), "the studio's guest")
    wait_for(lambda: len(np.unique(desk.screen("studio", "Networks"))) > 60, "an answer")
    desk.gimp.shot("studio", window)
    desk.gimp.press("Escape", window=window)
    desk.gone("Networks")
    desk.press(AGAIN)
    wait_for(lambda: len(desk.layers) == 2, "a layer", lambda: desk.gimp.words)
    desk.gone(RUNNING)
    assert "dream from gimp" in computers.studio.log
    assert "of laptop, " in computers.studio.log
    # The one on the laptop, which was asked when the window was opened, has had nothing to do.
    assert "dream from gimp" not in computers.laptop.log
    desk.close()

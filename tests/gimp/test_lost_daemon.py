"""kill -9 while a layer is dreamt in GIMP: of the daemon, whose place the next one takes, and of GIMP itself."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gimp_desk import AGAIN, BRIEF, DIALOG, ENDLESS, KEYS, RUNNING, Desk
from real_daemon import Daemon
from real_gimp import Gimp, System, wait_for


@pytest.fixture(scope="module")
def lone(system: System, make_gimp: Callable[..., Gimp], cloud: Path) -> Iterator[Desk]:
    """A GIMP with a daemon of its own, which it can start again, and the picture open."""
    daemon = Daemon(Path(tempfile.mkdtemp(prefix="dd-")))
    gimp = make_gimp(system, daemon, window=True, keys=KEYS)
    picture = gimp.folder / "cloud.png"
    picture.write_bytes(cloud.read_bytes())
    data = daemon.folder / "data"
    data.mkdir()
    # The root has no torch: its daemon is the one of the machine around it.
    command = ["chroot", "/tmp/host", str(Path(sys.executable).with_name("deepdream"))]
    (data / "daemon-command").write_text("\n".join(command))
    daemon.start()
    desk = Desk(gimp, picture, daemon)
    desk.open()
    yield desk
    daemon.end()
    shutil.rmtree(daemon.folder, ignore_errors=True)


def undo(desk: Desk) -> None:
    desk.press("ctrl+z")
    wait_for(lambda: desk.shown == desk.before, "the picture as it was, after one undo")


def test_a_layer_whose_daemon_is_killed_is_dreamt_by_the_next_one_as_if_nothing_had_been(lone: Desk) -> None:
    lone.remember(**BRIEF | {"steps": 60})
    lone.press(AGAIN)
    lone.dreaming()
    lone.daemon.kill()
    lone.gone(RUNNING)
    assert lone.daemon.log.count(": dream from gimp") == 2
    assert len(lone.layers) == 2
    dreamt = lone.shown
    undo(lone)
    lone.press(AGAIN)
    lone.dreaming()
    lone.gone(RUNNING)
    assert lone.shown == dreamt
    undo(lone)


def test_a_layer_that_loses_the_next_daemon_too_is_taken_away_and_that_is_told(lone: Desk) -> None:
    lone.remember(**ENDLESS)
    lone.press(AGAIN)
    lone.dreaming()
    lone.daemon.kill()
    wait_for(lambda: lone.daemon.answers() and lone.jobs == ["running"], "the job at the next daemon")
    lone.daemon.kill()
    told = lone.gimp.window_of(DIALOG)
    lone.gimp.shot("lost-twice", told)
    lone.gimp.press("Escape", window=told)
    lone.gone(DIALOG)
    lone.gone(RUNNING)
    assert len(lone.layers) == 1
    assert lone.shown == lone.before
    assert "Traceback" not in lone.gimp.words


def test_the_job_of_a_gimp_that_is_killed_is_dropped(lone: Desk) -> None:
    lone.remember(**ENDLESS)
    lone.daemon.start()
    lone.press(AGAIN)
    lone.dreaming()
    assert lone.jobs == ["running"]
    (gimp,) = (each for each in psutil.process_iter() if is_gimp(each, str(lone.gimp.probe)))
    gimp.kill()
    wait_for(lambda: not lone.jobs, "the job's end")


def is_gimp(process: psutil.Process, probe: str) -> bool:
    """Whether this is GIMP itself, which was started with this probe."""
    try:
        return process.environ().get("PROBE") == probe and Path(process.cmdline()[0]).name.startswith("gimp")
    except (psutil.Error, IndexError):
        return False

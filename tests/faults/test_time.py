"""Time that is not what it was: a clock set back, and a laptop that was closed for a while."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from dreamd import codec
from dreamwire import client as client_module
from dreamwire.errors import UnreachableError
from dreamwire.messages import Message, Pong
from fake_daemon import fake_daemon, of_version
from jobs_sent import BRIEF, dreamt, eventually, image, last, picture, states
from real_daemon import Daemon

ROOT = Path(__file__).resolve().parents[2]
#: Of Python's own: every reading of the wall clock is an hour before the one before.
SET_BACK = """
import time
real, count = time.time, iter(range(1, 1 << 30))
time.time = lambda: real() - 3600 * next(count)
time.time_ns = lambda: int(1e9 * time.time())
"""


def test_a_clock_that_is_set_back_again_and_again_is_noticed_by_nothing(place: Daemon) -> None:
    patched = place.folder / "patched"
    patched.mkdir()
    (patched / "sitecustomize.py").write_text(SET_BACK)
    place.environment["PYTHONPATH"] = str(patched)
    place.options = ("--idle", "0.5")
    codec.write(codec.Picture(picture()), place.folder / "in.png")
    with place.start().client() as client:
        kept = client.submit("dream", BRIEF, image=image(), keep=True)
        eventually(lambda: states(place)[kept.id] == "done", "a result")
        made = place.run("dream", "in.png", "-o", "out.png", "--steps", "1", "--octaves", "1")
        assert made.returncode == 0, made.stderr
        eventually(lambda: not client.status()["workers"][0]["running"], "the end of an idle worker")
        assert last(client.attach(kept.id)).job == kept.id
        dreamt(client)
        assert 0 < client.status()["uptime_seconds"] < 3600


#: What reads the wall clock. Names of files and lines of logs may have it; nothing is decided by it.
WALL = {
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime", "datetime.now", "date.today",
}  # fmt: skip


@pytest.mark.parametrize("folder", ["daemon/dreamd", "plugin/deep-dream"])
def test_nothing_reads_the_wall_clock(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) in WALL), f"{path} does"
            assert not (isinstance(node, ast.ImportFrom) and node.module == "time"), f"{path} may"


# A laptop that was closed


@pytest.fixture
def sleep(long: bool) -> Callable[[list[int]], None]:
    """Stops processes for a while, as a machine does that is suspended."""

    def sleep(pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(60 if long else 2)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    return sleep


def test_a_machine_suspended_in_the_middle_of_a_dream_goes_on_with_it(
    daemon: Daemon, sleep: Callable[[list[int]], None]
) -> None:
    codec.write(codec.Picture(picture(200, 200)), daemon.folder / "in.png")
    command = [sys.executable, "-m", "dreamd", "dream", "in.png", "-o", "out.png", "--layers", "blocks.2"]
    process = subprocess.Popen(
        [*command, "--octaves", "1", "--steps", "200"],
        cwd=daemon.folder, env=os.environ | daemon.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip

    def begun() -> bool:
        with daemon.client() as client:
            return any(job["fraction"] > 0 for job in client.status()["jobs"])

    eventually(begun, "a dream")
    worker = daemon.worker().pid
    assert daemon.process is not None
    sleep([process.pid, worker, daemon.process.pid])
    errors = process.communicate(timeout=120)[1]
    assert (process.returncode, errors) == (0, "")
    assert daemon.worker().pid == worker
    assert daemon.log.count(": dream from deepdream") == 1
    with daemon.client() as client:
        dreamt(client)


@pytest.mark.parametrize("transport", ["pyzmq", "builtin"])
def test_a_client_that_slept_while_it_waited_for_an_answer_still_gets_it(
    daemon: Daemon, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock jumps by a day at every look, but time in which it did not run is not the daemon's."""
    monkeypatch.setenv("DEEPDREAM_TRANSPORT", transport)
    with daemon.client() as client:
        days = iter(range(1_000_000))
        monkeypatch.setattr(client_module, "time", SimpleNamespace(monotonic=lambda: 86400.0 * next(days)))
        for _ in range(5):
            client.ping()


def test_a_daemon_that_does_not_answer_is_given_up_all_the_same(
    tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(message: Message) -> Message:
        time.sleep(3)
        return Pong()

    monkeypatch.setattr(client_module, "PATIENCE", 0.5)
    monkeypatch.setattr(client_module, "WAIT", 0.1)
    with (
        fake_daemon(short_path, of_version("1", answer)) as endpoint,
        client_module.Client(endpoint, start=False) as client,
        pytest.raises(UnreachableError, match="does not answer"),
    ):
        client.ping()

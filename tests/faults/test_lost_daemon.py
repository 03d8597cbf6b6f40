"""kill -9 of the daemon: whoever waits for a picture is told, and gets it from the next daemon."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dreamd import codec
from dreamwire.client import Client, Done
from dreamwire.errors import NobodyListensError
from dreamwire.messages import Message, Progress
from jobs_sent import BRIEF, eventually, image, last, picture, states
from real_daemon import Daemon
from session import LOST, Dream, Session

#: Larger than what a socket holds, so that sending it takes as long as nobody reads.
LARGE = picture(600, 800)
#: Steps enough to be stopped in.
PARAMS = BRIEF | {"steps": 12, "seed": 7}


@dataclass
class User:
    """Somebody who wants a picture; `told` when the daemon is lost. Reads nothing while the gate is shut."""

    daemon: Daemon
    folder: Path
    gate: threading.Event = field(default_factory=threading.Event)
    told: list[float] = field(default_factory=list)

    def want(self) -> None:
        """Asks for the picture."""
        raise NotImplementedError

    def shut(self) -> None:
        """Reads nothing from now on."""
        self.gate.clear()

    def open(self) -> None:
        self.gate.set()

    def got(self) -> bytes:
        """The picture."""
        raise NotImplementedError

    def lost(self) -> None:
        self.told.append(time.monotonic())


class Script(User):
    """A script in Python, with the client library."""

    def want(self) -> None:
        self.results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.gate.set()
        threading.Thread(target=self._run).start()

    def _run(self) -> None:
        try:
            with Client(self.daemon.endpoint, lost=self.lost) as client:
                for event in client.submit("dream", PARAMS, image=image(LARGE)):
                    self.gate.wait()
                    if isinstance(event, Done):
                        self.results.put(event)
        except Exception as error:
            self.results.put(error)

    def got(self) -> bytes:
        done = self.results.get(timeout=60)
        assert isinstance(done, Done), done
        return bytes(done.frames[0])


class PlugIn(User):
    """The plug-in's conversation with the daemon."""

    def want(self) -> None:
        self.ends: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.gate.set()
        session = Session(self._post, lambda text: self.lost() if text == LOST else None)
        session.dream(Dream(self, PARAMS, image(LARGE)))
        session.close()

    def _post(self, call: Callable[[], None]) -> None:
        """Calls are made in the thread that reads, which so waits for the gate."""
        self.gate.wait()
        call()

    def on_event(self, event: Message) -> None:
        assert isinstance(event, Progress)

    def on_done(self, done: Done) -> None:
        self.ends.put(done)

    def on_failed(self, error: Exception) -> None:
        self.ends.put(error)

    def got(self) -> bytes:
        done = self.ends.get(timeout=60)
        assert isinstance(done, Done), done
        return bytes(done.frames[0])


class Command(User):
    """Somebody at the command line."""

    def want(self) -> None:
        codec.write(codec.Picture(LARGE), self.folder / "in.png")
        flags = [f"--{name}={value}" for name, value in PARAMS.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dreamd", "dream", "in.png", "-o", "out.png", *flags],
            cwd=self.folder, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._hear).start()

    def _hear(self) -> None:
        assert self.process.stderr is not None
        self.said = []
        for line in self.process.stderr:
            self.said.append(line)
            if "The daemon ended in the middle" in line:
                self.lost()

    def shut(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def open(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def got(self) -> bytes:
        assert self.process.wait(60) == 0, self.said
        return codec.read(self.folder / "out.png").pixels.tobytes()


@pytest.fixture(params=[Script, PlugIn, Command], ids=["a script", "the plug-in", "a command"])
def user(
    request: pytest.FixtureRequest,
    place: Daemon,
    use: Callable[[Daemon], Daemon],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> User:
    # In this process, where libzmq would go on reading, with the other transport.
    monkeypatch.setenv("DEEPDREAM_TRANSPORT", "pyzmq" if request.param is Command else "builtin")
    user: User = request.param(use(place), tmp_path)
    return user


@pytest.fixture(scope="module")
def expected(shared_daemon: Daemon) -> bytes:
    """The picture that is to come of it."""
    with shared_daemon.client() as client:
        return bytes(last(client.submit("dream", PARAMS, image=image(LARGE))).frames[0])


def queued(user: User, stop: Callable[[int], None]) -> float:
    """Another one is before it."""
    stop(user.daemon.worker().pid)
    with user.daemon.client() as other:
        first = other.submit("dream", BRIEF, image=image())
        user.want()
        eventually(lambda: len(states(user.daemon)) == 2, "a second job")
        assert states(user.daemon)[first.id] == "queued"
        return user.daemon.kill()


def loading(user: User, stop: Callable[[int], None]) -> float:
    """The worker never comes."""
    stop(user.daemon.worker().pid)
    user.want()
    eventually(lambda: states(user.daemon), "a job")
    return user.daemon.kill()


def in_a_dream(user: User, stop: Callable[[int], None]) -> float:
    """The worker has made its first steps, and makes no more."""
    user.want()

    def dreams() -> bool:
        with user.daemon.client() as client:
            return any(0 < job["fraction"] < 1 for job in client.status()["jobs"])

    eventually(dreams, "a dream")
    stop(user.daemon.worker().pid)
    return user.daemon.kill()


def sending(user: User, stop: Callable[[int], None]) -> float:
    """The result is on its way, to somebody who does not read it."""
    user.want()
    eventually(lambda: states(user.daemon), "a job")
    user.shut()
    eventually(lambda: "done" in states(user.daemon).values(), "a result")
    killed = user.daemon.kill()
    user.open()
    return killed


@pytest.mark.parametrize("state", [queued, loading, in_a_dream, sending])
def test_a_daemon_killed_with_a_job_is_told_and_the_next_one_makes_the_picture(
    user: User,
    state: Callable[[User, Callable[[int], None]], float],
    expected: bytes,
    stop: Callable[[int], None],
    figure: Callable[[str, str], None],
) -> None:
    user.daemon.start()
    killed = state(user, stop)
    assert user.got() == expected
    assert len(user.told) == 1, "it was told, once"
    who, when = type(user).__name__.lower(), state.__name__.replace("_", " ")
    figure(f"kill -9 of the daemon, job {when}: until the {who} says so", f"{user.told[0] - killed:.2f} s")
    of_user = "deepdream|python|gimp"
    first, second = re.findall(rf"job (\S+): dream from (?:{of_user}) ", user.daemon.log)
    assert first == second, "the same job"


def test_a_socket_that_is_taken_away_while_it_is_looked_at_is_nobodys(
    place: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the next daemon does with what a killed one has left."""
    place.start()
    place.kill()
    exists = os.path.lexists

    def taken_away(path: Path) -> bool:
        found = exists(path)
        place.socket.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(os.path, "lexists", taken_away)
    assert place.socket.exists()
    with pytest.raises(NobodyListensError):
        place.client()
    assert not place.socket.exists()

"""A service manager listens in the daemon's place and starts it when somebody connects: sd_listen_fds(3)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from dreamwire.client import Client
from dreamwire.private import secure_dir
from real_daemon import Daemon

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="service managers of POSIX")


def listening(family: socket.AddressFamily, address: object) -> socket.socket:
    listening = socket.socket(family)
    mask = os.umask(0o177)
    try:
        listening.bind(address)
    finally:
        os.umask(mask)
    listening.listen()
    return listening


#: What systemd does before it starts a program: its sockets are the descriptors from 3 on, and it is told so.
HAND_OVER = """
import fcntl, os, sys
pid, handed, *command = sys.argv[1:]
for number, fd in enumerate([fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in handed.split()]):
    os.dup2(fd, 3 + number)
os.environ |= {"LISTEN_PID": pid or str(os.getpid()), "LISTEN_FDS": str(len(handed.split()))}
os.execv(command[0], command)
"""


@contextlib.contextmanager
def activated(
    place: Daemon, *handed: socket.socket, pid: str = "", serve: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """A daemon to which sockets are handed over; `pid` whom they are said to be for, if not for it."""
    fds = [each.fileno() for each in handed]
    daemon = [sys.executable, "-m", "dreamd", "serve", "--preload", "", *serve]
    process = subprocess.Popen(
        [sys.executable, "-c", HAND_OVER, pid, " ".join(map(str, fds)), *daemon],
        env=os.environ | place.environment | {"DEEPDREAM_ENDPOINT": ""},
        pass_fds=fds, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_it_serves_at_the_socket_that_was_handed_over_and_leaves_it(place: Daemon) -> None:
    secure_dir(place.socket.parent)
    with listening(socket.AF_UNIX, str(place.socket)) as handed:
        before = place.socket.lstat().st_ino
        for _ in range(2):  # as often as it is started
            with activated(place, handed), Client(place.endpoint, start=False) as client:
                assert client.status()["endpoint"] == place.endpoint
                client.shutdown()
                client.wait_until_gone()
            assert place.socket.lstat().st_ino == before
            assert stat.S_IMODE(place.socket.lstat().st_mode) == 0o600


def test_who_has_connected_before_it_was_started_is_served(place: Daemon) -> None:
    secure_dir(place.socket.parent)
    with listening(socket.AF_UNIX, str(place.socket)) as handed:
        waiting = subprocess.Popen(
            [sys.executable, "-m", "dreamd", "status", "--endpoint", place.endpoint],
            env=os.environ | place.environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        handed.settimeout(30)
        with activated(place, handed):
            assert waiting.communicate(timeout=30)[0].startswith("daemon ")


def test_over_tcp_the_token_is_there_for_who_has_connected_before(place: Daemon) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as handed:
        endpoint = f"tcp://127.0.0.1:{handed.getsockname()[1]}"
        with activated(place, handed):
            status = place.run("status", "--endpoint", endpoint)
            assert status.returncode == 0, status.stderr
            (token,) = Path(place.environment["DEEPDREAM_RUNTIME"]).glob("token-*[0-9]")
            assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert not token.exists()


def refused(place: Daemon, *handed: socket.socket, serve: Sequence[str] = ()) -> str:
    """What a daemon says that does not start."""
    with activated(place, *handed, serve=serve) as process:
        assert process.wait(20) == 1
        assert process.stderr is not None
        said = process.stderr.read()
    assert len(said.splitlines()) == 1
    return said


def test_what_it_cannot_serve_is_refused(place: Daemon) -> None:
    secure_dir(place.socket.parent)
    loopback = ("127.0.0.1", 0)
    with listening(socket.AF_UNIX, str(place.socket)) as one, listening(socket.AF_INET, loopback) as other:
        assert "2 sockets were handed over, but a daemon serves one" in refused(place, one, other)
        said = refused(place, one, serve=("--endpoint", "tcp://127.0.0.1:1"))
        assert (
            f"The socket of {place.endpoint} was handed over, but --endpoint asks for tcp://127.0.0.1:1." in said
        )
        with socket.socket(socket.AF_UNIX) as deaf:
            assert "does not listen" in refused(place, deaf)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as letters:
            assert "does not listen" in refused(place, letters)
        place.socket.parent.chmod(0o755)
        assert f"Run `chmod 700 {place.socket.parent}`" in refused(place, one)
    with listening(socket.AF_INET, ("0.0.0.0", 0)) as public:  # noqa: S104
        assert "could be reached from other machines" in refused(place, public)


def test_where_another_one_serves_the_manager_is_told_that_it_failed(daemon: Daemon) -> None:
    """Else it would start one after the other for whoever waits."""
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)  # or it would see that its place is taken, and end
    try:
        daemon.socket.rename(daemon.socket.with_name("aside"))
        with listening(socket.AF_UNIX, str(daemon.socket)) as handed:
            assert "serves" in refused(daemon, handed)
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def test_what_was_handed_to_somebody_else_is_not_taken(place: Daemon) -> None:
    secure_dir(place.socket.parent)
    serve = "--endpoint", place.endpoint
    with (
        listening(socket.AF_UNIX, str(place.folder / "other")) as handed,
        activated(place, handed, pid="1", serve=serve) as process,
    ):
        while not place.socket.exists() and process.poll() is None:
            time.sleep(0.02)
        with Client(place.endpoint, start=False) as client:
            assert client.status()["endpoint"] == place.endpoint


def test_by_hand_no_daemon_takes_the_place_of_one_that_a_manager_would_start(place: Daemon) -> None:
    secure_dir(place.socket.parent)
    with listening(socket.AF_UNIX, str(place.socket)):
        before = place.socket.lstat().st_ino
        done = place.run("serve")
        assert (done.returncode, done.stderr) == (0, f"A daemon serves {place.endpoint} already; nothing to do.\n")
        assert place.socket.lstat().st_ino == before


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="needs systemd-socket-activate")
def test_systemd_itself_hands_it_over_so(place: Daemon) -> None:
    secure_dir(place.socket.parent)
    names = [name for name in place.environment if name != "DEEPDREAM_ENDPOINT"]
    passed = [word for name in (*names, "PATH", "HOME") for word in ("--setenv", name)]
    daemon = [sys.executable, "-m", "dreamd", "serve"]
    activator = subprocess.Popen(
        ["systemd-socket-activate", "--listen", str(place.socket), *passed, *daemon],
        env=os.environ | place.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert activator.stderr is not None
        assert "Listening" in activator.stderr.readline()
        health = place.run("health")
        assert health.returncode == 0, health.stdout
        assert place.run("stop").returncode == 0
        assert activator.wait(30) == 0
    finally:
        activator.kill()
        activator.communicate()

"""A thousand connections, to a daemon that may have many descriptors, or few."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

import psutil
import pytest

from dreamwire.errors import UnreachableError
from jobs_sent import dreaming, dreamt, eventually, last
from real_daemon import Daemon

CROWD = 1000


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    """This process needs descriptors for the crowd too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def crowd(daemon: Daemon, enough: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """A thousand connections that say nothing; once there are `enough`, those of them that come in."""
    with contextlib.ExitStack() as stack:
        for _ in range(CROWD):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            eventually(partial(presses_in, connection, daemon, enough), "a connection")
        yield


def presses_in(connection: socket.socket, daemon: Daemon, enough: Callable[[], bool]) -> bool:
    """Whether it has come in, or need not: a queue that is full is emptied before long, on a busy machine too."""
    connection.settimeout(0.2)
    try:
        connection.connect(str(daemon.socket))
    except (TimeoutError, BlockingIOError):
        return enough()
    return True


def test_a_thousand_connections_are_no_trouble(daemon: Daemon) -> None:
    with daemon.client() as before, crowd(daemon), daemon.client() as after:
        dreamt(before)
        dreamt(after)


def test_a_daemon_with_few_descriptors_outlives_a_crowd_and_serves_whoever_comes_later(place: Daemon) -> None:
    descriptors = 1024  # far fewer than systems allow
    limited = f"ulimit -n {descriptors}; exec {sys.executable} -m dreamd serve --preload ''"
    process = subprocess.Popen(["sh", "-c", limited], env=os.environ | place.environment)
    try:
        before = eventually(lambda: reached(place), "the daemon")
        job = dreaming(before)
        with crowd(place, enough=lambda: "as many as there may be" in place.log):
            eventually(lambda: "as many as there may be" in place.log, "a word of it")
            dreamt_meanwhile = job.next(60)
            assert dreamt_meanwhile is not None, "who was there before is served"
            assert psutil.Process(process.pid).num_fds() < descriptors
            with pytest.raises(UnreachableError, match="too many connections"):
                place.client()
        with eventually(lambda: reached(place), "a place") as after:
            assert after.welcome.instance == before.welcome.instance
            job.stop()
            last(job)
            dreamt(after)
        before.close()
        eventually(lambda: psutil.Process(process.pid).num_fds() < 64, "the crowd's end")
        names = {file.name for file in place.socket.parent.iterdir() if "worker" not in file.name}
        assert names == {"d.sock", "d.sock.lock"}
    finally:
        process.terminate()
        assert process.wait(30) == 0


def reached(daemon: Daemon):  # type: ignore[no-untyped-def]
    try:
        return daemon.client()
    except UnreachableError:
        return None

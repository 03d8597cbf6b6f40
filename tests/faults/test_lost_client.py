"""kill -9 of a client: its job is dropped, or kept for whoever asks for it by its id, as it wished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from dreamwire.errors import DreamError
from dreamwire.messages import Done
from jobs_sent import BRIEF, ENDLESS, dreamt, eventually, image, last, picture, states
from real_daemon import Daemon

#: A client that sends a job and waits for it.
CLIENT = """
import sys
from dreamwire.client import Client
from jobs_sent import BRIEF, ENDLESS, image, last
endpoint, job, wish = sys.argv[1:]
with Client(endpoint, start=False) as client:
    params = BRIEF | {"steps": 60} if wish == "keep" else ENDLESS
    last(client.submit("dream", params, image=image(), keep=wish == "keep", job=job))
"""


@pytest.fixture
def client() -> Iterator[Callable[[Daemon, str, str], subprocess.Popen[bytes]]]:
    """Starts a client in a process of its own."""
    processes = []

    def start(daemon: Daemon, job: str, wish: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", CLIENT, daemon.endpoint, job, wish]
        processes.append(process := subprocess.Popen(command, env=environment))
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def begun(daemon: Daemon, job: str) -> bool:
    with daemon.client() as client:
        return any(each["job"] == job and 0 < each["fraction"] < 1 for each in client.status()["jobs"])


@pytest.mark.parametrize("transport", ["pyzmq", "builtin"])
def test_the_job_of_a_killed_client_is_dropped_and_the_next_one_done(
    daemon: Daemon,
    client: Callable[[Daemon, str, str], subprocess.Popen[bytes]],
    transport: str,
    figure: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPDREAM_TRANSPORT", transport)
    with daemon.client() as other:
        running, waiting = str(uuid.uuid4()), str(uuid.uuid4())
        first = client(daemon, running, "drop")
        eventually(lambda: begun(daemon, running), "its job")
        second = client(daemon, waiting, "drop")
        eventually(lambda: waiting in states(daemon), "another")
        killed = time.monotonic()
        first.kill()
        second.kill()
        eventually(lambda: not states(daemon), "the end of both")
        figure(f"kill -9 of two clients ({transport}): until their jobs are dropped", _seconds(killed))
        dreamt(other)
        figure(f"kill -9 of two clients ({transport}): until the next one's small job is done", _seconds(killed))
        assert other.status()["counts"]["cancelled"] == 2


def _seconds(since: float) -> str:
    return f"{time.monotonic() - since:.2f} s"


def test_the_job_of_a_killed_client_that_is_to_be_kept_is_fetched_later_by_its_id(
    daemon: Daemon, client: Callable[[Daemon, str, str], subprocess.Popen[bytes]]
) -> None:
    job = str(uuid.uuid4())
    process = client(daemon, job, "keep")
    eventually(lambda: begun(daemon, job), "its job")
    process.kill()
    process.wait()
    eventually(lambda: states(daemon).get(job) == "done", "its end")
    with daemon.client() as first:
        first.attach(job)  # and goes, without having read it
    with daemon.client() as second:
        attached = second.attach(job)
        done = attached.next(10)
        assert isinstance(done, Done)
        assert done.params["steps"] == 60
        with pytest.raises(DreamError, match="fetched, has expired, or never came"):
            second.attach(job)


def test_a_job_that_is_sent_again_after_its_client_was_killed_is_another_one(
    daemon: Daemon,
    client: Callable[[Daemon, str, str], subprocess.Popen[bytes]],
    stop: Callable[[int], None],
) -> None:
    """Even while its worker has not yet heard that nobody wants the first one."""
    job = str(uuid.uuid4())
    process = client(daemon, job, "drop")
    eventually(lambda: begun(daemon, job), "its job")
    worker = daemon.worker().pid
    stop(worker)
    process.kill()
    eventually(lambda: job not in states(daemon), "its end")
    with daemon.client() as second:
        again = second.submit("dream", BRIEF, image=image(picture(30, 30)), job=job)
        os.kill(worker, signal.SIGCONT)
        assert last(again).params["steps"] == BRIEF["steps"] != ENDLESS["steps"]

"""The worker dies, of a fault or for want of memory: its job is begun anew, once, and the queue goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from dreamwire.client import Client, JobCancelledError
from dreamwire.errors import DreamError
from dreamwire.messages import Progress
from jobs_sent import BRIEF, dreaming, dreamt, eventually, image, last, picture, states
from real_daemon import Daemon

#: Steps enough to die in, windows large enough to be made smaller.
PARAMS = BRIEF | {"steps": 30}


def killed_in_a_dream(daemon: Daemon, client: Client, how: signal.Signals, stop: Callable[[int], None]) -> None:
    """The worker dies in the middle of the only job, however quick that is."""
    worker = eventually(lambda: _dreamer(client), "a dream")
    stop(worker)
    os.kill(worker, how)
    eventually(lambda: client.status()["workers"][0]["pid"] != worker, "the front's knowing it")


def _dreamer(client: Client) -> int:
    """The process of a worker in the middle of a dream, or 0."""
    status = client.status()
    dreams = any(0 < job["fraction"] < 1 for job in status["jobs"])
    return int(status["workers"][0]["pid"]) if dreams else 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV], ids=["killed", "of a fault"])
def test_a_job_whose_worker_dies_is_begun_anew_and_those_after_it_are_done(
    daemon: Daemon, how: signal.Signals, stop: Callable[[int], None]
) -> None:
    with daemon.client() as client, daemon.client() as watcher:
        front = client.status()["pid"]
        expected = bytes(last(client.submit("dream", PARAMS, image=image())).frames[0])
        job, after = (client.submit("dream", PARAMS, image=image()) for _ in range(2))
        killed_in_a_dream(daemon, watcher, how, stop)
        done, next_done = last(job), last(after)
        assert bytes(done.frames[0]) == bytes(next_done.frames[0]) == expected
        # It may have been for want of memory.
        assert done.info["degraded"] == ["the window was reduced to 256 px"]
        assert next_done.info["degraded"] == []
        status = client.status()
        assert status["pid"] == front
        assert status["workers"][0]["starts"] == 3
        assert status["counts"]["done"] == 3


def test_a_job_that_two_workers_die_of_fails_and_the_next_one_is_done(
    daemon: Daemon, stop: Callable[[int], None]
) -> None:
    with daemon.client() as client, daemon.client() as watcher:
        job = dreaming(client)
        killed_in_a_dream(daemon, watcher, signal.SIGKILL, stop)
        eventually(lambda: _again(job.next(10)), "the second worker's dream")
        killed_in_a_dream(daemon, watcher, signal.SIGKILL, stop)
        with pytest.raises(DreamError, match=r"signal 9.*so did the one before.*smaller window") as caught:
            last(job)
        assert caught.value.retryable
        dreamt(client)


def _again(event: object) -> bool:
    """Whether this is the first step of a dream that is begun anew."""
    return isinstance(event, Progress) and event.state == "dreaming" and event.octave == event.step == 1


def test_a_job_that_was_cancelled_is_not_begun_anew(daemon: Daemon, stop: Callable[[int], None]) -> None:
    with daemon.client() as client:
        job, worker = dreaming(client), daemon.worker().pid
        stop(worker)
        job.cancel()
        client.ping()  # the daemon has heard it
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(JobCancelledError):
            last(job)
        dreamt(client)


def test_a_job_that_was_to_be_stopped_gives_what_the_next_worker_has_at_once(
    daemon: Daemon, stop: Callable[[int], None]
) -> None:
    with daemon.client() as client:
        job, worker = dreaming(client), daemon.worker().pid
        stop(worker)
        job.stop()
        client.ping()
        os.kill(worker, signal.SIGKILL)
        assert last(job).info["stopped"]


def test_a_job_that_is_kept_for_nobody_is_begun_anew_too(daemon: Daemon, stop: Callable[[int], None]) -> None:
    with daemon.client() as client:
        job = client.submit("dream", PARAMS, image=image(), keep=True)
    with daemon.client() as client:
        killed_in_a_dream(daemon, client, signal.SIGKILL, stop)
        assert last(client.attach(job.id)).params["steps"] == PARAMS["steps"]


def test_a_worker_that_dies_without_a_job_costs_nothing(daemon: Daemon) -> None:
    with daemon.client() as client:
        dreamt(client)
        daemon.worker().kill()
        assert dreamt(client).info["degraded"] == []


def test_the_pixels_of_a_large_job_are_not_kept_and_it_fails(daemon: Daemon, stop: Callable[[int], None]) -> None:
    """Of more than 256 MB: its worker needs the room."""
    large = picture(64, 64).repeat(190, 0).repeat(120, 1)
    with daemon.client() as client:
        job = client.submit("dream", PARAMS, image=image(large))
        eventually(lambda: states(daemon)[job.id] == "running", "a worker")
        worker = daemon.worker().pid
        stop(worker)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(DreamError, match=r"signal 9\) in the middle of the job\. Try again"):
            last(job)
        dreamt(client)

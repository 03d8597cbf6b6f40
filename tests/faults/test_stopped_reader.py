"""A client that reads nothing, because it was stopped: it costs bounded memory, and nobody else anything."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from dreamwire.client import Client
from dreamwire.messages import Progress
from jobs_sent import BRIEF, eventually, image, last, picture, states
from real_daemon import Daemon

#: A client that wants every preview of a long dream, and says when it has come to its end.
READER = """
import sys
from dreamwire.client import Client
from dreamwire.messages import Preview
from jobs_sent import BRIEF, image, last, picture
with Client(sys.argv[1], start=False) as client:
    params = BRIEF | {"steps": int(sys.argv[2])}
    last(client.submit("dream", params, image=image(picture(300, 400)), preview=Preview(interval_ms=20)))
print("done")
"""
#: More than a hundred of the reader's previews have.
BOUND = 32 << 20


@pytest.fixture
def reader() -> Iterator[Callable[[Daemon, int], subprocess.Popen[str]]]:
    processes = []

    def start(daemon: Daemon, steps: int) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", READER, daemon.endpoint, str(steps)]
        processes.append(process := subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def begun(client: Client) -> bool:
    return any(job["fraction"] > 0 for job in client.status()["jobs"])


def test_a_stopped_reader_costs_bounded_memory_holds_nobody_up_and_gets_its_picture(
    place: Daemon, reader: Callable[[Daemon, int], subprocess.Popen[str]], stop: Callable[[int], None]
) -> None:
    place.options = ("--device", "cpu,cpu")  # one dreams for the reader, one for all others
    assert place.start().process is not None
    front = psutil.Process(place.process.pid if place.process else 0)
    with place.client() as client:
        process = reader(place, 120)
        eventually(lambda: begun(client), "the reader's dream")
        stop(process.pid)
        before = front.memory_info().rss
        theirs = states(place)
        while "running" in (states(place)[job] for job in theirs):
            job = client.submit("dream", BRIEF, image=image())
            assert last(job).job == job.id
            client.ping()
            assert front.memory_info().rss - before < BOUND
        assert set(states(place).values()) == {"done"}, "its result is kept"
        os.kill(process.pid, signal.SIGCONT)
        assert process.communicate(timeout=60)[0] == "done\n"
        eventually(lambda: not states(place), "its receipt")


def test_what_a_stopped_reader_costs_others(
    place: Daemon,
    reader: Callable[[Daemon, int], subprocess.Popen[str]],
    stop: Callable[[int], None],
    long: bool,
    figure: Callable[[str, str], None],
) -> None:
    """Against one that reads, in pairs; the long form measures, this one sees that all are done."""
    place.options = ("--device", "cpu,cpu")
    pairs = 6 if long else 1
    ratios = []
    with place.start().client() as client:
        for _ in range(pairs):
            seconds = []
            for reads in (True, False):
                process = reader(place, 1000)
                eventually(lambda: begun(client), "the reader's dream")
                if not reads:
                    stop(process.pid)
                started = time.monotonic()
                for _ in range(20 if long else 2):
                    last(client.submit("dream", BRIEF | {"steps": 5}, image=image(picture(200, 200))))
                seconds.append(time.monotonic() - started)
                assert "running" in states(place).values(), "the reader's dream went on all the time"
                process.kill()
                eventually(lambda: not states(place), "its end")
            ratios.append(seconds[1] / seconds[0])
    figure(
        "20 jobs beside a stopped reader with previews, against one that reads: time",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {pairs} pairs)",
    )


def test_progress_goes_on_for_others_while_somebody_is_stopped(
    place: Daemon, reader: Callable[[Daemon, int], subprocess.Popen[str]], stop: Callable[[int], None]
) -> None:
    with place.start().client() as client:
        process = reader(place, 1000)
        eventually(lambda: begun(client), "the reader's dream")
        stop(process.pid)
        job = client.submit("dream", BRIEF, image=image())
        told = [job.next(60) for _ in range(3)]
        assert all(isinstance(event, Progress) and event.state == "queued" for event in told)
        process.kill()
        last(job)

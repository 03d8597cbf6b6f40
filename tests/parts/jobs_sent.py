"""Jobs for a real daemon, small or without end, and waiting for what becomes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamwire.client import Client, Done, Image, Job
from dreamwire.messages import Progress
from real_daemon import Daemon

#: A dream that takes a blink, and one that takes longer than any test.
BRIEF = {"layers": "blocks.2", "octaves": 1, "steps": 1}
ENDLESS = {"layers": "blocks.2", "octaves": 4, "steps": 1000}
#: Seconds in which what must come does, on a machine that is busy with other things.
PATIENCE = 60.0


def picture(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def image(pixels: NDArray[Any] | None = None) -> Image:
    pixels = picture() if pixels is None else pixels
    height, width, channels = pixels.shape
    return Image(pixels.tobytes(), (height, width, channels), pixels.dtype.name)


def last(job: Job) -> Done:
    """The job's end."""
    *_, done = job
    assert isinstance(done, Done)
    return done


def dreamt(client: Client, **params: Any) -> Done:
    """A small dream, to see that the daemon dreams."""
    return last(client.submit("dream", BRIEF | params, image=image()))


def dreaming(client: Client, **options: Any) -> Job:
    """A dream without end that has made its first steps."""
    job = client.submit("dream", ENDLESS, image=image(picture(200, 200)), **options)
    for event in job:
        if isinstance(event, Progress) and event.state == "dreaming":
            return job
    raise AssertionError


def states(daemon: Daemon) -> dict[str, str]:
    """The state of each job that the daemon knows, by its id."""
    with daemon.client() as client:
        return {job["job"]: job["state"] for job in client.status()["jobs"]}


def eventually(true: Callable[[], Any], what: str = "it") -> Any:
    """The first true value; an AssertionError if none comes."""
    deadline = time.monotonic() + PATIENCE
    while not (value := true()):
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.02)
    return value

"""Many small jobs of mixed kinds from eight clients, with random cancels: each has one end, and nothing grows."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from dreamwire.client import Client, Job, JobCancelledError
from dreamwire.errors import DreamError
from dreamwire.messages import Done, Preview
from jobs_sent import eventually, image, picture, states
from real_daemon import Daemon

CLIENTS = 8
#: Of each kind the quickest that there is.
KINDS: dict[str, dict[str, Any]] = {
    "dream": {"layers": "blocks.1", "octaves": 1, "steps": 2},
    "zoom": {"layers": "blocks.1", "octaves": 1, "steps": 1},
    "enlarge": {"layers": "blocks.1", "octaves": 1, "steps": 1, "scale": 2.0},
    "invert": {"layers": "blocks.1", "steps": 2},
    "visualise": {"layers": "blocks.1", "channels": "1", "octaves": 1, "steps": 2},
    "classify": {},
}
SIZES = ((16, 16), (24, 20), (32, 48))


@dataclass
class Person:
    """Sends jobs one after the other, as chance has it, and cancels some of them."""

    daemon: Daemon
    jobs: int
    dice: random.Random
    ends: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    trouble: list[BaseException] = field(default_factory=list)

    def run(self) -> None:
        try:
            with self.daemon.client() as client:
                for _ in range(self.jobs):
                    self.ends[self.end(client)] += 1
                client.ping()
                assert not client._events, "no event of a job comes after its end"
        except BaseException as error:
            self.trouble.append(error)

    def end(self, client: Client) -> str:
        """How one job ends."""
        kind = self.dice.choice(list(KINDS))
        preview = Preview(interval_ms=20) if self.dice.random() < 0.2 else None
        sent = image(picture(*self.dice.choice(SIZES)))
        params = KINDS[kind] | ({"layers": "blocks.99"} if self.dice.random() < 0.02 else {})
        try:
            job = client.submit(kind, params, image=sent, preview=preview)
            self.seen.add(job.id)
            return self.follow(job)
        except JobCancelledError:
            return "cancelled"
        except DreamError as error:
            return error.code

    def follow(self, job: Job) -> str:
        wish = self.dice.random()
        if wish < 0.15:
            time.sleep(self.dice.random() * 0.05)
            (job.cancel if wish < 0.1 else job.stop)()
        for event in job:
            if isinstance(event, Done):
                return "done"
        raise AssertionError("a job that ends in nothing")


def test_every_job_has_one_end_and_neither_memory_nor_descriptors_grow(
    daemon: Daemon, long: bool, figure: Callable[[str, str], None]
) -> None:
    jobs = 10_000 if long else 200
    with daemon.client() as watcher:
        dice = [random.Random(seed) for seed in range(CLIENTS)]  # noqa: S311 - the same each time
        people = [Person(daemon, jobs // CLIENTS, each) for each in dice]
        threads = [threading.Thread(target=person.run) for person in people]
        eventually(lambda: "torch" in watcher.status()["workers"][0], "the worker")
        started = time.monotonic()
        for thread in threads:
            thread.start()
        taken = []
        while any(thread.is_alive() for thread in threads):
            taken.append(measured(watcher))
            time.sleep(0.5)
        seconds = time.monotonic() - started
        assert not [trouble for person in people for trouble in person.trouble]
        ends = sum((person.ends for person in people), Counter[str]())
        assert sum(ends.values()) == jobs
        assert set(ends) <= {"done", "cancelled", "bad_params", "unknown_network"}
        eventually(lambda: not states(daemon), "the receipt of all")
        counts = watcher.status()["counts"]
        accepted = len(set().union(*(person.seen for person in people)))
        assert counts["done"] + counts["cancelled"] == accepted
        assert counts["done"] == ends["done"]
        assert watcher.status()["workers"][0]["starts"] == 1
        front, worker = measured(watcher)[1:]
        first, last = taken[len(taken) // 4], taken[-1]
        for name, one in (("front", 1), ("worker", 2)):
            assert last[one].descriptors <= first[one].descriptors + CLIENTS, f"the {name} loses descriptors"
        eventually(lambda: measured(watcher)[1].descriptors <= taken[0][1].descriptors + 2, "fewer descriptors")
        assert last[1].memory - first[1].memory < 32 << 20, "the front grows"
        assert last[2].memory - first[2].memory < 256 << 20, "the worker grows"
        mixed = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
        figure(f"soak: {jobs} jobs of {CLIENTS} clients in {seconds:.0f} s", mixed)
        for name, one in (("front", 1), ("worker", 2)):
            figure(f"soak: the {name}'s memory, first quarter left out", slope(taken, one, jobs))
            figure(
                f"soak: the {name}'s descriptors, at the beginning and at the end",
                f"{taken[0][one].descriptors} and {(front if one == 1 else worker).descriptors}",
            )


@dataclass(frozen=True)
class Taken:
    """What a process has taken."""

    memory: int
    descriptors: int


def measured(watcher: Client) -> tuple[int, Taken, Taken]:
    """How many jobs have ended, and what front and worker have taken by then."""
    status = watcher.status()
    ended = sum(status["counts"].get(end, 0) for end in ("done", "cancelled", "failed"))
    front, worker = (psutil.Process(pid) for pid in (status["pid"], status["workers"][0]["pid"]))
    return ended, *(Taken(each.memory_info().rss, each.num_fds()) for each in (front, worker))  # type: ignore[return-value]


def slope(taken: list[tuple[int, Taken, Taken]], one: int, jobs: int) -> str:
    """Bytes a job, by least squares; and what it comes to."""
    later = taken[len(taken) // 4 :]
    ended = np.array([each[0] for each in later], float)
    memory = np.array([each[one].memory for each in later], float)  # type: ignore[union-attr]
    rise = float(np.polyfit(ended, memory, 1)[0]) if np.ptp(ended) else 0.0
    return f"{memory[0] / 1e6:.0f} to {memory[-1] / 1e6:.0f} MB, {rise:.0f} bytes a job"

"""`deepdream health`: a tiny job goes through front, queue, worker and network, and back; which part is ill?

An answer alone proves little: the front answers whatever the workers do. Where jobs of others are under way, that
workers say something about them is proof enough, and no job of ours waits behind them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dreamwire.client import Client, Done, Image, Job
from dreamwire.errors import DreamError, UnreachableError
from dreamwire.words import duration

#: Seconds between two looks at workers that are busy with jobs of others.
LOOK = 0.5
#: The tiny job: 64 x 64 pixels, a step of the embedded network.
SIDE = 64
PARAMS = {"octaves": 1, "steps": 1}
#: Which part is to blame for an error, where it is not the one that has answered.
PARTS = {
    "queue_full": "queue",
    "unknown_network": "network",
    "checksum": "network",
    "download": "network",
    "out_of_memory": "worker",
}


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found; if that is bad, how to mend it, and else what may be worth knowing."""

    name: str
    ok: bool
    found: str
    cure: str = ""

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """For a table."""
        verdict = ("note" if self.cure else "ok") if self.ok else "BAD"
        return [(verdict, self.name, self.found), *([("", "", self.cure)] if self.cure else [])]


def examine(connect: Callable[[], Client], patience: float) -> Iterator[Check]:
    """The parts of a daemon in the order in which a job passes them, up to the first that is ill.

    `patience` is how many seconds without a word make one ill.
    """
    try:
        with connect() as client:
            started = time.monotonic()
            client.ping()
            taken = time.monotonic() - started
            status = client.status()
            found = f"version {status['version']}, process {status['pid']}, answers in {1000 * taken:.0f} ms"
            yield Check("front", True, found)
            yield from parts(client, status, patience)
    except DreamError as error:
        yield Check("front", False, "does not serve us", error.message)
    except (UnreachableError, OSError) as error:
        yield Check("front", False, "does not answer", f"{error} `deepdream doctor` may know why.")


def parts(client: Client, status: Mapping[str, Any], patience: float) -> Iterator[Check]:
    """The parts behind the front. Raises what `Client` raises when the front itself goes."""
    waiting, running = status["queue"]["waiting"], status["queue"]["running"]
    yield Check("queue", True, f"{running} running, {waiting} waiting")
    busy = _busy(client, patience) if running or waiting else None
    if busy is None:
        yield from _trip(client, patience)
    else:
        yield busy


def _busy(client: Client, patience: float) -> Check | None:
    """Whether the jobs of others get on; None once they have ended."""
    looked = time.monotonic()
    while True:
        status, waited = client.status(), time.monotonic() - looked
        if not status["queue"]["running"] and not status["queue"]["waiting"]:
            return None
        if any(worker["job"] and worker["silent_seconds"] < waited for worker in status["workers"]):
            why = "A job of this check would wait behind them, so none was sent."
            return Check("worker", True, "gets on with the jobs of others", why)
        if waited > patience:
            return _stuck(status, patience)
        time.sleep(LOOK)


def _trip(client: Client, patience: float) -> Iterator[Check]:
    """The parts as the tiny job passes them."""
    sent = bytes(range(256)) * (SIDE * SIDE * 3 // 256)
    started = time.monotonic()
    try:
        job = client.submit("dream", PARAMS, image=Image(sent, (SIDE, SIDE, 3), "uint8"))
    except DreamError as error:
        yield Check(PARTS.get(error.code, "front"), False, "refuses a tiny job", error.message)
        return
    try:
        done = _followed(job, started + patience)
    except DreamError as error:
        log = client.status()["log"]
        yield Check(PARTS.get(error.code, "worker"), False, "fails", f"{error.message} {log} may say more.")
        return
    taken, status = time.monotonic() - started, client.status()
    if done is None:
        yield _stuck(status, patience)
        return
    yield from map(_worker, status["workers"])
    yield Check("network", True, f"{done.info['objective']} of {done.info['network']}")
    dreamt = bytes(done.frames[0]) if len(done.frames) == 1 else b""
    if len(dreamt) == len(sent) and dreamt != sent:
        yield Check("result", True, f"{SIDE}x{SIDE} pixels were dreamt and came back in {taken:.2f} s")
    else:
        yield Check("result", False, "is no dream of what was sent", f"{status['log']} may say why.")


def _followed(job: Job, deadline: float) -> Done | None:
    """The job's end; None, and the job is cancelled, if it does not come in time."""
    while time.monotonic() < deadline:
        event = job.next(LOOK)
        if isinstance(event, Done):
            return event
    job.cancel()
    return None


def _stuck(status: Mapping[str, Any], patience: float) -> Check:
    """The worker that jobs do not come back from."""
    at_work = [worker for worker in status["workers"] if worker["job"]]
    worker = (at_work or status["workers"])[0]
    what, log = f"{worker['device']}, process {worker['pid']}", status["log"]
    if not worker["running"]:
        return Check("worker", False, f"{worker['device']}, does not run", f"{log} says why it has not started.")
    if "torch" not in worker:
        cure = f"Where disks are slow, try a longer --patience. Else run `deepdream stop`; {log} may say why."
        return Check("worker", False, f"{what}, is still starting after {duration(patience)}", cure)
    cure = f"It hangs. End that process: the next job starts another one. {log} may say why."
    return Check("worker", False, f"{what}, has said nothing for {duration(worker['silent_seconds'])}", cure)


def _worker(worker: Mapping[str, Any]) -> Check:
    if not worker["running"]:
        return Check("worker", True, f"{worker['device']}, asleep")
    if "torch" not in worker:
        return Check("worker", True, f"{worker['device']}, starting")
    return Check("worker", True, f"{worker['device']} ({worker['device_name']}), torch {worker['torch']}")

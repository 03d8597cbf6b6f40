"""The jobs of the front: who waits, who runs, what has ended. No sockets, no clock of its own."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dreamwire.errors import DreamError
from dreamwire.messages import Progress

#: States of a job in which it has ended.
ENDED = ("done", "failed", "cancelled")


@dataclass
class Limits:
    """What the queue takes: jobs waiting in all and of one client, and what is kept of them."""

    queue: int = 64
    per_client: int = 16
    queue_bytes: int = 4 << 30
    results_bytes: int = 2 << 30
    result_seconds: float = 600.0


@dataclass(eq=False)
class Job:
    """One job. `client` is the connection that wants its events, None when there is none.

    `frames` are the message as it came, passed on to a worker untouched; `end` those of its last message.
    """

    id: str
    kind: str
    client: bytes | None
    keep: bool
    description: Any
    frames: Sequence[Any]
    nbytes: int
    submitted: float
    state: str = "queued"
    worker: int | None = None
    progress: Progress | None = None
    end: Sequence[Any] = ()
    end_bytes: int = 0
    ended: float = 0.0
    delivered: bool = False
    # Slot for the latest preview that could not be sent yet, and what tells when the one before has left.
    preview: Sequence[Any] | None = None
    sending: Any = None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass
class Jobs:
    """All jobs by id. Waiting jobs are served in turn among clients, and in their order within one."""

    limits: Limits = field(default_factory=Limits)
    _jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)
    # One line per client that has waiting jobs; the first line is served next, then goes to the end.
    _lines: OrderedDict[object, deque[Job]] = field(default_factory=OrderedDict)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def add(self, job: Job) -> None:
        """Queues a job. Raises `DreamError` queue_full with the limit in its message."""
        waiting = self.waiting
        mine = self._lines.get(job.client, ())
        for count, limit, what in (
            (len(waiting) + 1, self.limits.queue, "jobs waiting"),
            (len(mine) + 1, self.limits.per_client, "jobs of this client waiting"),
            (
                sum(each.nbytes for each in waiting) + job.nbytes,
                self.limits.queue_bytes,
                "bytes of pictures waiting",
            ),
        ):
            if count > limit:
                raise DreamError(
                    "queue_full",
                    f"The daemon is busy: at most {limit} {what} are allowed. Try again when some have ended.",
                    retryable=True,
                )
        self._jobs[job.id] = job
        self._lines.setdefault(job.client, deque()).append(job)

    @property
    def waiting(self) -> list[Job]:
        """Jobs that nobody has taken yet."""
        return [job for line in self._lines.values() for job in line]

    def next(self) -> Job | None:
        """Takes the next job from the queue; None if none waits."""
        if not self._lines:
            return None
        client, line = next(iter(self._lines.items()))
        job = line.popleft()
        if line:
            self._lines.move_to_end(client)
        else:
            del self._lines[client]
        return job

    def position(self, job: Job) -> int:
        """How many jobs are before a waiting one."""
        before = 0
        lines = [list(line) for line in self._lines.values()]
        for turn in range(max(map(len, lines), default=0)):
            for line in lines:
                if turn < len(line):
                    if line[turn] is job:
                        return before
                    before += 1
        return 0

    def withdraw(self, job: Job) -> None:
        """Takes a waiting job out of the queue."""
        for client, line in list(self._lines.items()):
            if job in line:
                line.remove(job)
                if not line:
                    del self._lines[client]

    def end(self, job: Job, state: str, frames: Sequence[Any], nbytes: int, now: float) -> None:
        """A job has ended: its pixels are let go, its last message is kept until acknowledged or expired."""
        self.withdraw(job)
        job.state, job.end, job.end_bytes, job.ended = state, frames, nbytes, now
        job.frames, job.preview, job.sending = (), None, None

    def forget(self, job: Job) -> None:
        self.withdraw(job)
        self._jobs.pop(job.id, None)

    def expire(self, now: float) -> list[Job]:
        """Forgets ended jobs that nobody has asked for in time, the oldest first when they take too much room."""
        ended = sorted((job for job in self if job.has_ended), key=lambda job: job.ended)
        kept = sum(job.end_bytes for job in ended)
        expired = []
        for job in ended:
            if now - job.ended > self.limits.result_seconds or kept > self.limits.results_bytes:
                self.forget(job)
                kept -= job.end_bytes
                expired.append(job)
        return expired

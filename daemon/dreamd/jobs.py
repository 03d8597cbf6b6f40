"""The jobs of the front: who waits, who runs, what has ended. No sockets, no clock of its own."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dreamwire.messages import Progress

from .limits import MIB, Limits

#: States of a job in which it has ended.
ENDED = ("done", "failed", "cancelled")


@dataclass(eq=False)
class Job:
    """One job. `client` is the connection that wants its events, None when there is none.

    `owner` is whoever sent it, for the queue one client, however many connections it has. `frames` are the message
    as it came, passed on to a worker untouched, and kept for another one while they may be needed; `end` are those
    of its last message. `tries` counts the workers that have begun it, `wish` is the message by which its client
    wants it to end.
    """

    id: str
    kind: str
    client: bytes | None
    owner: str
    keep: bool
    description: Any
    frames: Sequence[Any]
    nbytes: int
    submitted: float
    state: str = "queued"
    worker: int | None = None
    tries: int = 0
    was_lost: bool = False
    wish: Any = None
    progress: Progress | None = None
    end: Sequence[Any] = ()
    end_bytes: int = 0
    ended: float = 0.0
    delivered: bool = False
    # Slot for the latest preview that could not be sent yet.
    preview: Sequence[Any] | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass
class Jobs:
    """All jobs by id. Waiting jobs are served in turn among their owners, and in their order within one's."""

    limits: Limits = field(default_factory=Limits)
    _jobs: OrderedDict[str, Job] = field(default_factory=OrderedDict)
    # One line per owner of waiting jobs; the first line is served next, then goes to the end.
    _lines: OrderedDict[str, deque[Job]] = field(default_factory=OrderedDict)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def add(self, job: Job) -> None:
        """Queues a job. Raises `DreamError` queue_full with the limit in its message."""
        waiting, limits = self.waiting, self.limits
        mebibytes = -(-sum(each.nbytes for each in (*waiting, job)) // MIB)
        for name, count, happened in (
            ("queue", len(waiting) + 1, f"{len(waiting)} jobs are waiting"),
            ("per_client", len(self._lines.get(job.owner, ())) + 1, "this client has enough jobs waiting"),
            ("queue_memory", mebibytes, f"the pictures of waiting jobs would take {mebibytes} MiB"),
        ):
            if count > getattr(limits, name):
                raise limits.refuse(
                    name, f"The daemon is busy: {happened}", "Try again when some have ended", needed=count
                )
        self._jobs[job.id] = job
        self._lines.setdefault(job.owner, deque()).append(job)

    @property
    def waiting(self) -> list[Job]:
        """Jobs that nobody has taken yet."""
        return [job for line in self._lines.values() for job in line]

    @property
    def first(self) -> Job | None:
        """The job that `next` takes."""
        return next(iter(self._lines.values()))[0] if self._lines else None

    def next(self) -> Job | None:
        """Takes the next job from the queue; None if none waits."""
        if not self._lines:
            return None
        owner, line = next(iter(self._lines.items()))
        job = line.popleft()
        if line:
            self._lines.move_to_end(owner)
        else:
            del self._lines[owner]
        return job

    def put_back(self, job: Job) -> None:
        """A job that a worker did not get done is the next one again."""
        job.state, job.worker, job.progress, job.preview = "queued", None, None, None
        self._lines.setdefault(job.owner, deque()).appendleft(job)
        self._lines.move_to_end(job.owner, last=False)

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
        for owner, line in list(self._lines.items()):
            if job in line:
                line.remove(job)
                if not line:
                    del self._lines[owner]

    def end(self, job: Job, state: str, frames: Sequence[Any], nbytes: int, now: float) -> None:
        """A job has ended: its pixels are let go, its last message is kept until acknowledged or expired."""
        self.withdraw(job)
        job.state, job.end, job.end_bytes, job.ended = state, frames, nbytes, now
        job.frames, job.preview = (), None

    def forget(self, job: Job) -> None:
        self.withdraw(job)
        self._jobs.pop(job.id, None)

    def expire(self, now: float) -> list[Job]:
        """Forgets ended jobs that nobody has asked for in time.

        When they are too many or take too much room, the oldest go, first of those who leave the most behind.
        """
        ended = sorted((job for job in self if job.has_ended), key=lambda job: job.ended)
        newer: Counter[str] = Counter()
        places = {}
        for job in reversed(ended):
            places[job] = newer[job.owner]
            newer[job.owner] += 1
        count, kept = len(ended), sum(job.end_bytes for job in ended)
        expired = []
        for job in sorted(ended, key=places.__getitem__, reverse=True):
            too_much = count > self.limits.results or kept > self.limits.results_memory * MIB
            if too_much or now - job.ended > self.limits.results_seconds:
                self.forget(job)
                count, kept = count - 1, kept - job.end_bytes
                expired.append(job)
        return expired

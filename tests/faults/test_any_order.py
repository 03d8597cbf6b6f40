"""Requests in any order: each is answered once, and jobs only go on, from waiting to ended to forgotten."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamwire import transport
from dreamwire.messages import (
    ENDS,
    Accepted,
    Ack,
    Array,
    Attach,
    Cancel,
    ErrorIs,
    Hello,
    JobIs,
    Message,
    Ping,
    Pong,
    Stop,
    Submit,
    Welcome,
    decode,
    encode,
)
from real_daemon import Daemon

#: How far on a job is; it never goes back.
STAGES = {"queued": 0, "running": 1, "done": 2, "failed": 2, "cancelled": 2, "gone": 3}
ABOUT_JOBS: tuple[Callable[..., Message], ...] = (Cancel, Stop, Attach, Ack)
PICTURE = Array("image", 0, "uint8", (8, 8, 3))


class Talk:
    """A connection that is sent anything in any order, and what is known of its jobs."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.jobs = [str(uuid.uuid4()) for _ in range(3)]
        self._states = dict.fromkeys(self.jobs, "gone")
        self._steps = dict.fromkeys(self.jobs, 0)
        self._requests = 0
        self._line = transport.connect(daemon.endpoint)
        self.hello()

    def answer(self, message: Callable[..., Message], *kinds: type[Message], **fields: object) -> Message:
        """The answer to a message, of one of these kinds; events of jobs before it are for jobs that are ours."""
        self._requests += 1
        self._line.send(encode(message(request=self._requests, **fields)))
        while True:
            frames = self._line.recv(60)
            assert frames is not None, "a request was not answered"
            heard = decode(frames)
            if heard.request == self._requests:
                assert isinstance(heard, kinds), heard
                return heard
            assert heard.request is None
            assert getattr(heard, "job", None) in self.jobs
            if isinstance(heard, ENDS):
                self._is(heard.job, heard.type)

    def _is(self, job: str, state: str) -> None:
        before = self._states[job]
        assert STAGES[state] >= STAGES[before], f"{before} became {state}"
        assert before == state or (STAGES[before], STAGES[state]) != (2, 2), f"{before} became {state}"
        self._states[job] = state

    def hello(self) -> None:
        self.answer(Hello, Welcome, versions=(1,), client="test")

    def again(self) -> None:
        """Goes away and comes back; jobs were to be kept."""
        self._line.close()
        self._line = transport.connect(self._daemon.endpoint)
        self.hello()

    def ping(self) -> None:
        self.answer(Ping, Pong)

    def submit(self, job: str, steps: int) -> None:
        """Sends a job, or sends it again: another one of its id is a conflict."""
        heard = self.answer(
            Submit, Accepted, ErrorIs, job=job, kind="dream", inputs=(PICTURE,), frames=(bytes(192),),
            params={"layers": "blocks.2", "octaves": 1, "steps": steps}, on_disconnect="keep",
        )  # fmt: skip
        if isinstance(heard, ErrorIs):
            assert heard.error.code == "conflict"
            assert self._states[job] != "gone"
            assert self._steps[job] != steps
        elif self._states[job] == "gone":
            self._states[job], self._steps[job] = "queued", steps
        else:
            assert self._steps[job] == steps

    def about(self, kind: Callable[..., Message], job: str) -> None:
        heard, known = self.answer(kind, JobIs, job=job), self._states[job]
        assert isinstance(heard, JobIs)
        if heard.state == "gone":
            assert known == "gone" or kind is Ack, "a job was forgotten that nobody has acknowledged"
        else:
            assert known != "gone", "a job came back"
        self._is(job, heard.state)

    def close(self) -> None:
        for job in self.jobs:
            self.about(Cancel, job)
            self.about(Ack, job)
        self._line.close()


jobs = st.integers(0, 2)
requests = st.lists(
    st.tuples(st.sampled_from(ABOUT_JOBS), jobs)
    | st.tuples(st.just("submit"), jobs, st.sampled_from([1, 2, 1000]))
    | st.sampled_from([("hello",), ("again",), ("ping",)]),
    max_size=30,
)


def check(daemon: Daemon, orders: list[tuple[Any, ...]]) -> None:
    talk = Talk(daemon)
    for what, *arguments in orders:
        if what == "submit":
            talk.submit(talk.jobs[arguments[0]], arguments[1])
        elif isinstance(what, str):
            getattr(talk, what)()
        else:
            talk.about(what, talk.jobs[arguments[0]])
    talk.close()


def test_each_request_is_answered_once_and_no_job_goes_back(
    shared_daemon: Daemon, long: bool, figure: Callable[[str, str], None]
) -> None:
    many = 2000 if long else 60

    @settings(max_examples=many, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests)
    def any_order(orders: list[tuple[Any, ...]]) -> None:
        check(shared_daemon, orders)

    any_order()
    assert "Traceback" not in shared_daemon.log
    figure("requests in any order", f"{many} sequences")

"""The plug-in's conversation with the daemon, which goes on beside its windows."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from dreamwire.client import Client, Image, JobCancelledError
from dreamwire.errors import DreamError
from dreamwire.messages import Done, Message, Preview, PreviewIs, Progress
from real_daemon import Daemon
from session import STARTING, DaemonLostError, Dream, Session, advice

BRIEF = {"layers": "blocks.2", "octaves": 1, "steps": 2}
ENDLESS = BRIEF | {"steps": 1000}
PICTURE = Image(bytes(range(256)) * 3 * 12, (48, 64, 3), "uint8")
#: Seconds in which what is waited for comes, on a machine that is busy with other things.
PATIENCE = 60


@dataclass
class Window:
    """Who listens: calls that were posted are made in its own thread, as by a main loop."""

    calls: queue.SimpleQueue[Callable[[], None]] = field(default_factory=queue.SimpleQueue)

    def post(self, call: Callable[[], None]) -> None:
        self.calls.put(call)

    def until(self, true: Callable[[], object]) -> None:
        while not true():
            self.calls.get(timeout=PATIENCE)()


@dataclass
class Listener:
    """Who wants a dream, and what it was told."""

    told: list[Any] = field(default_factory=list)

    def on_event(self, event: Message) -> None:
        self.told.append(event)

    def on_done(self, done: Done) -> None:
        self.told.append(done)

    def on_failed(self, error: Exception) -> None:
        self.told.append(error)

    @property
    def ended(self) -> bool:
        return bool(self.told) and isinstance(self.told[-1], (Done, Exception))


def dream(listener: Listener, **params: Any) -> Dream:
    return Dream(listener, BRIEF | params, PICTURE, preview=Preview(interval_ms=20))


@pytest.fixture
def window() -> Window:
    return Window()


@pytest.fixture(params=["pyzmq", "builtin"])
def use(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Daemon], None]:
    """Makes a daemon the user's own, over either transport."""
    monkeypatch.setenv("DEEPDREAM_TRANSPORT", request.param)

    def use(daemon: Daemon) -> None:
        for name, value in daemon.environment.items():
            monkeypatch.setenv(name, value)

    return use


@pytest.fixture
def session(shared_daemon: Daemon, window: Window, use: Callable[[Daemon], None]) -> Iterator[Session]:
    use(shared_daemon)
    session = Session(window.post)
    yield session
    session.close()


def running(session: Session, window: Window, listener: Listener, **params: Any) -> Dream:
    """A dream that does not end by itself, as soon as it is under way."""
    made = session.dream(dream(listener, **ENDLESS | params))
    window.until(lambda: any(isinstance(each, PreviewIs) for each in listener.told))
    return made


def test_a_dream_tells_how_it_goes_in_order_and_one_end(session: Session, window: Window) -> None:
    listener = Listener()
    session.dream(dream(listener, steps=40))
    window.until(lambda: listener.ended)
    *events, done = listener.told
    assert isinstance(done, Done)
    assert {type(event) for event in events} == {Progress, PreviewIs}
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert done.params["steps"] == 40


def test_what_is_asked_is_answered_one_after_another_in_the_listeners_thread(
    session: Session, window: Window
) -> None:
    answers: list[Any] = []
    failed = answers.append
    session.ask(lambda client: len(client.networks()), answers.append, failed)
    session.ask(lambda client: client.status()["version"], answers.append, failed)
    session.ask(lambda _: 1 / 0, answers.append, failed)
    session.ask(Client.ping, answers.append, failed)
    window.until(lambda: len(answers) == 4)
    assert answers[0] > 5
    assert isinstance(answers[1], str)
    assert isinstance(answers[2], ZeroDivisionError)
    assert answers[3] is None


def test_a_dream_that_is_refused_fails_with_the_reason_and_the_next_one_is_dreamt(
    session: Session, window: Window
) -> None:
    first, second = Listener(), Listener()
    session.dream(dream(first, layers="blocks.99"))
    session.dream(dream(second))
    window.until(lambda: second.ended)
    (error,) = first.told
    assert isinstance(error, DreamError)
    assert error.code == "bad_params"
    assert isinstance(second.told[-1], Done)


def test_who_has_let_go_is_told_nothing_more_and_the_dream_is_dropped(
    session: Session, window: Window, shared_daemon: Daemon
) -> None:
    first, second = Listener(), Listener()
    running(session, window, first).let_go()
    told = len(first.told)
    session.dream(dream(second))
    window.until(lambda: second.ended)
    assert len(first.told) == told
    assert isinstance(second.told[-1], Done)
    with shared_daemon.client() as client:
        assert not [job for job in client.status()["jobs"] if job["state"] in ("queued", "running")]


def test_a_cancelled_dream_fails_as_cancelled(session: Session, window: Window) -> None:
    listener = Listener()
    running(session, window, listener).cancel()
    window.until(lambda: listener.ended)
    assert isinstance(listener.told[-1], JobCancelledError)


def test_a_dream_cancelled_before_its_turn_is_never_sent(session: Session, window: Window) -> None:
    first, second, third = Listener(), Listener(), Listener()
    before = running(session, window, first)
    session.dream(dream(second, layers="blocks.99")).cancel()  # the daemon would refuse it
    session.dream(dream(third))
    before.cancel()
    window.until(lambda: third.ended)
    assert [type(each) for each in second.told] == [JobCancelledError]
    assert isinstance(third.told[-1], Done)


def test_stop_keeps_what_the_dream_has_come_to(session: Session, window: Window) -> None:
    listener = Listener()
    running(session, window, listener).stop()
    window.until(lambda: listener.ended)
    assert listener.told[-1].info["stopped"]


def test_stop_before_a_dreams_turn_counts_too(session: Session, window: Window) -> None:
    first, second = Listener(), Listener()
    before = running(session, window, first)
    session.dream(dream(second, **ENDLESS)).stop()
    before.cancel()
    window.until(lambda: second.ended)
    assert second.told[-1].info["stopped"]


def test_a_session_that_is_closed_ends_its_thread_and_its_connection(session: Session, window: Window) -> None:
    answers: list[Any] = []
    session.ask(Client.ping, answers.append, answers.append)
    session.close()
    session._thread.join(PATIENCE)
    assert not session._thread.is_alive()
    window.until(lambda: answers)
    assert session._client is not None
    with pytest.raises(ConnectionError):
        session._client.ping()


def test_a_dream_that_loses_two_daemons_is_told_and_the_next_one_is_dreamt(
    daemon: Daemon, window: Window, use: Callable[[Daemon], None]
) -> None:
    use(daemon)
    session, first, second = Session(window.post), Listener(), Listener()
    running(session, window, first)
    daemon.kill()
    told = len(first.told)
    window.until(lambda: any(isinstance(each, PreviewIs) for each in first.told[told:]))
    daemon.kill()
    window.until(lambda: first.ended)
    assert isinstance(first.told[-1], DaemonLostError)
    assert "Try again" in str(first.told[-1])
    daemon.start()
    session.dream(dream(second))
    window.until(lambda: second.ended)
    assert isinstance(second.told[-1], Done)
    session.close()


def test_a_daemon_that_is_not_there_is_started_and_the_user_told(
    place: Daemon, window: Window, use: Callable[[Daemon], None]
) -> None:
    use(place)
    told: list[str] = []
    session, listener = Session(window.post, told.append), Listener()
    session.dream(dream(listener))
    window.until(lambda: listener.ended)
    assert told == [STARTING]
    assert isinstance(listener.told[-1], Done)
    session.close()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (DreamError("unknown_network", "No weights."), "No weights.\nIn GIMP: Filters > Deep Dream > Networks..."),
        (DreamError("bad_params", "Too many."), "Too many."),
        (DaemonLostError(), "About and Diagnostics..."),
        (ValueError(), "ValueError"),
    ],
    ids=["a network", "a parameter", "the daemon", "a fault without words"],
)
def test_an_error_is_a_sentence_with_what_to_do(error: Exception, says: str) -> None:
    assert says in advice(error)

"""Malformed messages are refused by codes of the protocol; the daemon, its memory and others are none the worse.

`./install/test tests/faults/test_rubbish.py --long` sends a million of them instead of twenty thousand.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence

import psutil
import pytest
import zmq

from dreamwire.errors import CODES, DreamError
from dreamwire.messages import ErrorIs, Failed, Hello, Message, Ping, Pong, decode, encode
from floods import GREETING, READY, bare
from real_daemon import Daemon
from rubbish import KINDS, check_message, rubbish, well_formed
from somebody import dream, somebody_dreaming

#: Bytes that may come on top between the tenth part of the messages and the last of them.
ROOM = 16 << 20
#: Messages that are sent before their answers are looked at.
BATCH = 50


def count(*, long: bool) -> int:
    return 1_000_000 if long else 20_000


def memory() -> int:
    return int(psutil.Process().memory_info().rss)


def listed(answers: Counter[str]) -> str:
    return ", ".join(f"{count} {answer}" for answer, count in answers.most_common())


@pytest.mark.timeout(3000)
def test_whatever_comes_is_understood_or_refused_by_a_code(long: bool, figure: Callable[[str, str], None]) -> None:
    many, answers, settled = count(long=long), Counter[str](), 0
    for number in range(many):
        answers[check_message(rubbish(number))] += 1
        if number == many // 10:
            settled = memory()
    grown = memory() - settled
    assert grown < ROOM
    assert answers["bad_message"] > many // 2
    figure(f"rubbish: {many} messages decoded", f"{grown / 1e6:.1f} MB more; {listed(answers)}")


def test_every_kind_of_rubbish_is_mostly_refused_and_the_well_formed_never() -> None:
    refused = {
        name: sum(check_message(make(random.Random(number))) in CODES for number in range(300))  # noqa: S311
        for name, make in KINDS.items()
    }
    assert all(refused[name] > 100 for name in KINDS if name != "out_of_order"), refused
    assert not {check_message(frames) for frames in well_formed()} & set(CODES)


class Sender:
    """A connection over which anything is sent; `answers` counts what comes back, by its code or its type."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.rcvtimeo = 60_000
        self.socket.connect(endpoint)
        self.answers: Counter[str] = Counter()
        self.settle(Hello(versions=(1,), client="rubbish"))

    def settle(self, *messages: Message) -> None:
        """Sends messages, and a ping after them; hears all that is said until that is answered."""
        for message in (*messages, Ping(request=0)):
            self.socket.send_multipart(encode(message))
        while not isinstance(answer := decode(self.socket.recv_multipart()), Pong) or answer.request != 0:
            failed = isinstance(answer, (ErrorIs, Failed))
            self.answers[answer.error.code if failed else answer.type] += 1

    def throw(self, numbers: Sequence[int]) -> int:
        """Sends rubbish; how many of it has to be refused."""
        refused = 0
        for number in numbers:
            frames = rubbish(number)
            self.socket.send_multipart(frames)
            try:
                refused += decode(frames).sender != "client"
            except DreamError:
                refused += 1
        self.settle()
        return refused


@pytest.mark.timeout(3000)
def test_a_daemon_answers_each_of_them_by_a_code_and_serves_others_meanwhile(
    daemon: Daemon, long: bool, figure: Callable[[str, str], None]
) -> None:
    assert daemon.process is not None
    front, many, refused, settled = psutil.Process(daemon.process.pid), count(long=long), 0, 0
    with zmq.Context() as context, somebody_dreaming(daemon.endpoint) as somebody:
        sender = Sender(context, daemon.endpoint)
        for start in range(0, many, BATCH):
            refused += sender.throw(range(start, start + BATCH))
            if start == many // 10:
                settled = front.memory_info().rss
        grown = front.memory_info().rss - settled
        sender.socket.close()
    assert grown < ROOM
    assert set(sender.answers) & set(CODES) <= {
        "bad_message", "limit", "bad_params", "bad_input", "unknown_network", "queue_full", "conflict", "version",
    }  # fmt: skip
    assert sum(sender.answers[code] for code in CODES) >= refused > many // 2
    assert somebody.dreams > 0
    unharmed(daemon)
    figure(
        f"rubbish: {many} messages sent",
        f"{grown / 1e6:.1f} MB more, {somebody.dreams} dreams of somebody else's meanwhile;"
        f" {listed(sender.answers)}",
    )


def unharmed(daemon: Daemon) -> None:
    """The daemon and its worker are the processes that they were, and nothing has gone wrong in them."""
    assert daemon.process is not None
    assert daemon.process.poll() is None
    with daemon.client() as client:
        dream(client)
        assert client.status()["workers"][0]["starts"] == 1
    before, trouble, after = daemon.log.partition("Traceback")
    assert not trouble, f"{before[-300:]}{trouble}{after[:3000]}"


def before_any_message(dice: random.Random) -> bytes:
    """What may come over a connection that is none of ZeroMQ's, or not for long."""
    size = dice.choice((0, 1, 255, 2**16, 2**31, 2**40, 2**63, 2**64 - 1))
    flags = dice.choice((0, 1, 2, 3, 4, 6, 7, 8, 255))
    frame = bytes((flags,)) + (size.to_bytes(8, "big") if flags & 2 else bytes((size % 256,)))
    return dice.choice(
        (
            dice.randbytes(dice.randint(0, 200)),
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(100),  # TLS
            GREETING[: dice.randint(0, len(GREETING))],
            GREETING.replace(b"NULL\0", dice.choice((b"CURVE", b"PLAIN", b"\xff" * 5))) + READY,
            GREETING + dice.randbytes(dice.randint(1, 60)),
            GREETING + READY.replace(b"DEALER", dice.choice((b"ROUTER", b"PUBxxx", b"STREAM", b"\0" * 6))),
            GREETING + READY[: dice.randint(0, len(READY))],
            GREETING + READY + frame + dice.randbytes(dice.randint(0, 60)),
            GREETING + READY + b"\x01\x00" * dice.randint(1, 2000),  # frames without end
        )
    )


@pytest.mark.timeout(3000)
def test_what_is_no_message_at_all_ends_its_own_connection_and_nothing_else(
    daemon: Daemon, long: bool, figure: Callable[[str, str], None]
) -> None:
    assert daemon.process is not None
    front, many, settled = psutil.Process(daemon.process.pid), 50_000 if long else 1000, 0
    kept: list[socket.socket] = []
    with somebody_dreaming(daemon.endpoint) as somebody:
        for number in range(many):
            dice = random.Random(number)  # noqa: S311 - repeatable on purpose
            line = bare(daemon.endpoint)
            with contextlib.suppress(ConnectionError):  # it may be ended at the first bytes
                line.sendall(before_any_message(dice))
            kept.append(line)
            if len(kept) > 50:
                kept.pop(dice.randrange(50)).close()
            if number == many // 10:
                settled = front.memory_info().rss
        grown = front.memory_info().rss - settled
    for line in kept:
        line.close()
    assert grown < ROOM
    assert somebody.dreams > 0
    unharmed(daemon)
    figure(
        f"rubbish: {many} connections that are none",
        f"{grown / 1e6:.1f} MB more, {somebody.dreams} dreams of somebody else's meanwhile",
    )

"""The built-in DEALER byte by byte, against what the specification says."""

from __future__ import annotations

import ast
import contextlib
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamwire import transport, zmtp
from dreamwire.zmtp import MAX_FRAME_BYTES, Frames, ZmtpDealer

# What both sides say until a connection stands, written out from the specification.
GREETING = bytes.fromhex("ff00000000000000007f0300") + b"NULL" + bytes(16) + bytes(32)
DEALER_READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
ROUTER_READY = DEALER_READY.replace(b"DEALER", b"ROUTER")
OPENING = GREETING + ROUTER_READY

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="plays both sides on a pair of Unix sockets"
)


@contextlib.contextmanager
def conversation(
    said: bytes, *, no_more: bool = False, timeout: float = 5.0, max_frame: int = MAX_FRAME_BYTES
) -> Iterator[tuple[ZmtpDealer, socket.socket]]:
    """A dealer, and its peer's end of the connection, on which `said` has been said already."""
    here, peer = socket.socketpair()
    with peer:
        peer.settimeout(5)
        peer.sendall(said)
        if no_more:
            peer.shutdown(socket.SHUT_WR)
        with ZmtpDealer(here, timeout=timeout, max_frame=max_frame) as dealer:
            yield dealer, peer


def listen_to_the_end(said: bytes, max_frame: int) -> None:
    """Hear a peer that says this and no more; whatever comes must keep the limits."""
    with conversation(said, no_more=True, max_frame=max_frame) as (dealer, _):
        while (message := dealer.recv(5)) is not None:
            assert 1 <= len(message) <= 64
            assert all(len(frame) <= max_frame for frame in message)


def heard(peer: socket.socket, count: int) -> bytes:
    """The next `count` bytes that the dealer sent, after its part of the handshake."""
    handshake = GREETING + DEALER_READY
    assert peer.recv(len(handshake), socket.MSG_WAITALL) == handshake
    return peer.recv(count, socket.MSG_WAITALL)


def encode(frames: list[bytes], *, long: bool = False) -> bytes:
    """A message in ZMTP, after the specification; any frame may be announced in the long form."""
    stream = b""
    for index, frame in enumerate(frames):
        more = index < len(frames) - 1
        if long or len(frame) > 255:
            stream += bytes((2 + more,)) + len(frame).to_bytes(8, "big") + frame
        else:
            stream += bytes((more, len(frame))) + frame
    return stream


def test_golden_bytes() -> None:
    with conversation(OPENING) as (dealer, peer):
        dealer.send([b"", b"ab", bytes(255), bytes(256)])
        expected = (
            b"\x01\x00" + b"\x01\x02ab" + b"\x01\xff" + bytes(255) + b"\x02\0\0\0\0\0\0\x01\x00" + bytes(256)
        )
        assert heard(peer, len(expected)) == expected


@pytest.mark.parametrize(
    "ready",
    [
        pytest.param(ROUTER_READY, id="short"),
        pytest.param(b"\x06" + bytes(7) + ROUTER_READY[1:], id="long form"),
        pytest.param(b"\x04\x1c\x05READY\x0bsocket-TYPE\0\0\0\x06ROUTER", id="names in any case"),
        pytest.param(b"\x04\x22\x05READY\x01X\0\0\0\0\x0bSocket-Type\0\0\0\x06ROUTER", id="other properties"),
    ],
)
def test_ready(ready: bytes) -> None:
    with conversation(GREETING + ready + encode([b"x"])) as (dealer, _):
        assert dealer.recv(1) == [b"x"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        pytest.param(b"\x00" * 11, "does not speak ZeroMQ", id="no signature"),
        pytest.param(b"\xff" * 9 + b"\x00\x03", "does not speak ZeroMQ", id="half a signature"),
        pytest.param(b"\xff" + bytes(8) + b"\x7f\x01", "speaks ZMTP 1", id="version"),
        pytest.param(GREETING.replace(b"NULL\0", b"CURVE"), "mechanism b'CURVE'", id="mechanism"),
        pytest.param(GREETING + b"\x04\x0c\x05ERROR\x05Leave", "refuses the connection: 'Leave'", id="error"),
        pytest.param(GREETING + DEALER_READY, "no ZeroMQ socket of type ROUTER", id="type"),
        pytest.param(GREETING + b"\x04\x06\x05READY", "no ZeroMQ socket of type ROUTER", id="no type"),
        pytest.param(GREETING + b"\x04\x05\x04PING", "no ZeroMQ socket of type ROUTER", id="another command"),
        pytest.param(GREETING + encode([b"x"]), "no ZeroMQ socket of type ROUTER", id="a message"),
        pytest.param(GREETING + b"\x04\x00", "a command without a name", id="empty command"),
        pytest.param(GREETING + b"\x04\x02\x09R", "a command without a name", id="cut name"),
        pytest.param(GREETING + b"\x06\0\0\0\0\0\x01\0\x01", "65537 bytes, but at most 65536", id="long command"),
        pytest.param(GREETING + b"\x05\x06\x05READY", "a frame with flags 0x05", id="command with more"),
        pytest.param(OPENING + b"\x08\x00", "a frame with flags 0x08", id="reserved flag"),
        pytest.param(OPENING + b"\x00\x00\x80\x00", "a frame with flags 0x80", id="reserved flag later"),
        pytest.param(OPENING + encode([b"x" * 1001]), "1001 bytes, but at most 1000", id="frame too large"),
        pytest.param(OPENING + encode([b""] * 65), "more than 64 frames", id="too many frames"),
        pytest.param(OPENING + b"\x04\x0c\x05ERROR\x05Leave", "refuses the connection: 'Leave'", id="late error"),
        pytest.param(OPENING, "closed the connection", id="end"),
    ],
)
def test_refusals(said: bytes, message: str) -> None:
    with pytest.raises(ConnectionError, match=message):
        listen_to_the_end(said, max_frame=1000)


def test_ping_is_answered_by_pong() -> None:
    ping = b"\x04\x0b\x04PING\x00\x0acont"
    with conversation(OPENING + encode([b"before"]) + ping) as (dealer, peer):
        assert dealer.recv(1) == [b"before"]
        assert dealer.recv(0) is None
        assert heard(peer, 11) == b"\x04\x09\x04PONGcont"


def test_commands_within_a_message() -> None:
    ping, unknown = b"\x04\x07\x04PING\x00\x00", b"\x04\x07\x06FUTURE"
    with conversation(OPENING + b"\x01\x01a" + ping + unknown + b"\x00\x01b") as (dealer, peer):
        assert dealer.recv(1) == [b"a", b"b"]
        assert heard(peer, 7) == b"\x04\x05\x04PONG"


def test_peer_that_takes_nothing() -> None:
    with conversation(OPENING, timeout=0.2) as (dealer, _):
        start = time.monotonic()
        with pytest.raises(TimeoutError, match=r"taken nothing for 0\.2 s"):
            dealer.send([bytes(16 << 20)])
        assert time.monotonic() - start < 1
        with pytest.raises(ConnectionError, match="closed"):  # half a frame has left
            dealer.send([b"x"])


def test_peer_that_takes_it_slowly() -> None:
    """The timeout is for a standstill: a slow link may take as long as it needs."""
    sent = bytes(range(256)) * 4096
    received = bytearray()

    def sip() -> None:
        while len(received) < len(GREETING + DEALER_READY) + 9 + len(sent):
            time.sleep(0.02)
            received.extend(peer.recv(50_000))

    with conversation(OPENING, timeout=0.3) as (dealer, peer):
        slow = threading.Thread(target=sip)
        slow.start()
        start = time.monotonic()
        dealer.send([sent])
        assert time.monotonic() - start > 0.3
        slow.join(10)
    assert received.endswith(sent)


def test_system_without_sendmsg() -> None:
    class WindowsSocket(socket.socket):
        @property
        def sendmsg(self) -> Callable[..., int]:
            raise AttributeError

    here, peer = socket.socketpair()
    sent = [b"a", b"", bytes(1000), b"b"]
    with peer, WindowsSocket(fileno=here.detach()) as windows:
        peer.sendall(OPENING)
        ZmtpDealer(windows).send(sent)
        assert heard(peer, len(encode(sent))) == encode(sent)


MESSAGES = st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=4), min_size=1, max_size=4)
INTERLUDES = st.sampled_from([b"", b"\x04\x07\x04PING\x00\x00", b"\x04\x07\x06FUTURE"])


@settings(max_examples=100, deadline=None)
@given(st.data(), MESSAGES, st.booleans())
def test_any_cut_loses_nothing(data: st.DataObject, messages: list[list[bytes]], long: bool) -> None:
    stream = b"".join(data.draw(INTERLUDES) + encode(message, long=long) for message in messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=20).map(sorted))
    received: list[Frames] = []
    with conversation(OPENING) as (dealer, peer):
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            peer.sendall(stream[start:end])
            while (message := dealer.recv(0)) is not None:
                received.append(message)
    assert received == messages


FRAMES = st.builds(
    lambda flags, size, body: bytes((flags,)) + size + body,
    st.integers(0, 9) | st.integers(0, 255),
    st.integers(0, 20).map(lambda size: bytes((size,))) | st.binary(min_size=8, max_size=8),
    st.binary(max_size=20) | st.sampled_from([b"\x04PING\0\0", b"\x05READY", b"\x05ERROR\x03bad"]),
)
OPENINGS = st.sampled_from([b"", GREETING[:10], GREETING, OPENING])


@settings(max_examples=400, deadline=None)
@given(OPENINGS, st.binary(max_size=200) | st.lists(FRAMES, max_size=20).map(b"".join))
def test_nothing_a_peer_says_does_harm(opening: bytes, rest: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ConnectionError):
            listen_to_the_end(opening + rest, max_frame=4096)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("module", [zmtp, transport])
def test_reads_as_python_3_10(module: ModuleType) -> None:
    ast.parse(Path(str(module.__file__)).read_text(), feature_version=(3, 10))

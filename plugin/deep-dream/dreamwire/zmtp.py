"""A DEALER of ZMTP 3.0 on the standard library: ZeroMQ for Pythons that no pyzmq wheel fits.

Only what a client needs: one connection, the NULL mechanism, no reconnecting, no thread.
Sources: https://rfc.zeromq.org/spec/23 (ZMTP 3.0) and https://rfc.zeromq.org/spec/37 (3.1: PING and PONG).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias, TypeVar

MAX_FRAME_BYTES = 1 << 30  #: bytes taken in one frame unless told otherwise
MAX_MESSAGE_FRAMES = 64  #: frames of one message, either way
SMALL = 64 << 10  #: a received frame of up to this many bytes is `bytes`, a larger one a read-only memoryview

_MORE, _LONG, _COMMAND = 1, 2, 4
_MAX_COMMAND = 64 << 10
_GREETING = b"\xff" + bytes(8) + b"\x7f" + bytes((3, 0)) + b"NULL".ljust(20, b"\0") + bytes(32)

Buffer: TypeAlias = "bytes | bytearray | memoryview"
Frames: TypeAlias = "list[bytes | memoryview]"
T = TypeVar("T")
#: A piece of parsing: yields each buffer that the connection must fill, returns what it has read.
Parsing: TypeAlias = Generator[memoryview, None, T]


class Deadline:
    """`timeout` seconds from now, or never if that is None."""

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """The seconds left, 0 when it has passed, None if it never will."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


def views(frames: Sequence[Buffer]) -> list[memoryview]:
    """The bytes of the frames of a message to be sent, not copied; ValueError unless there are 1 to 64."""
    if not 1 <= len(frames) <= MAX_MESSAGE_FRAMES:
        raise ValueError(f"A message has 1 to {MAX_MESSAGE_FRAMES} frames, not {len(frames)}.")
    return [memoryview(frame).cast("B") for frame in frames]


class ZmtpDealer:
    """The `Transport` of the standard library, on a connected stream socket that it takes over.

    `timeout` seconds are given to the handshake, and to the peer to take any byte of what is sent. Frames above
    `max_frame` bytes are refused before memory is set aside for them. Heartbeats of the peer are answered,
    but only from inside `recv`. Raises ConnectionError if the peer is no ROUTER of ZMTP 3 with mechanism NULL.
    """

    def __init__(self, stream: socket.socket, *, timeout: float = 5.0, max_frame: int = MAX_FRAME_BYTES) -> None:
        self._socket = stream
        self._timeout = timeout
        self._max_frame = max_frame
        self._unfilled = memoryview(b"")  # what the parsing waits for; kept when a `recv` times out
        try:
            if self._advance(self._handshake(), Deadline(timeout)) is None:
                raise ConnectionError(f"The peer did not finish ZeroMQ's handshake within {timeout:g} s.")
        except BaseException:
            self.close()
            raise
        self._parsing = self._message()

    def __enter__(self) -> ZmtpDealer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection at once; what has not left is lost. May be called again."""
        self._socket.close()

    def send(self, frames: Sequence[Buffer]) -> None:
        """See `Transport.send`."""
        self._check_open()
        buffers: list[Buffer] = []
        for view in views(frames):
            buffers += _header(_MORE, view), view
        buffers[-2] = _header(0, buffers[-1])
        self._write(buffers)

    def recv(self, timeout: float | None) -> Frames | None:
        """See `Transport.recv`."""
        self._check_open()
        try:
            message = self._advance(self._parsing, Deadline(timeout))
        except ConnectionError:
            self.close()  # whatever may follow, it cannot be understood any more
            raise
        if message is not None:
            self._parsing = self._message()
        return message

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise ConnectionError("The connection is closed.")

    def _handshake(self) -> Parsing[bool]:
        self._write([_GREETING])
        start = yield from _take(11)  # other servers may say less than a whole greeting, and then wait
        if start[0] != 0xFF or start[9] != 0x7F:
            raise ConnectionError(f"The peer does not speak ZeroMQ: it began with {bytes(start)!r}.")
        if start[10] < 3:
            raise ConnectionError(f"The peer speaks ZMTP {start[10]}, but 3 is needed.")
        rest = yield from _take(len(_GREETING) - 11)
        mechanism = bytes(rest[1:21]).rstrip(b"\0")
        if mechanism != b"NULL":
            raise ConnectionError(f"The peer asks for the mechanism {mechanism!r}, but only NULL is spoken here.")
        self._write([_command(b"READY", _property(b"Socket-Type", b"DEALER") + _property(b"Identity", b""))])
        flags, body = yield from self._frame()
        name, data = _parse_command(body) if flags & _COMMAND else (b"", b"")
        if name != b"READY" or _properties(data).get(b"socket-type") != b"ROUTER":
            raise ConnectionError("The peer is no ZeroMQ socket of type ROUTER.")
        return True

    def _message(self) -> Parsing[Frames]:
        frames: Frames = []
        while True:
            flags, body = yield from self._frame()
            if flags & _COMMAND:  # may stand between the frames of a message
                self._obey(*_parse_command(body))
                continue
            frames.append(bytes(body) if len(body) <= SMALL else memoryview(body).toreadonly())
            if not flags & _MORE:
                return frames
            if len(frames) == MAX_MESSAGE_FRAMES:
                raise ConnectionError(f"The peer sent a message of more than {MAX_MESSAGE_FRAMES} frames.")

    def _frame(self) -> Parsing[tuple[int, bytearray]]:
        flags, size = yield from _take(2)
        if flags > _MORE | _LONG | _COMMAND or (flags & _COMMAND and flags & _MORE):
            raise ConnectionError(f"The peer broke the rules of ZMTP: a frame with flags {flags:#04x}.")
        if flags & _LONG:
            size = int.from_bytes(bytes((size,)) + (yield from _take(7)), "big")
        limit = _MAX_COMMAND if flags & _COMMAND else self._max_frame
        if size > limit:
            raise ConnectionError(f"The peer announced a frame of {size} bytes, but at most {limit} are taken.")
        return flags, (yield from _take(size))

    def _obey(self, name: bytes, data: bytes) -> None:
        if name == b"PING":  # two bytes of time to live, then what the answer must repeat
            try:
                self._write([_command(b"PONG", data[2:])])
            except TimeoutError as error:
                raise ConnectionError("The peer takes no answer to its heartbeat.") from error

    def _advance(self, parsing: Parsing[T], deadline: Deadline) -> T | None:
        """Feed the parsing: its result, or None at the deadline, when a later call with it carries on."""
        while True:
            while self._unfilled:
                count = self._attempt(self._socket.recv_into, self._unfilled, deadline)
                if count is None:
                    return None
                if count == 0:
                    raise ConnectionResetError("The peer has closed the connection.")
                self._unfilled = self._unfilled[count:]
            try:
                self._unfilled = next(parsing)
            except StopIteration as result:
                finished: T = result.value
                return finished

    def _write(self, buffers: list[Buffer]) -> None:
        """Send all of the buffers; TimeoutError if the peer takes nothing for the time given."""
        try:
            while buffers:
                count = self._attempt(self._gather, buffers, Deadline(self._timeout))
                if count is None:
                    raise TimeoutError(f"The peer has taken nothing for {self._timeout:g} s.")
                while buffers and count >= len(buffers[0]):
                    count -= len(buffers.pop(0))
                if count:
                    buffers[0] = memoryview(buffers[0])[count:]
        except BaseException:
            self.close()  # part of a frame may have left: nothing can follow it
            raise

    def _gather(self, buffers: list[Buffer]) -> int:
        if hasattr(self._socket, "sendmsg"):
            return self._socket.sendmsg(buffers)
        return self._socket.send(buffers[0])  # Windows

    def _attempt(self, operation: Callable[[T], int], argument: T, deadline: Deadline) -> int | None:
        """What the socket's operation returns; None at the deadline, ConnectionError if the connection is gone."""
        self._socket.settimeout(deadline.left())
        try:
            return operation(argument)
        except BlockingIOError:  # nothing to do at once, and the deadline has passed
            return None
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:  # ETIMEDOUT would be a vanished peer
                return None
            raise ConnectionResetError(f"The connection is lost: {error.strerror or error}.") from error


def _take(count: int) -> Parsing[bytearray]:
    """The next `count` bytes of the stream."""
    buffer = bytearray(count)
    yield memoryview(buffer)
    return buffer


def _header(flags: int, body: Buffer) -> bytes:
    size = len(body)
    return bytes((flags, size)) if size < 256 else bytes((flags | _LONG,)) + size.to_bytes(8, "big")


def _command(name: bytes, data: bytes) -> bytes:
    body = bytes((len(name),)) + name + data
    return _header(_COMMAND, body) + body


def _parse_command(body: bytearray) -> tuple[bytes, bytes]:
    """Name and data of a command; ConnectionError if it is malformed or the peer reports an error by it."""
    end = 1 + body[0] if body else 0
    if not 1 < end <= len(body):
        raise ConnectionError("The peer broke the rules of ZMTP: a command without a name.")
    name, data = bytes(body[1:end]), bytes(body[end:])
    if name == b"ERROR":
        raise ConnectionError(f"The peer refuses the connection: {data[1:].decode('ascii', 'replace')!r}.")
    return name, data


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


def _properties(data: bytes) -> dict[bytes, bytes]:
    """The properties of a READY by their names in lower case; what is cut short is left out."""
    found = {}
    while data:
        name, data = data[1 : 1 + data[0]], data[1 + data[0] :]
        size, data = int.from_bytes(data[:4], "big"), data[4:]
        found[name.lower()], data = data[:size], data[size:]
    return found

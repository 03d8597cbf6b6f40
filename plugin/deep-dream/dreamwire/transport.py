"""One connection to a ROUTER: by pyzmq where it can be imported, else by the standard library alone.

Both behave alike; only pyzmq answers the daemon's heartbeats while the client is busy with something else.
"""

from __future__ import annotations

import math
import os
import re
import socket
import struct
import weakref
from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias, get_args

from .zmtp import MAX_FRAME_BYTES, MAX_MESSAGE_FRAMES, SMALL, Buffer, Deadline, Frames, ZmtpDealer, views

try:
    import zmq
except ImportError:
    zmq = None  # type: ignore[assignment]

Choice: TypeAlias = Literal["auto", "pyzmq", "builtin"]
#: The path of an ipc endpoint, or host and port of a tcp one.
Address: TypeAlias = "str | tuple[str, int]"

_MAX_PATH = 103  # bytes; sun_path holds 104 on macOS and the BSDs, 108 on Linux, with a final 0
_NEVER = 24 * 3600 * 1000  # ms; -1, or IMMEDIATE, makes libzmq drop what it had received when the peer went
_TCP = re.compile(r"(?:\[([\w.:%]+)\]|([\w.-]+)):(\d{1,5})")

_EVENT = struct.Struct("=Hi")

#: When a tcp peer that vanished without a word is given up, here by the system: 10 s of silence and 4 questions
#: 5 s apart unanswered, or 30000 ms without a receipt. ZeroMQ's own heartbeats would also give up a living peer
#: whose answer waits behind a big frame on a slow link.
_VANISHED = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}


class Transport(Protocol):
    """A connection that carries messages, each of 1 to 64 frames, and that one thread uses at a time.

    Every failure of the connection is a ConnectionError, after which the transport is of no more use: whoever
    wants to go on connects anew, because the peer does not know the old connection any more.
    """

    def send(self, frames: Sequence[Buffer]) -> None:
        """Send a message. The frames must not be changed afterwards: they may still be on their way.

        Raises TimeoutError if the peer takes nothing for the timeout given to `connect`, ConnectionError if it
        is gone, ValueError for too many frames or none.
        """

    def recv(self, timeout: float | None) -> Frames | None:
        """The next message, or None if there is no whole one within `timeout` seconds (None: wait for ever).

        Frames of up to 64 KiB are bytes, larger ones read-only memoryviews. Messages that came before the peer
        went are still returned; then ConnectionError is raised, as it is for messages that break the limits.
        """

    def close(self) -> None:
        """End the connection at once; what has not left is lost. May be called again."""

    def __enter__(self) -> Transport: ...

    def __exit__(self, *_: object) -> None: ...


def connect(
    endpoint: str, *, timeout: float = 5.0, max_frame: int = MAX_FRAME_BYTES, prefer: Choice = "auto"
) -> Transport:
    """A connection to the ROUTER at an endpoint, `ipc:///path` or `tcp://host:port`, after its handshake.

    `timeout` (seconds) bounds the connecting, the handshake, and later any stretch in which the peer takes
    nothing of what is sent. Received frames have at most `max_frame` bytes. The environment's
    DEEPDREAM_TRANSPORT overrides `prefer`, to find out where a fault lies.

    Raises ConnectionRefusedError if nobody listens, PermissionError if this user may not connect,
    ConnectionResetError if who listens closes the connection, another ConnectionError if it is no ROUTER or does
    not answer, ValueError if the endpoint is none, ImportError if pyzmq is asked for and not usable.
    """
    address = parse_endpoint(endpoint)
    choice = os.environ.get("DEEPDREAM_TRANSPORT") or prefer
    if choice not in get_args(Choice):
        raise ValueError(f"The transport is {choice!r:.40}, but must be one of {', '.join(get_args(Choice))}.")
    if choice == "pyzmq" and not _pyzmq_usable():
        raise ImportError("The transport pyzmq needs the Python package pyzmq, version 23 or later.")
    if choice == "pyzmq" or (choice == "auto" and _pyzmq_usable()):
        return PyzmqTransport(endpoint, address, timeout=timeout, max_frame=max_frame)
    return ZmtpDealer(_dial(endpoint, address, timeout), timeout=timeout, max_frame=max_frame)


def parse_endpoint(endpoint: str) -> Address:
    """The address that an endpoint names, or a ValueError that says how endpoints are written."""
    scheme, _, rest = endpoint.partition("://")
    tcp = _TCP.fullmatch(rest)
    if scheme == "tcp" and tcp and 0 < int(tcp[3]) < 1 << 16:
        return tcp[1] or tcp[2], int(tcp[3])
    if scheme == "ipc" and rest.startswith("/") and "\0" not in rest:
        if not hasattr(socket, "AF_UNIX"):
            raise ValueError(f"{endpoint} cannot be used on this system; tcp://127.0.0.1:PORT can.")
        if len(os.fsencode(rest)) > _MAX_PATH:
            raise ValueError(f"The path of {endpoint} is too long: a socket's has at most {_MAX_PATH} bytes.")
        return rest
    raise ValueError(
        f"The endpoint is {endpoint!r:.200}, but must be ipc:///PATH or tcp://HOST:PORT,"
        " such as ipc:///run/user/1000/deepdream/socket, tcp://127.0.0.1:5555 or tcp://[::1]:5555."
    )


def _dial(endpoint: str, address: Address, timeout: float) -> socket.socket:
    """A connected stream socket, or a ConnectionError or PermissionError."""
    try:
        if isinstance(address, tuple):
            stream = socket.create_connection(address, timeout)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in {"TCP_NODELAY": 1, **_VANISHED}.items():
                if hasattr(socket, name):  # not every system has all of them
                    stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            return stream
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.settimeout(timeout)
            stream.connect(address)
        except BaseException:
            stream.close()
            raise
        return stream
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise _nobody(endpoint) from error
    except PermissionError:
        raise
    except OSError as error:
        raise ConnectionError(f"{endpoint} cannot be reached: {error.strerror or error}.") from error


def _nobody(endpoint: str) -> ConnectionRefusedError:
    return ConnectionRefusedError(f"Nobody listens at {endpoint}.")


def _pyzmq_usable() -> bool:
    return zmq is not None and zmq.pyzmq_version_info() >= (23,) and zmq.zmq_version_info() >= (4, 3)


class PyzmqTransport:
    """The `Transport` of libzmq; see `connect` for its parameters and errors.

    libzmq by itself hides the loss of a peer and reconnects. Here it does not reconnect, and its monitor tells
    of the loss. Each transport has a context of its own, so that its thread and files end with it.
    """

    def __init__(self, endpoint: str, address: Address, *, timeout: float, max_frame: int) -> None:
        self._timeout = timeout
        context = zmq.Context()
        self._socket = context.socket(zmq.DEALER)
        self._monitor = self._socket.get_monitor_socket(
            zmq.Event.CONNECTED | zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.CLOSED | zmq.Event.DISCONNECTED
        )
        # Who forgets a transport must not wait for its context, as pyzmq does for one that is thrown away before
        # its sockets.
        self._end = weakref.finalize(self, _end, context, self._socket, self._monitor)
        self._poller = zmq.Poller()
        self._poller.register(self._monitor, zmq.POLLIN)
        try:
            self._configure(address, max_frame)
            self._socket.connect(endpoint)
            self._await_handshake(endpoint, address)
        except (zmq.ZMQError, socket.gaierror) as error:
            self.close()
            raise ConnectionError(f"{endpoint} cannot be reached: {error.strerror}.") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PyzmqTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection at once; what has not left is lost. May be called again."""
        self._end()

    def send(self, frames: Sequence[Buffer]) -> None:
        """See `Transport.send`."""
        parts = views(frames)
        if not self._ready(zmq.POLLOUT, self._timeout):
            raise TimeoutError(f"The peer has taken nothing for {self._timeout:g} s.")
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK, copy=False)
        except zmq.Again as error:
            raise _gone() from error

    def recv(self, timeout: float | None) -> Frames | None:
        """See `Transport.recv`."""
        if not self._ready(zmq.POLLIN, timeout):
            return None
        frames: Frames = []
        while len(frames) < MAX_MESSAGE_FRAMES:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)  # all frames of a message arrive together
            frames.append(frame.bytes if len(frame) <= SMALL else frame.buffer.toreadonly())
            if not frame.more:
                return frames
        self.close()
        raise ConnectionError(f"The peer sent a message of more than {MAX_MESSAGE_FRAMES} frames.")

    def _configure(self, address: Address, max_frame: int) -> None:
        self._socket.linger = 0
        self._socket.reconnect_ivl = _NEVER
        self._socket.maxmsgsize = max_frame
        if isinstance(address, tuple):
            socket.getaddrinfo(*address)  # libzmq would say nothing of a name that does not exist
            self._socket.ipv6 = ":" in address[0]
            self._socket.tcp_keepalive = 1
            self._socket.tcp_keepalive_idle = _VANISHED["TCP_KEEPIDLE"]
            self._socket.tcp_keepalive_intvl = _VANISHED["TCP_KEEPINTVL"]
            self._socket.tcp_keepalive_cnt = _VANISHED["TCP_KEEPCNT"]
            self._socket.tcp_maxrt = _VANISHED["TCP_USER_TIMEOUT"]

    def _await_handshake(self, endpoint: str, address: Address) -> None:
        deadline = Deadline(self._timeout)
        connected = False
        while self._poller.poll(_milliseconds(deadline.left())):
            # An event's number and value, then its endpoint: zmq_socket_monitor(3). pyzmq's own reader of this
            # imports asyncio, a tenth of a client's start.
            (event, _), _ = _EVENT.unpack(self._monitor.recv()), self._monitor.recv()
            if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                return
            if event == zmq.Event.CONNECTED:
                connected = True
            elif connected:
                raise ConnectionResetError("The peer does not speak ZeroMQ, or is no socket of type ROUTER.")
            else:
                _dial(endpoint, address, self._timeout).close()  # raises the reason, which libzmq keeps to itself
                raise _nobody(endpoint)
        raise ConnectionError(f"The peer did not finish ZeroMQ's handshake within {self._timeout:g} s.")

    def _ready(self, event: int, timeout: float | None) -> bool:
        """Whether the event comes within `timeout` seconds; ConnectionError if the peer goes before it."""
        if self._socket.closed:
            raise ConnectionError("The connection is closed.")
        self._poller.register(self._socket, event)
        ready = dict(self._poller.poll(_milliseconds(timeout)))
        if self._monitor not in ready:
            return self._socket in ready
        if event == zmq.POLLIN and self._socket.poll(0):  # sent before the peer went
            return True
        raise _gone()


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else math.ceil(seconds * 1000)


def _end(context: zmq.Context[zmq.Socket[bytes]], *sockets: zmq.Socket[bytes]) -> None:
    for each in sockets:
        each.close(linger=0)
    context.term()


def _gone() -> ConnectionResetError:
    return ConnectionResetError("The peer has closed the connection.")

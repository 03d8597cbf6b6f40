"""Where clients find the daemon: one instance by a lock, a socket that only its user can open."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import socket as sockets
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from dreamwire import paths
from dreamwire.messages import MAX_FRAMES
from dreamwire.private import secure_dir
from dreamwire.transport import parse_endpoint

from .door import AlreadyRunningError, Door, require_private
from .locks import try_lock

#: Frames of a message that are kept to be looked at: sender, magic, header, pixels, and one that is too many.
ENOUGH_FRAMES = 3 + MAX_FRAMES + 1


@dataclass
class Listener:
    """A ROUTER at an endpoint, with what guards it.

    Clients are known by `token`, and know the daemon by `proof`; both are empty where the socket keeps others out.
    `mend`, called now and then, puts back what somebody has removed of that by which clients find it. Raises
    `AlreadyRunningError` if they find another daemon there, `OSError` if it cannot be put back.
    """

    endpoint: str
    router: zmq.Socket[bytes]
    token: str = ""
    proof: str = ""
    door: Door | None = None
    mend: Callable[[], None] = lambda: None
    _cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def admits(self, token: str, frame: zmq.Frame) -> bool:
        """Whether whoever sent this may use the daemon: the user itself over ipc, who has the token over TCP."""
        if self.token:
            return hmac.compare_digest(self.token.encode(), token.encode())
        peer = _peer(frame)
        return peer is None or peer[0] == os.getuid()

    def close(self) -> None:
        self._cleanup.close()


def listen(
    context: zmq.Context[Any], endpoint: str, max_frame: int, handed: sockets.socket | None = None
) -> Listener:
    """Listens at an `ipc://` endpoint, or at TCP on this machine alone; by the socket `handed` over, if there is.

    Raises `AlreadyRunningError`, `PermissionError` for a folder that others can enter, `ValueError` for an
    endpoint that others could reach, `OSError`.
    """
    address = parse_endpoint(endpoint)
    with contextlib.ExitStack() as stack:
        router = context.socket(zmq.ROUTER)
        stack.callback(router.close, linger=1000)
        router.router_mandatory = True
        router.maxmsgsize = max_frame
        # How many messages of a connection wait here, each way; one may have hundreds of megabytes. Whoever sends
        # faster than we read has to wait, and whoever does not read misses something.
        router.rcvhwm = 4
        router.sndhwm = 256
        if isinstance(address, str):
            path = Path(address)
            require_private(path.parent)
            token, proof, door = "", "", Door(router, endpoint, path, handed)
            stack.callback(door.close)
            mend = door.mend
        else:
            if address[0] not in ("127.0.0.1", "::1", "localhost"):
                raise ValueError(
                    f"{endpoint} could be reached from other machines, which is not supported."
                    f" To let other computers in, whose keys you know: `deepdream serve --listen {endpoint}`."
                )
            file, *copies = paths.token_paths(endpoint)
            secure_dir(file.parent)
            stack.callback(_lock(file))
            token, proof = secrets.token_hex(32), secrets.token_hex(32)
            _write_privately(f"{token}\n{proof}\n", file)
            stack.callback(file.unlink, missing_ok=True)
            for copy in copies:
                with contextlib.suppress(OSError):  # a sandbox that spoils its folder harms itself alone
                    secure_dir(copy.parent)
                    _write_privately(f"{token}\n{proof}\n", copy)
                    stack.callback(copy.unlink, missing_ok=True)
            # Only now: whoever waits at a socket that is handed over looks for the token at once.
            _bind(router, endpoint, handed)
            door, mend = None, partial(_put_back, f"{token}\n{proof}\n", file)
        return Listener(endpoint, router, token, proof, door, mend, stack.pop_all())


def _bind(router: zmq.Socket[bytes], endpoint: str, handed: sockets.socket | None) -> None:
    """Has the router listen, by a socket that does already if there is one. Raises `OSError`."""
    if handed is not None:
        router.use_fd = handed.detach()
    try:
        router.bind(endpoint)
    except zmq.ZMQError as error:
        raise OSError(
            f"At {endpoint} nobody can listen ({error.strerror}). Perhaps another program does: end it, or name"
            " another endpoint by --endpoint."
        ) from error


def _lock(path: Path) -> Callable[[], None]:
    """Makes us the only daemon at `path`; what comes back gives that up. Raises `AlreadyRunningError`."""
    handle = try_lock(path.with_name(path.name + ".lock"))
    if handle is None:
        raise AlreadyRunningError
    return partial(os.close, handle)


def _write_privately(text: str, file: Path) -> None:
    temporary = file.with_name(file.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    temporary.replace(file)


def _put_back(text: str, file: Path) -> None:
    """Writes the token's file anew if somebody has removed it. Nobody else can have the port."""
    if not file.exists():
        secure_dir(file.parent)
        _write_privately(text, file)


def receive(socket: zmq.Socket[bytes], flags: int = 0) -> list[zmq.Frame]:
    """The next message of a ROUTER, its sender first; of one with far too many frames only the first ones."""
    frames: list[zmq.Frame] = []
    while True:
        frame = socket.recv(0 if frames else flags, copy=False)  # what has begun is there as a whole
        if len(frames) < ENOUGH_FRAMES:
            frames.append(frame)
        if not frame.more:
            return frames


def process_of(frame: zmq.Frame) -> int:
    """The id of the process that has sent this over ipc, where the system tells, else 0."""
    peer = _peer(frame)
    return peer[1] if peer else 0


def _peer(frame: zmq.Frame) -> tuple[int, int] | None:
    """The uid and the pid at the other end of an ipc connection, where the system tells; a pid it hides is 0.

    libzmq has them as `localhost:uid:gid:pid`, or without the pid.
    """
    try:
        _, uid, *_, pid = str(frame.get("Peer-Address")).split(":")
        return int(uid), int(pid or 0)
    except (zmq.ZMQError, ValueError):
        return None

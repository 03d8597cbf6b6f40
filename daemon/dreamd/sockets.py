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
from dreamwire.transport import parse_endpoint

from .locks import try_lock


class AlreadyRunningError(Exception):
    """Another daemon serves this endpoint."""


@dataclass
class Listener:
    """A ROUTER at an endpoint, with what guards it. `token` is empty where the socket itself keeps others out."""

    endpoint: str
    router: zmq.Socket[bytes]
    token: str = ""
    _cleanup: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def admits(self, token: str, frame: zmq.Frame) -> bool:
        """Whether whoever sent this may use the daemon: the user itself over ipc, who has the token over TCP."""
        if self.token:
            return hmac.compare_digest(self.token.encode(), token.encode())
        peer = _peer_uid(frame)
        return peer is None or peer == os.getuid()

    def close(self) -> None:
        self._cleanup.close()


def listen(context: zmq.Context[Any], endpoint: str, max_frame: int) -> Listener:
    """Listens at an `ipc://` endpoint, or at TCP on this machine alone.

    Raises `AlreadyRunningError`, `PermissionError` for a folder that others can enter, `ValueError` for an
    endpoint that others could reach, `OSError`.
    """
    address = parse_endpoint(endpoint)
    with contextlib.ExitStack() as stack:
        router = context.socket(zmq.ROUTER)
        stack.callback(router.close, linger=1000)
        router.router_mandatory = True
        router.maxmsgsize = max_frame
        router.sndhwm = 256
        if isinstance(address, str):
            path = Path(address)
            _require_private(path.parent)
            stack.callback(_lock(path))
            _bind_privately(router, endpoint, path)
            stack.callback(path.unlink, missing_ok=True)
            token = ""
        else:
            if address[0] not in ("127.0.0.1", "::1", "localhost"):
                raise ValueError(
                    f"{endpoint} could be reached from other machines, which is not supported."
                    " Listen on tcp://127.0.0.1:PORT, and forward the port by ssh to use it from elsewhere."
                )
            file, *copies = paths.token_paths(endpoint)
            paths.secure_dir(file.parent)
            stack.callback(_lock(file))
            router.bind(endpoint)
            token = secrets.token_hex(32)
            _write_privately(token, file)
            stack.callback(file.unlink, missing_ok=True)
            for copy in copies:
                with contextlib.suppress(OSError):  # a sandbox that spoils its folder harms itself alone
                    paths.secure_dir(copy.parent)
                    _write_privately(token, copy)
                    stack.callback(copy.unlink, missing_ok=True)
        return Listener(endpoint, router, token, stack.pop_all())


def _lock(path: Path) -> Callable[[], None]:
    """Makes us the only daemon at `path`; what comes back gives that up. Raises `AlreadyRunningError`."""
    handle = try_lock(path.with_name(path.name + ".lock"))
    if handle is None:
        raise AlreadyRunningError
    return partial(os.close, handle)


def _require_private(folder: Path) -> None:
    """Makes the socket's folder, or sees that it is the user's alone; a folder of the user's is not changed."""
    if os.path.lexists(folder) and folder.lstat().st_mode & 0o077:
        raise PermissionError(
            f"Others may enter {folder}, so no socket is opened there. Run `chmod 700 {folder}`, or leave"
            " --endpoint and DEEPDREAM_ENDPOINT away to use a folder of the daemon's own."
        )
    paths.secure_dir(folder)


def _bind_privately(router: zmq.Socket[bytes], endpoint: str, path: Path) -> None:
    """Binds with mode 0600 from the first moment, which libzmq itself does not offer.

    The lock is held, so a socket that lies there is a dead daemon's.
    """
    path.unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as listening:
            listening.bind(str(path))
            listening.listen(128)
            router.use_fd = listening.detach()
    finally:
        os.umask(mask)
    router.bind(endpoint)


def _write_privately(token: str, file: Path) -> None:
    temporary = file.with_name(file.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(token)
    temporary.replace(file)


def _peer_uid(frame: zmq.Frame) -> int | None:
    """The uid at the other end of an ipc connection, where the system tells: `localhost:uid:gid:pid`."""
    try:
        parts = str(frame.get("Peer-Address")).split(":")
        return int(parts[1])
    except (zmq.ZMQError, IndexError, ValueError):
        return None

"""The place of an ipc socket: kept for one daemon, put back when it is removed, shut while too many have come."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket as sockets
import stat
import struct
import sys
from pathlib import Path

import zmq

from dreamwire.private import own_dir, secure_dir

from .locks import try_lock

log = logging.getLogger(__name__)

#: Descriptors kept for connections that come unheard, at most 2000 and those in the backlog, and for all else.
UNHEARD = 2500
#: The first frame of what a monitor tells: an event and its value.
_EVENT = struct.Struct("=Hi")


class AlreadyRunningError(Exception):
    """Another daemon serves this endpoint."""


class Door:
    """An ipc socket in its place, which the lock beside it keeps for this daemon.

    libzmq ends the process when connections have taken the last descriptor (its issue 1306). So the door is shut
    while there are many: another socket, which nobody answers, stands in its place. `bell` tells of all who come
    and go. A socket that a service manager has `handed` over stays when the daemon goes.
    """

    def __init__(
        self, router: zmq.Socket[bytes], endpoint: str, path: Path, handed: sockets.socket | None = None
    ) -> None:
        self._router, self._endpoint, self._path = router, endpoint, path
        self._aside = path.with_name(path.name + ".shut")
        self._stand_in: sockets.socket | None = None
        self._found: os.stat_result | None = None
        self._is_ours = handed is None
        self._connections, self._most = 0, _most_connections()
        handle = try_lock(self._lock)
        if handle is None:
            raise AlreadyRunningError
        self._handle = handle
        self.bell = router.get_monitor_socket(zmq.Event.ACCEPTED | zmq.Event.DISCONNECTED)
        try:
            self._listen(handed or _bound(path))
        except BaseException:
            self.close()
            raise

    @property
    def _lock(self) -> Path:
        return self._path.with_name(self._path.name + ".lock")

    def _listen(self, listening: sockets.socket) -> None:
        """Has the router listen at the place by this socket."""
        self._found = self._path.lstat()
        self._router.use_fd = listening.detach()
        self._router.bind(self._endpoint)

    def mend(self) -> None:
        """See `Listener`. Connections go on meanwhile, whatever becomes of the place."""
        if _is(self._path, self._found):
            return
        require_private(self._path.parent)
        if not _is(self._lock, os.fstat(self._handle)):
            handle = try_lock(self._lock)
            if handle is None:
                raise AlreadyRunningError
            os.close(self._handle)
            self._handle = handle
        self._open()
        if not _is(self._path, self._found):
            self._listen(_bound(self._path))
            self._is_ours = True

    def heed(self) -> None:
        """Hears the bell."""
        while self.bell.poll(0):
            event, _ = self.bell.recv_multipart()
            self._connections += 1 if _EVENT.unpack(event)[0] == zmq.Event.ACCEPTED else -1
        if self._stand_in is None and self._connections >= self._most:
            log.warning("%d connections are as many as there may be", self._connections)
            self._aside.unlink(missing_ok=True)
            os.link(self._path, self._aside)
            self._stand_in = _bound(self._path, self._path.with_name(self._path.name + ".new"))
            self._found = self._path.lstat()
        elif self._connections < self._most * 3 // 4:
            self._open()

    def _open(self) -> None:
        """Puts the router's socket back if another one stands in for it."""
        if self._stand_in is not None:
            with contextlib.suppress(FileNotFoundError):  # with its folder
                self._aside.replace(self._path)
                self._found = self._path.lstat()
            self._stand_in.close()
            self._stand_in = None

    def close(self) -> None:
        """Takes all away that is ours, and gives the place free."""
        self._router.disable_monitor()
        self.bell.close()
        with contextlib.suppress(OSError):
            self._open()
            if self._is_ours and _is(self._path, self._found):
                self._path.unlink()
        os.close(self._handle)


def _bound(path: Path, beside: Path | None = None) -> sockets.socket:
    """A socket that listens at `path`, by way of another name `beside` it to be there all at once.

    Its mode is 0600 from the first moment, which libzmq itself does not offer.
    """
    if beside is None:
        _clear(path)
    else:
        beside.unlink(missing_ok=True)
    listening = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listening.bind(str(beside or path))
        listening.listen(128)
        if beside is not None:
            beside.replace(path)
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(mask)
    return listening


def _clear(path: Path) -> None:
    """Takes away the socket of a dead daemon: the lock is held, so no other one lives, but a service manager may.

    Raises `AlreadyRunningError` if somebody listens there, `FileExistsError` for what is no socket.
    """
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise FileExistsError(
            f"{path} is there already and is no socket, so it is left as it is. Move it away, or name another"
            " endpoint by --endpoint."
        )
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as caller:
        caller.setblocking(False)
        if caller.connect_ex(str(path)) in (0, errno.EAGAIN):
            raise AlreadyRunningError
    path.unlink()


def _is(path: Path, found: os.stat_result | None) -> bool:
    """Whether `path` still is the file that was found there."""
    try:
        return found is not None and os.path.samestat(path.lstat(), found)
    except OSError:
        return False


def _most_connections() -> int:
    """How many of the descriptors that this process may have are for connections.

    Between two looks at the bell as many may come as its queue holds; with few descriptors that is not certain.
    """
    if sys.platform == "win32":
        return 1 << 30  # no ipc there
    import resource  # noqa: PLC0415 - not on Windows

    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if most == resource.RLIM_INFINITY else max(most - UNHEARD, most // 4)


def require_private(folder: Path) -> None:
    """Makes the socket's folder, or sees that it is the user's alone; a folder of the user's is not changed."""
    if os.path.lexists(folder) and own_dir(folder).st_mode & 0o077:
        raise PermissionError(
            f"Others may enter {folder}, so no socket is opened there. Run `chmod 700 {folder}`, or leave"
            " --endpoint and DEEPDREAM_ENDPOINT away to use a folder of the daemon's own."
        )
    secure_dir(folder)

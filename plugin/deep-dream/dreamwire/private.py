"""What is this user's alone: folders, files and sockets that nobody else on the machine can read, replace or fake.

Who may write in a folder may put something else in the place of all that is in it. So it matters whose a folder
is, and as much who may write in those above it: `secure_dir` and `require_ours` look at the whole way, links
included. That a group may write in a folder is its owner's choice; where everybody may, it is safe only with the
sticky bit, as /tmp has it. On Windows what lies in a profile is the user's own already, and is not looked at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

#: Which users of the machine this process can tell apart: all of them, unless it is in a namespace of users.
UID_MAP = Path("/proc/self/uid_map")
ANOTHER = "name another folder (DEEPDREAM_RUNTIME for the daemon's socket, DEEPDREAM_DATA for weights)"


def secure_dir(path: Path) -> Path:
    """Makes `path` a folder that only this user can enter (mode 0700), and returns it.

    A folder of ours that others may enter is closed to them. Raises `PermissionError` for a symbolic link, for
    anything but a folder, for one of somebody else, one that cannot be made, and one that others could replace.
    """
    try:
        _make(path)
        if sys.platform == "win32":
            return path
        found = own_dir(path)
    except OSError as error:
        if error.strerror is None:  # one of ours, which says it all
            raise
        raise PermissionError(f"{path} cannot be made: {error.strerror}. Mend that, or {ANOTHER}.") from error
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
        if stat.S_IMODE(path.lstat().st_mode) & 0o077:  # such as FAT, or a share that keeps no modes
            raise _unsafe(path, "is open to others and cannot be closed", "they could replace what is in it")
    return path


def own_dir(path: Path) -> os.stat_result:
    """What the system knows of a folder of ours. Changes nothing; raises `PermissionError` as `secure_dir`."""
    _require_safe_way(path)
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise _unsafe(path, "is a symbolic link", "somebody may lead it elsewhere")
    if not stat.S_ISDIR(found.st_mode):
        raise _unsafe(path, "is not a folder", "nothing can be kept in it")
    if found.st_uid != os.getuid():
        raise _unsafe(
            path, f"belongs to another user ({found.st_uid})", "they could read and replace what is in it"
        )
    return found


def require_ours(path: Path) -> None:
    """Raises `PermissionError` unless a file or socket is ours, or root's, and nobody else can replace it."""
    if sys.platform == "win32":
        return
    _require_safe_way(path)
    found = path.lstat()
    if found.st_uid not in (0, os.getuid()):
        raise PermissionError(f"{path} belongs to another user ({found.st_uid}), so it is not used.")
    if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IWOTH:
        raise PermissionError(
            f"Everybody may write {path}, so it is not used. Look into it, then run `chmod o-w {path}`."
        )


def secure_file(path: str, flags: int) -> int:
    """Opens a file for writing that only this user can read: an `opener` for `open`. Devices are as good.

    Raises `PermissionError` for a symbolic link, for a file of somebody else or with other names, and for what is
    no file; these are left as they are.
    """
    if sys.platform == "win32":
        return os.open(path, flags, 0o600)
    try:
        # What is there is looked at before it is emptied; a pipe that nobody reads must not hold us up.
        handle = os.open(path, (flags & ~os.O_TRUNC) | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise _not_written(path, "is a symbolic link") from error
        if error.errno == errno.ENXIO:
            raise _not_written(path, "is no file") from error
        raise
    try:
        found = os.fstat(handle)
        if stat.S_ISREG(found.st_mode):
            if found.st_uid != os.getuid():
                raise _not_written(path, f"belongs to another user ({found.st_uid})")
            if found.st_nlink > 1:
                raise _not_written(path, "has other names elsewhere")
            if found.st_mode & 0o077:
                os.fchmod(handle, 0o600)
            if flags & os.O_TRUNC:
                os.ftruncate(handle, 0)
        elif not stat.S_ISCHR(found.st_mode):
            raise _not_written(path, "is no file")
        os.set_blocking(handle, True)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _make(path: Path) -> None:
    """Makes a folder, and those above it that are missing, each for this user alone."""
    if not path.parent.exists():
        _make(path.parent)
    if sys.platform != "win32":
        _require_safe_way(path)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)


def _require_safe_way(path: Path) -> None:
    """Raises `PermissionError` if somebody else could put something else in the place of `path`."""
    path.parent.stat()  # of links that lead nowhere, or in a circle
    trusted = _trusted()
    for folder in _passed(path.parent):
        found = folder.lstat()
        if found.st_uid not in trusted:
            what = f"belongs to another user ({found.st_uid})"
        elif stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
            what = "may be written in by everybody"
        else:
            continue
        raise PermissionError(
            f"{path} is not used, because {folder}, on the way to it, {what}: they could put something else in its"
            f" place. Mend that, or {ANOTHER}."
        )


def _passed(path: Path) -> Iterator[Path]:
    """Every folder on the way to a path and itself, from the root on, and where those that are links lead."""
    for folder in (*reversed(path.parents), path):
        yield folder
        if folder.is_symlink():
            yield from _passed(folder.parent / folder.readlink())


def _trusted() -> set[int]:
    """Whose folders may lie above ours: root's and ours, and those of users whom our namespace does not show."""
    trusted = {0, os.getuid()}
    # In a sandbox the system's own folders are nobody's; outside of one, nobody is a user like others.
    with contextlib.suppress(OSError):
        if UID_MAP.read_bytes().split() != [b"0", b"0", b"4294967295"]:
            trusted.add(int(Path("/proc/sys/kernel/overflowuid").read_bytes()))
    return trusted


def _unsafe(path: Path, what: str, why: str) -> PermissionError:
    return PermissionError(f"{path} {what}, so it is not used: {why}. Remove it, or {ANOTHER}.")


def _not_written(path: str, what: str) -> PermissionError:
    return PermissionError(f"{path} {what}, so it is not written: somebody may have put it there. Remove it.")

"""Lock files: they end with the process that holds them, however it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dreamwire.private import secure_file


def try_lock(path: Path) -> int | None:
    """A descriptor that locks `path` until it is closed, or None while another process or thread has it.

    Raises `PermissionError` for a lock that somebody else has put there, by which they could hold us off for ever.
    """
    handle = secure_file(str(path), os.O_RDWR | os.O_CREAT)
    held = False
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415 - there alone

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415 - everywhere else

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The last holder may have removed the file that was opened here; such a lock would hold nobody off.
        held = os.path.samestat(os.fstat(handle), path.stat())
    except (BlockingIOError, PermissionError, FileNotFoundError):
        pass
    finally:
        if not held:
            os.close(handle)
    return handle if held else None

"""How much memory a process has and may have, what it gives back, and who goes first when none is left."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
#: What a machine has that does not say.
USUAL = 8 << 30


def allowed() -> int:
    """Bytes of memory that this process may have: the machine's, or less where a limit is set."""
    return min([_machine(), *_of_process(), *_of_groups()])


def _machine() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return USUAL


def _of_process() -> Iterator[int]:
    """Limits as `ulimit` sets them."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            soft, _ = resource.getrlimit(kind)
            if soft != resource.RLIM_INFINITY:
                yield soft


def _of_groups() -> Iterator[int]:
    """Limits of the control groups that this process is in, as containers and systemd set them: cgroups(7)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                root, file = (CGROUPS, "memory.max") if not controllers else (CGROUPS / "memory", _VERSION_1)
                # Inside a container the path may be that of the machine around it: then only the root is there.
                group = root / path.lstrip("/")
                for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(root))):
                    yield from _number_in(folder / file)


_VERSION_1 = "memory.limit_in_bytes"


def _number_in(file: Path) -> Iterator[int]:
    """The number in a file, if it is there and has one: without a limit it says `max`, or has a very large one."""
    with contextlib.suppress(OSError):
        text = file.read_text(encoding="ascii").strip()
        if re.fullmatch(r"\d+", text):
            yield int(text)


def resident(pid: int) -> int | None:
    """Bytes of memory that a process of ours takes; None where the system does not say, as Windows to Python."""
    try:
        if sys.platform == "linux":
            _, pages, *_ = Path(f"/proc/{pid}/statm").read_bytes().split()
            return int(pages) * os.sysconf("SC_PAGE_SIZE")
        if sys.platform != "win32":
            asked = ["ps", "-o", "rss=", "-p", str(pid)]
            return int(subprocess.run(asked, capture_output=True, timeout=5, check=True).stdout) * 1024
    except (OSError, ValueError, subprocess.SubprocessError):  # it has ended
        pass
    return None


def give_back() -> None:
    """Gives back to the system what is free; glibc keeps what lies between two blocks that are in use."""
    import ctypes  # noqa: PLC0415 - the front, which starts at once, never needs it

    with contextlib.suppress(AttributeError, OSError, TypeError):  # others have no such call
        ctypes.CDLL(None).malloc_trim(0)


def give_back_beyond(most: int) -> None:
    """As `give_back`, if this process takes more bytes than that: to ask for them again takes time."""
    if sys.platform == "linux" and (resident(os.getpid()) or 0) > most:
        give_back()


def go_first() -> None:
    """Has Linux end this process, rather than an editor with unsaved work, when the machine has no memory left."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")

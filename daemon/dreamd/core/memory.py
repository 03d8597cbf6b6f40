"""Memory that is free, given back to the system."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence

from torch import Tensor

#: What is worked on has more values than this where giving back is worth the time that asking again takes.
HUGE = 1 << 27


def give_back(pictures: Sequence[Tensor]) -> None:
    """Gives back what windows have left, before huge pictures are worked on as a whole."""
    if sum(picture.numel() for picture in pictures) > HUGE and pictures[0].device.type == "cpu":
        _trim()(0)


@functools.cache
def _trim() -> Callable[[int], int]:
    """glibc keeps what was freed between two blocks that are in use; others have no such call."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda _keep: 0
    return trim

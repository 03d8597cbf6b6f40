"""What every program says to a person in the same words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .messages import Progress


def duration(seconds: float) -> str:
    """As a person says it: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def where(event: Progress, detail: str) -> str:
    """How far a job is; `detail` says where it is within its octave, as the program shows that."""
    if event.state == "queued":
        return f"waiting, {event.position} before" if event.position else "waiting"
    if event.state == "loading":
        return "loading the network"
    left = f", {duration(event.seconds_left)} left" if event.seconds_left is not None else ""
    octave = f"octave {event.octave} of {event.octaves}, " if event.octaves > 1 else ""
    return f"{octave}{detail}{left}"


def nearest(name: str, names: Iterable[str], otherwise: str = ".") -> str:
    """The end of a sentence about an unknown name: the names that are like it, or what there is `otherwise`."""
    near = difflib.get_close_matches(name, list(names), n=3)
    return f"; did you mean {' or '.join(near)}?" if near else otherwise

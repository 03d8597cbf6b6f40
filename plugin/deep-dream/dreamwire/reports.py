"""What a job has reached, from the `info` of its result, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def told(info: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing that was to be reached."""
    lines = []
    for name, (before, after) in info.get("classes", {}).items():
        lines.append(f"To the network the region is {name} with {percent(after)}; before, with {percent(before)}.")
    return lines


def percent(share: float) -> str:
    """A probability for a person, with as many digits as say something."""
    if share <= 0.0001:
        return "less than 0.01 %"
    if share >= 0.9999:
        return "more than 99.99 %"
    return f"{100 * share:.2f} %" if share < 0.01 or share > 0.99 else f"{100 * share:.1f} %"

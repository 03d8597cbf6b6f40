"""The kinds of job, a module each. A new kind is a module with a `KIND`, a row in KINDS, and a row in JOBS."""

from __future__ import annotations

from collections.abc import Mapping

from . import adversarial, classify, dream, enlarge, invert, saliency, zoom
from .task import Kind, Task

KINDS: Mapping[str, Kind] = {
    "dream": dream.KIND,
    "enlarge": enlarge.KIND,
    "classify": classify.KIND,
    "saliency": saliency.KIND,
    "adversarial": adversarial.KIND,
    "invert": invert.KIND,
    "zoom": zoom.KIND,
}

__all__ = ["KINDS", "Kind", "Task"]

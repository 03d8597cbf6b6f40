"""The kinds of job, a module each. A new kind is a module with a `KIND`, a row in KINDS, and a row in JOBS."""

from __future__ import annotations

from collections.abc import Mapping

from . import adversarial, classify, dream, enlarge, fool, invert, saliency, visualise, zoom
from .task import Kind, Task, blends

KINDS: Mapping[str, Kind] = {
    "dream": dream.KIND,
    "enlarge": enlarge.KIND,
    "classify": classify.KIND,
    "saliency": saliency.KIND,
    "adversarial": adversarial.KIND,
    "invert": invert.KIND,
    "zoom": zoom.KIND,
    "visualise": visualise.KIND,
    "fool": fool.KIND,
}

__all__ = ["KINDS", "Kind", "Task", "blends"]

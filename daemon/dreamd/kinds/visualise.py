"""The network's own idea of classes, layers and channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from ..core.progress import Progress
from ..core.region import region_of
from ..core.visualise import Settings, visualise
from . import dream
from .task import Kind, Task


def run(task: Task) -> Iterator[Progress]:
    """Fills the region."""
    params, at = task.params, task.network.row.classes_at
    settings = Settings(
        side=at / float(params["thing_size"]),
        most=at,
        steps=int(params["steps"]),
        contrast=float(params["contrast"]),
        colour=float(params["colour"]),
        robustness=float(params["robustness"]),
        seed=int(params["seed"]),
        blended=task.blended,
        window=task.window,
    )
    return visualise(task.network, dream.objective(task), task.source, task.mask, settings)


def report(task: Task, after: Callable[[], Tensor]) -> dict[str, Any]:
    """How probable the classes asked for are in the region, before and after; it is looked at alone."""
    mask, region = region_of(task.mask)
    alone = replace(task, source=task.source[region.index], mask=mask[region.index])
    return dream.report(alone, lambda: after()[region.index])


KIND = Kind(run, report)

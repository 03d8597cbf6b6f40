"""What the network sees in the region."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from ..core.progress import Progress
from ..core.region import region_of
from .task import Kind, Task, named


def run(task: Task) -> Iterator[Progress]:
    """Changes nothing."""
    _, region = region_of(task.mask)
    yield Progress.of_step(1, 1, region, lambda: task.source[region.index])


def report(task: Task, _after: Callable[[], Tensor]) -> dict[str, Any]:
    """The most probable classes, as `seen`."""
    probabilities = task.probabilities()
    return {
        "seen": named(probabilities, probabilities.argsort(descending=True)[: int(task.params["top"])].tolist())
    }


KIND = Kind(run, report)

"""Pictures that are nothing to people and one thing to the network, beyond doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from dreamwire.classes import class_name
from dreamwire.errors import DreamError
from dreamwire.reports import percent

from ..core.adversarial import OutOfReachError
from ..core.fool import Settings, fool
from ..core.progress import Progress
from .adversarial import second, target_of, verdict
from .task import Kind, Task


def run(task: Task) -> Iterator[Progress]:
    """Fills the region. Raises `DreamError` if the class is out of reach, or the second network cannot be had."""
    second(task)
    params = task.params
    settings = Settings(
        target_of(params),
        float(params["confidence"]),
        int(params["steps"]),
        str(params["encoding"]),
        int(params["seed"]),
        task.blended,
    )
    try:
        yield from fool(task.classifier(), task.source, task.mask, settings)
    except OutOfReachError as error:
        raise DreamError(
            "bad_input",
            f"In {settings.steps} steps no picture was found that is {class_name(settings.target)} to the network:"
            f" one came to {percent(error.best)}, and was to come to {percent(settings.confidence)}. Try more"
            " steps, another seed or encoding, or a larger region.",
        ) from None


def report(task: Task, after: Callable[[], Tensor]) -> dict[str, Any]:
    """How probable the class was and is in the region, and what another network says, if one is here."""
    target, other = target_of(task.params), second(task)
    made = after()
    shares = task.probabilities(), task.probabilities(made)
    return {
        "classes": {class_name(target): [float(each[target]) for each in shares]},
        "fool": {"target": class_name(target), "verdicts": [verdict(task, made, other, target)] if other else []},
    }


KIND = Kind(run, report)

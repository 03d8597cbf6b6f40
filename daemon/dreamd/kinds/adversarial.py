"""The smallest change that makes the network see something else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from dreamwire.classes import class_name
from dreamwire.errors import DreamError
from dreamwire.networks import NETWORKS
from dreamwire.params import PARAMS, Value, class_weights
from dreamwire.reports import percent

from ..core.adversarial import WHITE, OutOfReachError, Settings, attack
from ..core.progress import Progress
from ..models import LoadedNetwork
from .task import Kind, Task, named

#: What is shown as black or white of a difference, in multiples of its root mean square.
BOLD = 3.0


def run(task: Task) -> Iterator[Progress]:
    """Searches for the change. Raises `DreamError` if none is found, or the second network cannot be had."""
    second(task)
    params = task.params
    settings = Settings(
        target_of(params), int(params["epsilon"]), float(params["confidence"]), int(params["steps"])
    )
    try:
        yield from attack(task.classifier(), task.source, task.mask, settings)
    except OutOfReachError as error:
        larger = min(2 * settings.epsilon, int(PARAMS["epsilon"].maximum))
        raise DreamError(
            "bad_input",
            f"In {settings.steps} steps no change by at most {settings.epsilon}/255 was found that makes the"
            f" region {class_name(settings.target)} to the network: it came to {percent(error.best)}, and was"
            f" to come to {percent(settings.confidence)}. Try an epsilon of {larger}, more steps, or a larger"
            " region.",
        ) from None


def report(task: Task, after: Callable[[], Tensor]) -> dict[str, Any]:
    """By how much the picture was changed, and what it was and is to the networks, as `adversarial`."""
    made = after()
    target, change = target_of(task.params), (made - task.source)[:, task.mask > 0] * WHITE
    return {
        "adversarial": {
            "target": class_name(target),
            "largest": round(float(change.abs().max()), 3),
            "mean": round(float(change.abs().mean()), 4),
            "rms": round(float(change.square().mean()) ** 0.5, 4),
            "verdicts": [
                verdict(task, made, network, target) for network in (task.network, second(task)) if network
            ],
        }
    }


def show(params: Mapping[str, Value], source: Tensor, made: Tensor) -> Tensor:
    """The changed picture, or the difference around middle gray, so magnified that `BOLD` is black or white."""
    if params["show"] == "picture":
        return made
    change = made - source
    most = BOLD * change.square().mean().sqrt()
    return 0.5 + 0.5 * (change / most.clamp(min=1 / WHITE)).clamp(-1, 1)


KIND = Kind(run, report, show=show)


def target_of(params: Mapping[str, Value]) -> int:
    (target,) = class_weights(params)
    return target


def second(task: Task) -> LoadedNetwork | None:
    """The network named to be asked too, or the smallest other EfficientNet-Lite that is here, if one is."""
    if name := str(task.params["against"]):
        return task.another(name)
    for row in NETWORKS.values():
        if row.family == "efficientnet_lite" and row.name != task.network.row.name:
            with contextlib.suppress(DreamError):
                return task.another(row.name)
    return None


def verdict(task: Task, after: Tensor, network: LoadedNetwork, target: int) -> dict[str, Any]:
    """What the region is to a network, before and after."""
    shares = task.probabilities(network=network), task.probabilities(after, network)
    (was,), (now,) = (named(each, [int(each.argmax())]) for each in shares)
    return {
        "network": network.row.name,
        "before": was,
        "after": now,
        "target": [float(each[target]) for each in shares],
    }

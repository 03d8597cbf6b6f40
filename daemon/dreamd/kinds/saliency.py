"""Where the network sees what it sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from dreamwire.classes import class_name
from dreamwire.errors import DreamError
from dreamwire.networks import CLASSES
from dreamwire.params import class_weights

from ..core.progress import Progress
from ..core.saliency import Samples, cam, gradient, saliency, smooth
from ..pixels import Picture
from .task import Kind, Task, named

#: How large a class-activation map views the region: as a whole, and closer, to see its parts.
SCALES = 1.0, 2.0


def run(task: Task) -> Iterator[Progress]:
    """Maps what speaks for the classes in the region. Raises `DreamError` where nothing does."""
    wanted = _wanted(task)
    for progress in saliency(_samples(task, wanted), task.classifier(), task.mask):
        yield progress
    if not progress.picture().any():
        raise DreamError(
            "bad_input",
            f"Nothing in the region speaks for {' or '.join(map(class_name, wanted))} to the network."
            " Name no class to see what does, or use the method smooth.",
        )


def report(task: Task, _after: Callable[[], Tensor]) -> dict[str, Any]:
    """The classes looked for, and how probable they are in the region, as `looked_for`."""
    return {"looked_for": named(task.probabilities(), list(_wanted(task)))}


def blank(picture: Picture) -> Picture:
    """A black gray picture of the same size and type."""
    return Picture(torch.zeros_like(picture.pixels[..., :1]), picture.dtype)


KIND = Kind(run, report, onto=blank)


def _wanted(task: Task) -> dict[int, float]:
    """The classes asked for and their weights, or the one that the network sees most."""
    return class_weights(task.params) or {int(task.probabilities().argmax()): 1.0}


def _samples(task: Task, wanted: dict[int, float]) -> Samples:
    weights = torch.zeros(task.network.row.layers[CLASSES].channels, device=task.source.device)
    for number, weight in wanted.items():
        weights[number] = weight
    count, method = int(task.params["samples"]), task.params["method"]
    if method == "cam":
        return cam([task.classifier(scale=scale) for scale in SCALES], task.source, weights, count)
    if method == "smooth":
        return smooth(task.classifier(), task.source, weights, count, int(task.params["seed"]))
    return gradient(task.classifier(), task.source, weights)

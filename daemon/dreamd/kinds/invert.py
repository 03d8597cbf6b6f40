"""The region rebuilt from what a layer knows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from dreamwire.errors import DreamError
from dreamwire.params import context_pixels, context_share, layer_weights

from ..core.invert import Code, EmptyCodeError, Settings, errors, invert
from ..core.progress import Progress
from .dream import channels
from .task import Kind, Task


def run(task: Task) -> Iterator[Progress]:
    """Rebuilds the region. Raises `DreamError` where a layer knows nothing of it."""
    try:
        yield from invert(task.network, _codes(task), task.source, task.mask, _settings(task))
    except EmptyCodeError as error:
        raise DreamError(
            "bad_input",
            f"Nothing in the region excites the channels of {error.layer} that were asked for, so that nothing can"
            " be rebuilt from them. Name other channels, or none for all of them.",
        ) from None


def report(task: Task, after: Callable[[], Tensor]) -> dict[str, Any]:
    """How far the result's code is from the region's, of every layer, as `rebuilt`."""
    codes = _codes(task)
    found = errors(task.network, codes, task.source, after(), task.mask, _settings(task))
    return {"rebuilt": {code.layer: error for code, error in zip(codes, found, strict=True)}}


KIND = Kind(run, report)


def _codes(task: Task) -> list[Code]:
    return [
        Code(layer, weight, channels(task, layer))
        for layer, weight in layer_weights(task.kind, task.params).items()
    ]


def _settings(task: Task) -> Settings:
    params = task.params
    return Settings(
        steps=int(params["steps"]),
        step_size=float(params["step_size"]),
        smoothness=float(params["smoothness"]),
        colour=float(params["colour"]),
        seed=int(params["seed"]),
        blended=task.blended,
        reach=context_share(params),
        window=task.window,
        context=context_pixels(task.kind, params),
    )

"""The kinds of job: how each makes a dream of its parameters. A new kind is a function here and a row in JOBS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from dreamwire.params import Value, context_pixels, context_share, layer_weights, parse_channels

from .core.dream import Progress, Settings, dream
from .core.objectives import energy
from .models import LoadedNetwork


@dataclass(frozen=True)
class Task:
    """What a job works on: validated parameters, the picture `(C, H, W)`, the region `(H, W)`, the network.

    `window` is the side of the largest window, as the device has room for.
    """

    params: Mapping[str, Value]
    source: Tensor
    mask: Tensor
    network: LoadedNetwork
    window: int


def _dream(task: Task) -> Iterator[Progress]:
    params = task.params
    objective = energy(layer_weights(params), parse_channels(str(params["channels"])))
    return dream(task.network, objective, task.source, task.mask, settings(params, task.window))


def settings(params: Mapping[str, Value], window: int) -> Settings:
    """The core's settings from a dream's parameters."""
    return Settings(
        octaves=int(params["octaves"]),
        octave_scale=float(params["octave_scale"]),
        steps=int(params["steps"]),
        step_size=float(params["step_size"]),
        jitter=int(params["jitter"]),
        levels=int(params["levels"]) if params["smoothing"] == "laplacian" else 0,
        colour=float(params["colour"]),
        seed=int(params["seed"]),
        strength=float(params["strength"]),
        blended=params["edge"] == "blended",
        reach=context_share(params),
        window=window,
        context=context_pixels(params),
    )


KINDS: Mapping[str, Callable[[Task], Iterator[Progress]]] = {"dream": _dream}

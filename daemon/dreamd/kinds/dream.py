"""Deep dreams: of layers and their channels, of classes, of what a guide shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from dreamwire.classes import class_name
from dreamwire.errors import DreamError
from dreamwire.networks import CLASSES
from dreamwire.params import Value, class_weights, context_pixels, context_share, layer_weights
from dreamwire.texts import Ranked, parse_channels

from ..core.dream import Settings, dream
from ..core.objectives import Emphasis, Energy, Likeness, Objective, Score, Term
from ..core.progress import Progress
from ..core.pyramid import resize, resize_mask
from .task import Kind, Task

#: The shorter side of a guide in pixels: about that of the pictures that networks were trained on.
GUIDE = 224
#: How much of the detail is blurred at each step when classes are dreamt. Their scores ask for a grain that
#: differs from step to step and means nothing to the eye (Yosinski and others, "Understanding Neural Networks
#: Through Deep Visualization", 2015).
BLUR = 0.04

#: Of each quality the shares of the steps that the coarsest octave takes, where forms are found, and the finest.
SHARES = {"draft": (0.6, 0.2), "normal": (1.0, 1.0), "fine": (2.0, 2.0)}


def run(task: Task) -> Iterator[Progress]:
    """Dreams the region."""
    how = settings(task.kind, task.params, task.window)
    return dream(task.network, objective(task), task.source, task.mask, how)


def report(task: Task, after: Callable[[], Tensor]) -> dict[str, Any]:
    """How probable the classes asked for are in the region, before and after."""
    wanted = class_weights(task.params)
    if not wanted:
        return {}
    before, now = task.probabilities(), task.probabilities(after())
    return {"classes": {class_name(each): [float(before[each]), float(now[each])] for each in wanted}}


KIND = Kind(run, report)


def objective(task: Task) -> Objective:
    """What a dream climbs: the layers' energies, or their likeness to a guide, and the scores of classes."""
    share = 0.0 if task.guide is None else float(task.params["guide_weight"])
    terms: list[Term] = []
    for layer, weight in layer_weights(task.kind, task.params).items():
        if share < 1:
            terms.append(Energy(layer, weight * (1 - share), channels(task, layer)))
        if share > 0:
            terms.append(_likeness(task, layer, weight * share))
    terms += [Score(CLASSES, number, weight) for number, weight in class_weights(task.params).items()]
    return Objective(tuple(terms))


def channels(task: Task, layer: str) -> tuple[int, ...]:
    """The channels of a layer that count; those that the region excites are looked for."""
    wanted = parse_channels(str(task.params["channels"]))
    if not isinstance(wanted, Ranked):
        return wanted
    means = task.means(layer)
    distance = {"strongest": -means, "weakest": means, "average": (means - means.mean()).abs()}[wanted.order]
    return tuple(sorted(distance.argsort()[: wanted.count].tolist()))


def _likeness(task: Task, layer: str, weight: float) -> Term:
    """The term that makes a layer's activations like those of the guide, place by place or on the whole."""
    activations = _guide(task, layer)
    if task.params["guide_match"] == "similar":
        return Likeness(layer, activations, weight)
    # What the guide has more of than the region is what has to grow; what neither has is nobody's business.
    own, wanted = task.means(layer, power=2), activations.float().square().mean(0)
    emphasis = wanted / (own + own.mean())
    return Emphasis(layer, (emphasis / emphasis.mean()).to(activations.dtype), weight)


@torch.no_grad()
def _guide(task: Task, layer: str) -> Tensor:
    """A layer's activations at the places of the guide `(n, C)`; not at those that are mostly transparent.

    Raises `DreamError` bad_input if all are.
    """
    assert task.guide is not None  # noqa: S101 - without one nothing is asked to be like it
    device = task.source.device
    colour, alpha = task.guide.colour(device), task.guide.alpha(device)
    if alpha is not None:
        if not bool(alpha.any()):
            raise DreamError(
                "bad_input",
                "The guide is transparent everywhere. Choose a picture, or a layer, that shows something.",
            )
        # What is hidden has any colour, black most often; here it has that of what is seen.
        colour = torch.lerp((colour * alpha).sum((1, 2), True) / alpha.sum(), colour, alpha)
    scale = GUIDE / min(colour.shape[-2:])
    size = [round(side * scale) for side in colour.shape[-2:]]
    shown = resize(colour, size, "bicubic").clamp(0, 1)
    activations = task.network.features(shown[None].expand(-1, 3, -1, -1), [layer])[0][0]
    places = activations.flatten(1).T
    if alpha is None:
        return places
    seen = resize_mask(alpha[0], activations.shape[-2:]).flatten()
    return places[seen >= min(0.5, float(seen.max()))]


def settings(kind: str, params: Mapping[str, Value], window: int) -> Settings:
    """The core's settings from the parameters of a dream, or of another kind that dreams too."""
    return Settings(
        octaves=int(params["octaves"]),
        octave_scale=float(params["octave_scale"]),
        steps=int(params["steps"]),
        step_size=float(params["step_size"]),
        shares=SHARES[str(params["quality"])],
        jitter=int(params["jitter"]),
        levels=int(params["levels"]) if params["smoothing"] == "laplacian" else 0,
        colour=float(params["colour"]),
        blur=BLUR if class_weights(params) else 0.0,
        seed=int(params["seed"]),
        strength=float(params["strength"]),
        blended=params["edge"] == "blended",
        reach=context_share(params),
        window=window,
        context=context_pixels(kind, params),
    )

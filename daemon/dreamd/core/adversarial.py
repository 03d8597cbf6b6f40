"""The smallest change that makes a network take a region for what it is not.

That there is one: Szegedy and others, "Intriguing properties of neural networks" (2013). How it is found: its
direction and its norm apart (DDN: Rony and others, 2019). It consists of whole steps of 8 bits, so that it
survives when the picture is rounded to 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .classifier import Classifier
from .progress import Progress, rise
from .region import region_of

#: Steps of 8 bits from black to white.
WHITE = 255
#: The root mean square of the change to begin with, in steps of 8 bits.
NORM = 1.0
#: By how much it shrinks when the class was reached, and grows when it was not.
PACE = 0.05
#: How far a step goes, as a root mean square in steps of 8 bits: at first, and at last.
FAR, NEAR = 0.5, 0.01


class OutOfReachError(ValueError):
    """No change that is allowed and was tried reaches the class; `best` is the probability that it had at most."""

    def __init__(self, best: float) -> None:
        super().__init__(best)
        self.best = best


@dataclass(frozen=True)
class Settings:
    """Make `target` the most probable class, by at least `confidence`; no value may change by more than `epsilon`.

    Epsilon is in steps of 8 bits.
    """

    target: int
    epsilon: int = 8
    confidence: float = 0.5
    steps: int = 60


def attack(classifier: Classifier, source: Tensor, mask: Tensor, settings: Settings) -> Iterator[Progress]:
    """Yields after every step of the search the smallest change so far that reaches the class.

    As long as there is none, the one just tried. `mask (H, W)` of 0..1 scales how much may change in
    `source (C, H, W)`; what lies between black and white stays there. The classifier views this region. Raises
    `EmptyRegionError`, and `OutOfReachError` at the end.
    """
    mask, region = region_of(mask)
    picture, base = source.clone(), source[region.index]
    room = (settings.epsilon * mask[region.index]).floor()
    up = torch.minimum(room, _steps(base.clamp(min=1) - base))
    down = -torch.minimum(room, _steps(base - base.clamp(max=0)))
    free = up > down
    change, norm = torch.zeros_like(base), NORM
    found, smallest, best, first = change, math.inf, 0.0, 0.0
    for step in range(settings.steps):
        tried = change.round().clamp_(down, up)
        picture[region.index] = _changed(base, tried)
        shares = classifier.scores(picture).softmax(0)
        share = float(shares[settings.target])
        reached = int(shares.argmax()) == settings.target and share >= settings.confidence
        best, first = max(best, share), first or share
        if smallest == math.inf or (reached and _size(tried) < smallest):
            found, smallest = tried, _size(tried) if reached else math.inf
        so_far = partial(_changed, base, found)
        yield Progress.of_step(step + 1, settings.steps, region, so_far, rise([first], [best]))
        if smallest == 0:
            return
        # The gradient of -log(share), to what the picture shows after rounding.
        shares[settings.target] -= 1
        gradient = classifier.gradient(picture, shares)[region.index].mul_(free)
        length = NEAR + (FAR - NEAR) * (1 + math.cos(math.pi * step / settings.steps)) / 2
        change = change - gradient.mul_(length / max(_size(gradient), 1e-30))
        norm *= 1 - PACE if reached else 1 + PACE
        change = change.mul_(norm / max(_size(change), 1e-30)).clamp_(down, up)
    if smallest == math.inf:
        raise OutOfReachError(best)


def _steps(distance: Tensor) -> Tensor:
    """How many whole steps of 8 bits fit into a distance; of one that is a number of them, all."""
    return (distance * WHITE + 1e-2).floor()


def _changed(base: Tensor, change: Tensor) -> Tensor:
    return base + change / WHITE


def _size(change: Tensor) -> float:
    """Root mean square."""
    return float(torch.linalg.vector_norm(change)) / math.sqrt(change.numel())

"""Pictures that a network is certain of, and that are nothing to people.

Nguyen, Yosinski and Clune, "Deep Neural Networks are Easily Fooled" (2014). The picture is encoded directly, pixel
by pixel, or by a compositional pattern-producing network (CPPN; Stanley, 2007). In the paper these evolve; here
their weights climb the gradient, which needs far fewer pictures. A picture consists of whole steps of 8 bits, so
that what the network says of it holds when it is rounded to 8 bits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .adversarial import WHITE, OutOfReachError
from .classifier import Classifier
from .progress import Progress, rise
from .region import Box, lay, region_of

#: Units in each of a CPPN's hidden layers, and how many such layers there are.
UNITS, DEPTH = 24, 4
#: What x and y reach at the edges, and how many waves there are from edge to edge.
REACH, WAVES = 2.0, 5
#: What a CPPN's units do, in turn: the functions that make its pictures regular.
FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (torch.sin, torch.tanh, lambda x: torch.exp(-x.square()))
#: The grain of the noise to begin with, as a standard deviation before the logistic function.
GRAIN = 1.0


@dataclass(frozen=True)
class Settings:
    """Make `target` as probable as `confidence`, in at most so many `steps`, by an encoding of `ENCODINGS`."""

    target: int
    confidence: float = 0.995
    steps: int = 500
    encoding: str = "cppn"
    seed: int = 0
    blended: bool = True


class Encoding(Protocol):
    """What makes a picture: `parameters`, leaves that may be changed by steps of about `pace`."""

    parameters: list[Tensor]
    pace: float

    def picture(self) -> Tensor:
        """The picture `(C, h, w)`, 0..1, differentiable to the parameters."""


class Direct:
    """Every pixel by itself; noise at first."""

    pace = 0.03

    def __init__(self, channels: int, box: Box, dice: torch.Generator) -> None:
        self.parameters = [GRAIN * torch.randn(channels, box.height, box.width, generator=dice)]

    def picture(self) -> Tensor:
        return self.parameters[0].sigmoid()


class Cppn:
    """A network from a place to its colour.

    It is told where it is by x, y, the distance from the middle, and waves along both axes, so that patterns can
    be symmetric and come again.
    """

    pace = 0.02

    def __init__(self, channels: int, box: Box, dice: torch.Generator) -> None:
        reach = math.sqrt(box.area) / 2 / REACH
        y, x = torch.meshgrid(
            (torch.arange(box.height) + 0.5 - box.height / 2) / reach,
            (torch.arange(box.width) + 0.5 - box.width / 2) / reach,
            indexing="ij",
        )
        waves = [torch.sin(WAVES * math.pi * axis / REACH) for axis in (x, y)]
        self._places = torch.stack([x.abs(), y, torch.hypot(x, y), *waves, torch.ones_like(x)])
        sizes = [len(self._places), *[UNITS] * DEPTH, channels]
        self.parameters = [
            torch.randn(after, before, generator=dice) * (2 / math.sqrt(before))
            for before, after in itertools.pairwise(sizes)
        ]

    def picture(self) -> Tensor:
        *hidden, last = self.parameters
        units = self._places.to(last.device)
        for weights in hidden:
            parts = torch.einsum("oi,ihw->ohw", weights, units).chunk(len(FUNCTIONS))
            units = torch.cat([function(part) for function, part in zip(FUNCTIONS, parts, strict=True)])
        return torch.einsum("oi,ihw->ohw", last, units).sigmoid()


ENCODINGS: Mapping[str, Callable[[int, Box, torch.Generator], Encoding]] = {"direct": Direct, "cppn": Cppn}


def fool(classifier: Classifier, source: Tensor, mask: Tensor, settings: Settings) -> Iterator[Progress]:
    """Yields a picture after every step, until the classifier is as certain of one as it was to become.

    What was in the region where `mask (H, W)` of 0..1 is above 0 in `source (C, H, W)` does not matter; what is
    around it does. The classifier views this region. Raises `EmptyRegionError`, and `OutOfReachError` at the end.
    """
    mask, region = region_of(mask)
    base, inside = source[region.index], mask[region.index]
    dice = torch.Generator().manual_seed(settings.seed)
    encoding = ENCODINGS[settings.encoding](source.shape[0], region, dice)
    encoding.parameters = [each.to(source.device).requires_grad_() for each in encoding.parameters]
    climber = torch.optim.Adam(encoding.parameters, lr=encoding.pace)
    best = first = 0.0
    for step in range(settings.steps):
        made = encoding.picture()
        whole = _rounded(made.detach())
        seen = source.clone()
        seen[region.index] = lay(base, _rounded(lay(base, whole, inside)), inside, blended=False)
        shares = classifier.scores(seen).softmax(0)
        share = float(shares[settings.target])
        best, first = max(best, share), first or share
        found = seen[region.index] if settings.blended else lay(base, whole, inside, blended=False)
        yield Progress.of_step(step + 1, settings.steps, region, found.clone, rise([first], [share]))
        if share >= settings.confidence:
            return
        # The gradient of -log(share), to what is seen after rounding.
        shares[settings.target] -= 1
        gradient = classifier.gradient(seen, shares)[region.index] * inside
        climber.zero_grad()
        made.backward(gradient)  # type: ignore[no-untyped-call]
        climber.step()
    raise OutOfReachError(best)


def _rounded(picture: Tensor) -> Tensor:
    """In whole steps of 8 bits."""
    return (picture * WHITE).round() / WHITE

"""Pictures rebuilt from what layers know of them, and from nothing else.

Mahendran and Vedaldi, "Understanding Deep Image Representations by Inverting Them" (2014): from noise, the picture
is looked for whose code, the layer's activations Φ, is that of the region,

    ‖Φ(x) - Φ₀‖² / ‖Φ₀‖² + alpha-norm of x + total variation of x -> least.

By momentum, as in the paper, but the gradient is brought to one size in each band of a Laplacian pyramid first,
as in dreams: it hardly asks for broad light and colours. Momentum of such gradients stays small where one step
undoes the last, so that little grows that the code does not ask for. Adam, which levels each pixel for itself,
leaves the broad forms gray, or, with a pyramid of its own, makes neon of what a deep layer does not know.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .gradient import Network
from .measure import parts
from .objectives import Distance, Objective
from .plan import Plan, sums
from .progress import Progress, rise
from .pyramid import normalise
from .region import Box, lay, region_of

#: The alpha-norm: its exponent, and its weight where it is 1 in black and white.
ALPHA, BOUND = 6, 0.01
#: The weight of the total variation, for a layer whose activations lie a pixel apart.
VARIATION = 0.1
#: How much of the last change goes on in the next.
MOMENTUM = 0.9
#: What the first step's size is divided by in the last one; between them it falls like a cosine.
SLOWING = 50
#: Bands of the pyramid that levels gradients.
LEVELS = 5
#: The noise to begin with, around middle gray: root mean square.
NOISE = 0.05


class EmptyCodeError(ValueError):
    """The channels of `layer` are 0 all over the region: nothing can be rebuilt from them."""

    def __init__(self, layer: str) -> None:
        super().__init__(layer)
        self.layer = layer


@dataclass(frozen=True)
class Code:
    """What is known of the picture: the activations of a layer, or of some of its channels; empty means all."""

    layer: str
    weight: float = 1.0
    channels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Settings:
    """How to rebuild; meanings, units and ranges are those of the parameters of the same names.

    `reach`, `window` and `context` are those of `dream.Settings`.
    """

    steps: int = 120
    step_size: float = 0.07
    smoothness: float = 1.0
    colour: float = 0.4
    seed: int = 0
    blended: bool = True
    reach: float = 1.0
    window: int = 1024
    context: int = 1024


class Part:
    """A piece of the region, with the context that the network sees around it, and the codes that it has.

    The context is the picture's own; inside the piece `image (C, h, w)`, which lies at `box`, begins as noise.
    """

    def __init__(self, network: Network, codes: Sequence[Code], box: Box, plan: Plan, source: Tensor) -> None:
        self.box, self.plan = box, plan
        self.image = source[box.index].clone()
        self.objective = Objective(
            tuple(
                Distance(each.layer, plan.code(network, each.layer, self.image), each.weight, each.channels)
                for each in codes
            )
        )
        self.area = self.image[plan.extent.area.index]
        self.velocity = torch.zeros_like(self.area)

    def erase(self, dice: torch.Generator) -> None:
        """Noise in place of the piece."""
        noise = 0.5 + NOISE * torch.randn(self.area.shape, generator=dice)
        self.area.copy_(torch.where(self.plan.extent.support.mask > 0, noise.to(self.area.device), self.area))

    def move(self, change: Tensor, least: float, most: float) -> None:
        """Goes on as before and a little towards `change (C, h, w)`, inside the piece."""
        self.velocity.mul_(MOMENTUM).add_(change, alpha=1 - MOMENTUM)
        moved = (self.area + self.velocity).clamp_(least, most)
        self.area.copy_(torch.where(self.plan.extent.support.mask > 0, moved, self.area))


def invert(
    network: Network, codes: Sequence[Code], source: Tensor, mask: Tensor, settings: Settings
) -> Iterator[Progress]:
    """Rebuilds the region where `mask (H, W)` of 0..1 is above 0 in `source (C, H, W)`; C is 3, or 1 for gray.

    Yields after every window; the last `Progress.picture` is the result. Its `value` rises as
    the codes come nearer. Raises `EmptyRegionError`, and `EmptyCodeError`.
    """
    mask, region = region_of(mask)
    found = _parts(network, codes, source, mask, settings)
    norms = _norms(codes, found)
    # What a layer cannot tell are details between its activations: there the prior has to be strong.
    smoothness = VARIATION * settings.smoothness * min(network.layers[each.layer].stride for each in codes) ** 2
    count = source.shape[0] * sum(part.plan.extent.support.area for part in found)
    least, most = min(0.0, float(source[region.index].min())), max(1.0, float(source[region.index].max()))
    dice = torch.Generator().manual_seed(settings.seed)
    for part in found:
        part.erase(dice)

    def picture() -> Tensor:
        made = source.clone()
        for part in found:
            inside = part.plan.extent.area.shift(part.box.top, part.box.left)
            made[inside.index] = torch.where(part.plan.extent.support.mask > 0, part.area, made[inside.index])
        return lay(source[region.index], made[region.index], mask[region.index], blended=settings.blended)

    windows, first = sum(len(part.plan.windows) for part in found), 0.0
    value = 0.0
    for step in range(settings.steps):
        gradients = [torch.zeros_like(part.area) for part in found]
        shown = itertools.chain.from_iterable(
            part.plan.gradients(network, part.objective, norms, part.image, gradient)
            for part, gradient in zip(found, gradients, strict=True)
        )
        distances = list[Tensor]()
        for window, values in enumerate(shown, start=1):
            distances.append(values)
            if window == windows:
                supports = [part.plan.extent.support for part in found]
                for part, gradient, support in zip(found, gradients, supports, strict=True):
                    gradient.addcmul_(_prior(part.area, smoothness), support.mask, value=1 / count)
                rate = settings.step_size * _pace(step / settings.steps)
                changes = normalise(gradients, supports, LEVELS, settings.colour)
                for part, change in zip(found, changes, strict=True):
                    part.move(-rate * change, least, most)
                error = sum(found[0].objective.weighted(sums(distances), norms))
                first = first or error
                value = rise([-first], [-error])
            yield Progress(
                octave=1,
                octaves=1,
                step=step + 1,
                steps=settings.steps,
                window=window,
                windows=windows,
                fraction=(step + window / windows) / settings.steps,
                value=value,
                region=region,
                _picture=picture,
            )


def errors(
    network: Network, codes: Sequence[Code], source: Tensor, made: Tensor, mask: Tensor, settings: Settings
) -> list[float]:
    """‖Φ(x) - Φ₀‖ / ‖Φ₀‖ of every code over the region, of a picture `made` of a source, both `(C, H, W)`."""
    mask, _ = region_of(mask)
    found = _parts(network, codes, source, mask, settings)
    totals = [0.0] * len(codes)
    for part in found:
        values = part.plan.values(network, part.objective, made[part.box.index])
        totals = [total + value for total, value in zip(totals, values, strict=True)]
    return [math.sqrt(total / norm) for total, norm in zip(totals, _norms(codes, found), strict=True)]


def _parts(
    network: Network, codes: Sequence[Code], source: Tensor, mask: Tensor, settings: Settings
) -> list[Part]:
    planned = parts(
        network, list(dict.fromkeys(each.layer for each in codes)), mask,
        context=settings.context, window=settings.window, share=settings.reach, margin=2 << LEVELS,
    )  # fmt: skip
    return [Part(network, codes, box, plan, source) for box, plan in planned]


def _norms(codes: Sequence[Code], found: Sequence[Part]) -> list[float]:
    """‖Φ₀‖² of every code. Raises `EmptyCodeError`."""
    norms = []
    for index, code in enumerate(codes):
        norm = 0.0
        for part in found:
            term = part.objective.terms[index]
            assert isinstance(term, Distance)  # noqa: S101 - so a part was made
            norm += float(term.energy(part.plan.grid.weights[code.layer]))
        if not norm:
            raise EmptyCodeError(code.layer)
        norms.append(norm)
    return norms


def _prior(image: Tensor, smoothness: float) -> Tensor:
    """The gradient to `image (C, h, w)` of its alpha-norm to its power, and of the squares of its differences."""
    image = image.detach().requires_grad_()
    differences = image.diff(dim=1).square().sum() + image.diff(dim=2).square().sum()
    bound = (2 * image - 1).abs().pow(ALPHA).sum()
    (gradient,) = torch.autograd.grad(smoothness * differences + BOUND * bound, image)
    return gradient


def _pace(done: float) -> float:
    """How large a step is when this share of them is done, where the first is 1."""
    return 1 / SLOWING + (1 - 1 / SLOWING) * (1 + math.cos(math.pi * done)) / 2

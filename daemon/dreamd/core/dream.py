"""The dream itself: a generator that climbs an objective in a region, octave by octave.

    result = source + strength * mask * detail

where `detail` is what the dream has added inside the region. Pixels where the mask is 0 keep their bits. The
mask falls off once, in this line: the gradient is followed in full wherever the mask is above 0. Whoever lays the
mask over the result himself wants it not `blended`: then every mask above 0 counts as 1 in this line.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from .gradient import Network, window_gradient, window_values
from .objectives import Objective
from .pyramid import normalise, octave_sizes, resize, resize_mask
from .region import Box, bounds, pieces, whole
from .windows import Canvas, Reach, Window, add_back, cut


@dataclass(frozen=True)
class Settings:
    """How to dream; meanings, units and ranges are those of the parameters of the same names.

    `levels` 0 normalises the gradient as a whole. `reach` is the share of what a layer sees that windows show.
    `window` is the side of the largest window, and `context` how much is looked at around the region, in pixels
    of the picture.
    """

    octaves: int = 4
    octave_scale: float = 1.4
    steps: int = 10
    step_size: float = 0.015
    jitter: int = 32
    levels: int = 4
    colour: float = 0.5
    seed: int = 0
    strength: float = 1.0
    blended: bool = True
    reach: float = 1.0
    window: int = 1024
    context: int = 1024


@dataclass(frozen=True)
class Progress:
    """Where a dream is, after each window: `step` of `steps` in `octave` of `octaves`, all counted from 1.

    `window` equals `windows` when the step is complete. `fraction` of the work is done. `value` is the objective
    in the last complete step over its value in the first step of the octave.
    """

    octave: int
    octaves: int
    step: int
    steps: int
    window: int
    windows: int
    fraction: float
    value: float
    region: Box
    _picture: Callable[[], Tensor] = field(repr=False, compare=False)

    def picture(self) -> Tensor:
        """The region's pixels `(C, h, w)` as dreamt so far, at full resolution; they belong at `region`."""
        return self._picture()


#: A mask below this, less than a step of 16 bits, counts as 0.
FAINT = 2.0**-16


class EmptyRegionError(ValueError):
    """The mask is 0 everywhere."""


@dataclass(frozen=True)
class Extent:
    """A patch at one octave: its `size`, the `mask (H, W)` of its piece, and the `area` where it is dreamt.

    The area is the piece with the margin that the pyramid's bands need around it; `support (h, w)` is 1 inside
    the piece, over the area.
    """

    size: tuple[int, int]
    mask: Tensor
    area: Box
    support: Tensor


class Patch:
    """A piece of the region with the context that the network sees around it, dreamt octave by octave.

    `source (C, H, W)` and `mask (H, W)` are the picture and the piece's own mask within `box`.
    """

    def __init__(self, picture: Tensor, mask: Tensor, piece: Box, settings: Settings) -> None:
        self.box = piece.grow(settings.context, settings.context).clip(whole(mask))
        self.source = picture[self.box.index]
        # The context may show other pieces; they are dreamt in patches of their own.
        self.mask = torch.zeros_like(mask[self.box.index])
        self.mask[piece.shift(-self.box.top, -self.box.left).index] = mask[piece.index]
        margin = 2 << settings.levels if settings.levels else 0
        sizes = octave_sizes(self.box.height, self.box.width, settings.octaves, settings.octave_scale)
        self.extents = [self._extent(size, margin) for size in sizes]
        self._base = self.image = self.source

    def _extent(self, size: tuple[int, int], margin: int) -> Extent:
        mask = resize_mask(self.mask, size)
        inside = bounds(mask > 0)
        assert inside is not None  # noqa: S101 - a piece holds pixels of the mask, and resizing loses none
        area = inside.grow(margin, margin).clip(whole(mask))
        return Extent(size, mask, area, (mask[area.index] > 0).to(mask.dtype))

    def enter(self, octave: int) -> None:
        """Moves on to an octave (0 is the coarsest) and carries the detail along."""
        self.extent = self.extents[octave]
        detail = self.detail(self.extent.size, self.extent.mask)
        self._base = resize(self.source, self.extent.size)
        self.image = self._base + detail

    def detail(self, size: tuple[int, int], mask: Tensor) -> Tensor:
        """What the dream has added so far, `(C, *size)`, 0 where `mask` of that size is."""
        return resize(self.image - self._base, size, "bicubic") * (mask > 0)

    def change(self, change: Tensor) -> None:
        """Adds `change (C, h, w)`, which covers the extent's area, inside the piece.

        The image stays between black and white, and where the source lies beyond them, within the source.
        """
        image, base = self.image[self.extent.area.index], self._base[self.extent.area.index]
        image.addcmul_(change, self.extent.support)
        torch.minimum(image, base.clamp(min=1), out=image)
        torch.maximum(image, base.clamp(max=0), out=image)


@dataclass(frozen=True)
class Plan:
    """What one step shows the network of a patch: the windows, and the mask at each layer's resolution."""

    extent: Extent
    canvas: Canvas
    weights: dict[str, Tensor]
    windows: list[Window]

    def pixels(self, image: Tensor, window: Window) -> Tensor:
        """What the window shows of the patch's image: `(C, h, w)`."""
        return cut(image, self._in_image(window))

    def add(self, gradient: Tensor, window: Window, total: Tensor) -> None:
        """Adds the gradient to a window's pixels onto `total`, the gradient to the extent's area."""
        add_back(total, self.extent.size, self.extent.area, gradient, self._in_image(window))

    def _in_image(self, window: Window) -> Box:
        rows, columns = self.canvas.offset
        return window.box.shift(-rows, -columns)


def plan(
    extent: Extent, network: Network, objective: Objective, settings: Settings, offset: tuple[int, int]
) -> Plan:
    """The windows of one step over a patch, with the network's grid slid by `offset` pixels."""
    layers = [network.layers[name] for name in objective.layers]
    reach = Reach.of(layers, settings.reach)
    canvas = Canvas.around(extent.size, offset, reach.stride, network.minimum)
    origin = extent.area.top, extent.area.left
    weights = [canvas.weights(extent.mask[extent.area.index], origin, layer) for layer in layers]
    windows = canvas.plan(canvas.owned(list(zip(layers, weights, strict=True))), reach, settings.window)
    return Plan(extent, canvas, dict(zip(objective.layers, weights, strict=True)), windows)


def dream(
    network: Network, objective: Objective, source: Tensor, mask: Tensor, settings: Settings
) -> Iterator[Progress]:
    """Dreams the region where `mask (H, W)` of 0..1 is above 0 in `source (C, H, W)`; C is 3, or 1 for gray.

    Both are float32, on the network's device; black is 0 and white 1, but other values are kept. Yields after
    every window; when it is exhausted the last `Progress.picture` is the result. It may be dropped at any yield.

    Raises `EmptyRegionError`. Method: Mordvintsev, Olah and Tyka, "Inceptionism" (2015); the gradient normalised
    per band of a Laplacian pyramid as in TensorFlow's DeepDream tutorial.
    """
    mask = mask * (mask >= FAINT)
    region = bounds(mask > 0)
    if region is None:
        raise EmptyRegionError
    dice = random.Random(settings.seed)  # noqa: S311 - repeatable on purpose
    patches = [Patch(source, mask, piece, settings) for piece in pieces(mask > 0, settings.context)]
    planned = partial(plan, network=network, objective=objective, settings=settings)
    picture = partial(_picture, source, region, patches, settings)
    work = _work(patches, planned, settings)
    done = value = 0.0
    for octave in range(settings.octaves):
        for patch in patches:
            patch.enter(octave)
        scales = _scales(network, objective, patches, [planned(patch.extent, offset=(0, 0)) for patch in patches])
        first = 0.0
        for step in range(settings.steps):
            offset = (dice.randint(0, settings.jitter), dice.randint(0, settings.jitter))
            plans = [planned(patch.extent, offset=offset) for patch in patches]
            gradients = [torch.zeros_like(patch.image[patch.extent.area.index]) for patch in patches]
            todo = [
                (patch, each, window, gradient)
                for patch, each, gradient in zip(patches, plans, gradients, strict=True)
                for window in each.windows
            ]
            climbed = 0.0
            for shown, (patch, each, window, total) in enumerate(todo, start=1):
                pixels = each.pixels(patch.image, window)
                values, gradient = window_gradient(
                    network, objective, scales, pixels, each.weights, window, each.canvas.stride
                )
                each.add(gradient, window, total)
                climbed += objective.total(values, scales)
                done += work[octave] / settings.steps / len(todo)
                if shown == len(todo):
                    supports = [patch.extent.support for patch in patches]
                    changes = normalise(gradients, supports, settings.levels, settings.colour)
                    for changed, change in zip(patches, changes, strict=True):
                        changed.change(change.mul_(settings.step_size))
                    first = first or climbed
                    value = climbed / first if first else 0.0
                yield Progress(
                    octave=octave + 1,
                    octaves=settings.octaves,
                    step=step + 1,
                    steps=settings.steps,
                    window=shown,
                    windows=len(todo),
                    fraction=min(1.0, done),
                    value=value,
                    region=region,
                    _picture=picture,
                )


def _work(patches: Sequence[Patch], planned: Callable[..., Plan], settings: Settings) -> list[float]:
    """The share of the whole work that each octave is, by the pixels shown to the network."""
    shown = [
        sum(
            window.box.area
            for patch in patches
            for window in planned(patch.extents[octave], offset=(0, 0)).windows
        )
        for octave in range(settings.octaves)
    ]
    return [pixels / sum(shown) for pixels in shown]


def _scales(
    network: Network, objective: Objective, patches: Sequence[Patch], plans: Sequence[Plan]
) -> list[float]:
    """What each term is divided by during an octave, so that weights compare layers of unlike strength.

    A term's own size at the octave's start; with a single term nothing has to be compared, and only the number
    of its activations is divided out.
    """
    if len(objective.terms) == 1:
        name = objective.terms[0].layer
        return [sum(float(each.weights[name].sum()) for each in plans) or 1.0]
    totals = [0.0] * len(objective.terms)
    for patch, each in zip(patches, plans, strict=True):
        for window in each.windows:
            pixels = each.pixels(patch.image, window)
            values = window_values(network, objective, pixels, each.weights, window, each.canvas.stride)
            totals = [total + abs(value) for total, value in zip(totals, values, strict=True)]
    return [total or 1.0 for total in totals]


def _picture(source: Tensor, region: Box, patches: Sequence[Patch], settings: Settings) -> Tensor:
    """The region of the source with what every patch has dreamt so far laid over it."""
    result = source[region.index].clone()
    for patch in patches:
        detail = settings.strength * patch.detail(patch.extents[-1].size, patch.mask)
        changed = patch.source + (patch.mask * detail if settings.blended else detail)
        part = patch.box.clip(region)
        here, own = part.shift(-region.top, -region.left), part.shift(-patch.box.top, -patch.box.left)
        # Patches overlap in their contexts only, where their own masks are 0.
        result[here.index] = torch.where(patch.mask[own.index] > 0, changed[own.index], result[here.index])
    return result

"""The dream itself: a generator that climbs an objective in a region, octave by octave.

    result = source + strength * mask * detail

where `detail` is what the dream has added inside the region. Pixels where the mask is 0 keep their bits. The
mask falls off once, in this line: the gradient is followed in full wherever the mask is above 0. Whoever lays the
mask over the result himself wants it not `blended`: then every mask above 0 counts as 1 in this line.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor

from .gradient import Network
from .objectives import Objective
from .plan import Extent, Plan, Slope, climb, sums
from .progress import Progress, rise
from .pyramid import expand, normalise, octave_sizes, reduce, resize, resize_mask, rms
from .region import Box, pieces, portions, region_of, whole

#: Half the steps are larger by two to this power. At 1, as if they went straight on, they leave specks behind.
LARGER = 0.7


@dataclass(frozen=True)
class Settings:
    """How to dream; meanings, units and ranges are those of the parameters of the same names.

    `shares` are those of the `steps` that the coarsest octave takes and the finest, which costs half of it all.
    `levels` 0 normalises the gradient as a whole. `blur` is how much of the detail gives way to its blurred self
    at each step: what comes and goes fades, what comes again and again stays. `reach` is the share of what a layer
    sees that windows show. `window` is the side of the largest window, and `context` how much is looked at around
    the region, in pixels of the picture.
    """

    octaves: int = 4
    octave_scale: float = 1.4
    steps: int = 10
    step_size: float = 0.015
    shares: tuple[float, float] = (1.0, 1.0)
    jitter: int = 32
    levels: int = 4
    colour: float = 0.5
    blur: float = 0.0
    seed: int = 0
    strength: float = 1.0
    blended: bool = True
    reach: float = 1.0
    window: int = 1024
    context: int = 1024

    def pace(self, octave: int) -> tuple[int, float]:
        """How many steps an octave takes (0 is the coarsest), and how large they are: fewer ones are larger."""
        place = octave / (self.octaves - 1) if self.octaves > 1 else 1.0
        coarsest, finest = self.shares
        steps = max(1, round(self.steps * coarsest ** (1 - place) * finest**place))
        return steps, self.step_size * (self.steps / steps) ** LARGER


class Patch:
    """A piece of the region with the context that the network sees around it, dreamt octave by octave.

    `source (C, H, W)` and `mask (H, W)` are the picture and the piece's own mask within `box`.
    """

    def __init__(self, picture: Tensor, mask: Tensor, piece: Box, settings: Settings) -> None:
        self.box = piece.grow(settings.context, settings.context).clip(whole(mask))
        self.source = picture[self.box.index]
        self.mask = mask[self.box.index]
        if piece != self.box:
            # The context may show other pieces; they are dreamt in patches of their own.
            self.mask = torch.zeros_like(self.mask)
            self.mask[piece.shift(-self.box.top, -self.box.left).index] = mask[piece.index]
        # The margin is what the pyramid's bands need around the piece. Resizing loses no pixel of the mask.
        margin = 2 << settings.levels if settings.levels else 0
        sizes = octave_sizes(self.box.height, self.box.width, settings.octaves, settings.octave_scale)
        self.extents = [Extent.around(resize_mask(self.mask, size), margin) for size in sizes]
        self._base = self.image = self.source
        #: The mask as the last sketch had it.
        self._small: Tensor | None = None
        #: Whether nothing of the source is darker than black or brighter than white.
        self._ordinary = all(
            float(part.min()) >= 0 and float(part.max()) <= 1 for (part,) in portions(self.source)
        )

    def enter(self, octave: int) -> None:
        """Moves on to an octave (0 is the coarsest) and carries the detail along."""
        self.extent = self.extents[octave]
        detail = self.detail(self.extent.size, self.extent.mask)
        self._base = resize(self.source, self.extent.size)
        self.image = detail.add_(self._base)

    def detail(self, size: tuple[int, int], mask: Tensor) -> Tensor:
        """What the dream has added so far, `(C, *size)`, 0 where `mask` of that size is."""
        return resize(self.image - self._base, size, "bicubic").mul_(mask > 0)

    def laid_by(self, blended: bool) -> Tensor:
        """The mask `(H, W)` by which the detail is laid over the picture."""
        return self.mask if blended else self.mask > 0

    def lay(self, onto: Tensor, here: Box, mask: Tensor, strength: float) -> None:
        """Lays the dream over `onto (C, h, w)`, the picture within `here`, by `mask (H, W)` of the patch."""
        part = self.box.clip(here)
        own = part.shift(-self.box.top, -self.box.left)
        inside = self.mask[own.index] > 0
        fully = self.extent.size == self.mask.shape
        for result, source, image, base in portions(
            onto[part.shift(-here.top, -here.left).index], self.source, self.image, self._base
        ):
            detail = image - base
            if not fully:
                detail = resize(detail, self.mask.shape, "bicubic")
            changed = source[own.index] + detail[own.index].mul_(strength).mul_(mask[own.index])
            result.copy_(torch.where(inside, changed, result))

    def add_sketch(self, onto: Tensor, here: Box, mask: Tensor, strength: float) -> None:
        """Adds the detail by `mask (H, W)` of the patch to `onto (C, h, w)`, the picture in `here`, reduced."""
        reduction = here.height / onto.shape[1], here.width / onto.shape[2]
        top, left = (
            round((own - others) / by)
            for own, others, by in zip(
                (self.box.top, self.box.left), (here.top, here.left), reduction, strict=True
            )
        )
        size = [max(1, round(side / by)) for side, by in zip(mask.shape, reduction, strict=True)]
        box = Box(top, left, top + size[0], left + size[1])
        part = box.clip(whole(onto))
        own = part.shift(-top, -left).index
        if self._small is None or self._small.shape != tuple(size):
            self._small = resize_mask(mask.to(onto.dtype), size)
        detail = resize(self.image - self._base, size)
        onto[part.index].addcmul_(detail[own], self._small[own], value=strength)

    def change(self, change: Tensor, blur: float = 0.0) -> None:
        """Adds `change (C, h, w)`, which covers the extent's area, inside the piece, to the detail.

        Before, a share of the detail is blurred. The image stays between black and white, and where the source
        lies beyond them, within the source.
        """
        area, support = self.extent.area, self.extent.support
        for image, base, step in portions(self.image[area.index], self._base[area.index], change):
            if blur:
                detail = image - base
                image.addcmul_(expand(reduce(detail), detail.shape[-2:]).sub_(detail), support.mask, value=blur)
            if support.everywhere:
                image.add_(step)
            else:
                image.addcmul_(step, support.mask)
            if self._ordinary:
                image.clamp_(0, 1)
            else:
                torch.minimum(image, base.clamp(min=1), out=image)
                torch.maximum(image, base.clamp(max=0), out=image)


def dream(
    network: Network, objective: Objective, source: Tensor, mask: Tensor, settings: Settings
) -> Iterator[Progress]:
    """Dreams the region where `mask (H, W)` of 0..1 is above 0 in `source (C, H, W)`; C is 3, or 1 for gray.

    Both are float32, on the network's device; black is 0 and white 1, but other values are kept. Yields after
    every window; when it is exhausted the last `Progress.picture` is the result. It may be dropped at any yield.

    Raises `EmptyRegionError`. Method: Mordvintsev, Olah and Tyka, "Inceptionism" (2015); the gradient normalised
    per band of a Laplacian pyramid as in TensorFlow's DeepDream tutorial.
    """
    mask, region = region_of(mask)
    dice = random.Random(settings.seed)  # noqa: S311 - repeatable on purpose
    patches = [Patch(source, mask, piece, settings) for piece in pieces(mask > 0, settings.context)]
    # Slid by a whole cell the network's grid would lie as before, and more would have to be shown.
    stride = math.lcm(*(network.layers[name].stride for name in objective.layers))
    slide = min(settings.jitter, stride - 1)
    planned = partial(
        Plan.of,
        network=network,
        layers=objective.layers,
        share=settings.reach,
        side=settings.window,
        slack=slide,
    )
    picture = partial(_picture, source, region, patches, settings)
    sketch = partial(_sketch, cache(partial(resize, source[region.index])), region, patches, settings)
    work = _work(patches, planned, settings)
    done = value = 0.0
    for octave in range(settings.octaves):
        for patch in patches:
            patch.enter(octave)
        scales = _scales(network, objective, patches, [planned(patch.extent) for patch in patches])
        first: list[float] = []
        steps, size = settings.pace(octave)
        for step in range(steps):
            offset = (dice.randint(0, slide), dice.randint(0, slide))
            plans = [planned(patch.extent, offset=offset) for patch in patches]
            slopes = [Slope.flat(each, patch.image) for patch, each in zip(patches, plans, strict=True)]
            windows, found = sum(len(each.windows) for each in plans), list[Tensor]()
            for window, values in enumerate(climb(network, objective, scales, slopes), start=1):
                found.append(values)
                done += work[octave] / steps / windows
                if window == windows:
                    _change(patches, [slope.total for slope in slopes], size, settings)
                    climbed = objective.weighted(sums(found), scales)
                    first = first or climbed
                    value = rise(first, climbed)
                yield Progress(
                    octave=octave + 1,
                    octaves=settings.octaves,
                    step=step + 1,
                    steps=steps,
                    window=window,
                    windows=windows,
                    fraction=min(1.0, done),
                    value=value,
                    region=region,
                    _picture=picture,
                    _sketch=sketch,
                )
            slopes.clear()  # before the next are made: there may be no room for both


def _change(patches: Sequence[Patch], gradients: Sequence[Tensor], size: float, settings: Settings) -> None:
    """Changes every patch by a step of this size along its gradient."""
    supports = [patch.extent.support for patch in patches]
    changes = normalise(gradients, supports, settings.levels, settings.colour)
    for patch, change in zip(patches, changes, strict=True):
        patch.change(change.mul_(size), settings.blur)


def _work(patches: Sequence[Patch], planned: Callable[..., Plan], settings: Settings) -> list[float]:
    """The share of the whole work that each octave is, by the pixels that the network is shown."""
    shown = [sum(planned(patch.extents[octave]).pixels for patch in patches) for octave in range(settings.octaves)]
    work = [pixels * settings.pace(octave)[0] for octave, pixels in enumerate(shown)]
    return [each / sum(work) for each in work]


def _scales(
    network: Network, objective: Objective, patches: Sequence[Patch], plans: Sequence[Plan]
) -> list[float]:
    """What each term is divided by during an octave, so that weights compare terms of unlike strength.

    The size of a term's own gradient at the octave's start; with a single term nothing has to be compared, and
    only the number of its activations is divided out.
    """
    if len(objective.terms) == 1:
        name = objective.terms[0].layer
        return [sum(float(each.grid.weights[name].sum()) for each in plans) or 1.0]
    scales = []
    for term in objective.terms:
        alone = Objective((term,))
        gradients = [torch.zeros_like(patch.image[patch.extent.area.index]) for patch in patches]
        for patch, each, gradient in zip(patches, plans, gradients, strict=True):
            for _ in each.gradients(network, alone, [term.weight], patch.image, gradient):
                pass
        scales.append(rms(gradients, [patch.extent.support for patch in patches]) or 1.0)
    return scales


def _picture(source: Tensor, region: Box, patches: Sequence[Patch], settings: Settings) -> Tensor:
    """The region of the source with what every patch has dreamt so far laid over it."""
    result = source[region.index].clone()
    for patch in patches:
        patch.lay(result, region, patch.laid_by(settings.blended), settings.strength)
    return result


def _sketch(
    reduced: Callable[[Sequence[int]], Tensor],
    region: Box,
    patches: Sequence[Patch],
    settings: Settings,
    size: Sequence[int],
) -> Tensor:
    """About `_picture` at `size`: the source, `reduced` to that once, and the detail of its octave's own size."""
    result = reduced(tuple(size)).clone()
    for patch in patches:
        patch.add_sketch(result, region, patch.laid_by(settings.blended), settings.strength)
    return result

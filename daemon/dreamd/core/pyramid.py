"""Pictures at several scales: resizing for the octaves, and the Laplacian pyramid that normalises gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from .region import portions


def octave_sizes(height: int, width: int, octaves: int, scale: float) -> list[tuple[int, int]]:
    """Sizes of the octaves from coarse to fine; the last is the picture's own."""
    factors = [scale**octave for octave in reversed(range(octaves))]
    return [(max(1, round(height / factor)), max(1, round(width / factor))) for factor in factors]


def resize(image: Tensor, size: Sequence[int], mode: str = "bilinear") -> Tensor:
    """`image (C, H, W)` at `size`; reducing averages what it leaves out. The image itself if of that size."""
    if image.shape[-2:] == tuple(size):
        return image
    reduces = size[0] < image.shape[-2] or size[1] < image.shape[-1]
    return F.interpolate(image[None], list(size), mode=mode, antialias=reduces)[0]


def resize_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """`mask (H, W)` at `size` by area, so that nothing above 0 is lost and nothing far away gains."""
    if mask.shape == tuple(size):
        return mask
    return F.interpolate(mask[None, None], list(size), mode="area")[0, 0]


class Support:
    """Where pictures are changed: a mask `(h, w)` of 0..1, and what follows from it, worked out once."""

    def __init__(self, mask: Tensor) -> None:
        #: Whether the mask is 1 all over, and need not be multiplied with.
        self.everywhere = bool((mask == 1).all())
        self.mask = mask.new_ones(()).expand(mask.shape) if self.everywhere else mask

    @cached_property
    def area(self) -> float:
        """In pixels."""
        return float(self.mask.sum())

    @cached_property
    def coarser(self) -> Support:
        """The support of what `reduce` makes of such a picture."""
        return Support(resize_mask(self.mask, [-(-side // 2) for side in self.mask.shape]))


def rms(patches: Sequence[Tensor], supports: Sequence[Support]) -> float:
    """Root mean square of `patches (C, h, w)` over supports `(h, w)`, all patches together."""
    squares = 0.0
    for patch, support in zip(patches, supports, strict=True):
        for (part,) in portions(patch):
            weighted = part if support.everywhere else part * support.mask
            squares += float(torch.dot(weighted.flatten(), part.flatten()))  # no picture is made of the squares
    if not math.isfinite(squares):  # pictures may hold anything around the region
        peak = max(float(patch.abs().max()) for patch in patches)
        return peak * rms([patch / peak for patch in patches], supports) if math.isfinite(peak) else peak
    count = sum(support.area * patch.shape[0] for patch, support in zip(patches, supports, strict=True))
    return (squares / count) ** 0.5 if count else 0.0


def normalise(
    gradients: Sequence[Tensor], supports: Sequence[Support], levels: int, colour: float = 1.0
) -> list[Tensor]:
    """Gradients `(C, h, w)` brought to a root mean square of 1 over the supports, all patches together.

    With `levels` above 0 each band of a Laplacian pyramid of so many levels is brought to the same size first:
    without it the finest scale, which dominates a convnet's gradient, drowns the broad forms (TensorFlow's
    DeepDream tutorial, 2015). What differs between the channels is multiplied by `colour`: in photographs hue
    varies far less than light does, but a convnet's gradient asks for both alike.

    The gradients' memory is used.
    """
    if levels:
        gradients = _level(gradients, supports, levels)
    if colour != 1:
        gradients = [_muted(gradient, colour) for gradient in gradients]
    return _scaled(gradients, supports)


def _level(gradients: Sequence[Tensor], supports: Sequence[Support], levels: int) -> list[Tensor]:
    """Splits off the finest band, levels what remains, and puts both together again at equal size."""
    if levels == 0 or max(max(gradient.shape[-2:]) for gradient in gradients) < 4:
        return _scaled(gradients, supports)
    coarse = [torch.cat([reduce(part) for (part,) in portions(gradient)]) for gradient in gradients]
    for fine, low in zip(gradients, coarse, strict=True):
        for part, below in portions(fine, low):
            part.sub_(expand(below, part.shape[-2:]))
    size = rms(gradients, supports)
    coarse = _level(coarse, [support.coarser for support in supports], levels - 1)
    for fine, low in zip(gradients, coarse, strict=True):
        for part, below in portions(fine, low):
            torch.add(expand(below, part.shape[-2:]), part, alpha=1 / size if size else 0.0, out=part)
    return list(gradients)


def _muted(image: Tensor, colour: float) -> Tensor:
    light = image.mean(0, keepdim=True)
    return torch.lerp(light, image, colour, out=image)


def _scaled(patches: Sequence[Tensor], supports: Sequence[Support]) -> list[Tensor]:
    """Patches brought to a root mean square of 1; those without any size stay 0."""
    size = rms(patches, supports)
    return [patch.div_(size) if size else patch.zero_() for patch in patches]


def reduce(image: Tensor) -> Tensor:
    """`image (C, H, W)` blurred and halved to `(C, ceil(H/2), ceil(W/2))`."""
    # Sums of slices, a third of the time of a convolution with one channel; rows first, whose pixels lie together.
    image = F.pad(image, (2, 2, 2, 2), mode="replicate")
    rows, columns = ((side - 3) // 2 for side in image.shape[-2:])
    image = _binomial([image[:, tap : tap + 2 * rows - 1 : 2] for tap in range(5)])
    return _binomial([image[:, :, tap : tap + 2 * columns - 1 : 2] for tap in range(5)])


def _binomial(taps: Sequence[Tensor]) -> Tensor:
    """Five neighbours weighted by 1 4 6 4 1 (Burt and Adelson, "The Laplacian pyramid", 1983)."""
    first, second, middle, fourth, fifth = taps
    far, near = first.lerp(fifth, 1 / 2), second.lerp(fourth, 1 / 2)
    return middle.lerp(far, 1 / 4).lerp_(near, 1 / 2)


def expand(image: Tensor, size: Sequence[int]) -> Tensor:
    """`image (C, h, w)` doubled to `size` and smoothed: the inverse of `reduce` on what is smooth."""
    channels, height, width = image.shape
    image = F.pad(image, (1, 1, 1, 1), mode="replicate")
    # Of the five taps, pixels of the source meet the 1st, 3rd and 5th, those between them the 2nd and 4th.
    own, between = _doubled(image[:, :, :-2], image[:, :, 1:-1], image[:, :, 2:])
    wide = _interleaved(own, between)
    large = image.new_empty(channels, 2 * height, 2 * width)
    _doubled(wide[:, :-2], wide[:, 1:-1], wide[:, 2:], (large[:, 0::2], large[:, 1::2]))
    return large[:, : size[0], : size[1]]


def _interleaved(even: Tensor, odd: Tensor) -> Tensor:
    """Columns of two pictures `(C, h, w)` by turns, `(C, h, 2w)`."""
    # As real and imaginary parts they are put side by side in half the time; not every card knows complex numbers.
    apart = (
        torch.view_as_real(torch.complex(even, odd)) if even.device.type == "cpu" else torch.stack((even, odd), -1)
    )
    return apart.flatten(2)


def _doubled(
    before: Tensor, middle: Tensor, after: Tensor, out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Of each pixel `middle` with its neighbours its own value, weighted 1 6 1, and that towards the next, 4 4."""
    own, between = out or (torch.empty_like(middle), torch.empty_like(middle))
    torch.lerp(before, after, 1 / 2, out=own).lerp_(middle, 3 / 4)
    return own, torch.lerp(middle, after, 1 / 2, out=between)

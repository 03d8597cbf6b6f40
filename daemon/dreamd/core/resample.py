"""Enlarging by exact fractions, so that a crop is enlarged to the bits of the whole."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
from torch import Tensor

Kernel = Callable[[Tensor], Tensor]


def enlarged(side: int, scale: Fraction) -> int:
    """Pixels of a side after it is enlarged: what is whole of them."""
    return int(side * scale)


def lanczos(image: Tensor, scale: Fraction) -> Tensor:
    """`image (C, H, W)` enlarged by Lanczos's window of three lobes: sharp, with a little ringing at edges."""
    return _resampled(image, scale, 3, lambda x: torch.sinc(x) * torch.sinc(x / 3))


def linear(image: Tensor, scale: Fraction) -> Tensor:
    """`image (C, H, W)` enlarged without leaving the range of its values, as masks must be."""
    return _resampled(image, scale, 1, lambda x: 1 - x.abs())


def _resampled(image: Tensor, scale: Fraction, radius: int, kernel: Kernel) -> Tensor:
    for axis in (-2, -1):
        image = _along(image, axis, scale, radius, kernel)
    return image


def _along(image: Tensor, axis: int, scale: Fraction, radius: int, kernel: Kernel) -> Tensor:
    """One axis enlarged; beyond its ends the outermost pixels go on."""
    side = image.shape[axis]
    # The centre of pixel j lies at (j + 1/2) / scale - 1/2, here in units of 1 / unit. Whole numbers make the
    # distances, and with them the bits, the same wherever in a larger picture this one begins.
    unit = 2 * scale.numerator
    centres = (2 * torch.arange(enlarged(side, scale)) + 1) * scale.denominator - scale.numerator
    first = centres.div(unit, rounding_mode="floor") - radius + 1
    taps = [first + tap for tap in range(2 * radius)]
    weights = torch.stack([kernel((centres - tap * unit).double() / unit) for tap in taps])
    weights = (weights / weights.sum(0)).to(image)
    shape = [-1 if dimension == image.dim() + axis else 1 for dimension in range(image.dim())]
    # A product and a sum at a time: what rounds as one could round otherwise at another place.
    total: Tensor | None = None
    for tap, weight in zip(taps, weights, strict=True):
        part = image.index_select(axis, tap.clamp(0, side - 1).to(image.device)) * weight.view(shape)
        total = part if total is None else total.add_(part)
    assert total is not None  # noqa: S101 - a kernel has taps
    return total

"""Resampling: enlarging by exact fractions, so that a crop is enlarged to the bits of the whole; and turning."""

from __future__ import annotations

import math
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


def zoomed(image: Tensor, scale: float, degrees: float = 0.0) -> Tensor:
    """`image (C, H, W)` enlarged about its centre by a `scale` from 1 and turned clockwise; its size stays.

    By Lanczos's window of three lobes. Beyond its edges, where turning may look, the image is mirrored.
    """
    sides = image.shape[-2:]
    down, right = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in sides)
    cos, sin = (turn(math.radians(degrees)) / scale for turn in (math.cos, math.sin))
    down, right = down[:, None], right[None]
    places = cos * down - sin * right + (sides[0] - 1) / 2, sin * down + cos * right + (sides[1] - 1) / 2
    rows, columns = (_taps(place, side, image) for place, side in zip(places, sides, strict=True))
    flat, total = image.flatten(1), torch.zeros_like(image)
    for row, by_row in rows:
        for column, by_column in columns:
            part = flat.index_select(1, (row * sides[1] + column).flatten()).view_as(image)
            total += part * (by_row * by_column)
    return total


def _taps(place: Tensor, side: int, image: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The six pixels along an axis that Lanczos's window makes what lies at each `place` of, and their weights."""
    first = place.floor().long() - 2
    distances = [place - first - tap for tap in range(6)]
    weights = torch.stack([torch.sinc(each) * torch.sinc(each / 3) for each in distances])
    weights = (weights / weights.sum(0)).to(image)
    return [(_mirrored(first + tap, side).to(image.device), weight) for tap, weight in enumerate(weights)]


def _mirrored(index: Tensor, side: int) -> Tensor:
    """Indices brought into an axis of `side` pixels by reflection about its outer edges."""
    index = index.remainder(2 * side)
    return torch.minimum(index, 2 * side - 1 - index)


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

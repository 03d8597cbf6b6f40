"""What keeps a dream that is dreamt on and on from burning out."""

from __future__ import annotations

import torch
from torch import Tensor

#: The standard deviations of light, and of what differs from it between the channels, in an ordinary photograph.
LIGHT, COLOUR = 0.2, 0.06


def held(made: Tensor, source: Tensor, inside: Tensor) -> Tensor:
    """`made (C, H, W)` with the mean of the source and no more contrast, in light and in colour for themselves.

    Over the pixels of `inside (H, W)`; the others do not count. More contrast than the source's is left only up to
    that of an ordinary photograph. Values stay between black and white, or where the source lies beyond them.
    """
    wanted, found = source[:, inside], made[:, inside]
    parts = _split(made - found.mean(1)[:, None, None])
    for part, size, most in zip(parts, _sizes(found), map(max, _sizes(wanted), (LIGHT, COLOUR)), strict=True):
        part.mul_(most / max(size, most))
    result = parts[0] + parts[1] + wanted.mean(1)[:, None, None]
    return torch.maximum(torch.minimum(result, source.clamp(min=1)), source.clamp(max=0))


def _sizes(pixels: Tensor) -> list[float]:
    """The contrast of light and of colour of pixels `(C, n)`."""
    return [float(part.square().mean().sqrt()) for part in _split(pixels - pixels.mean(1, keepdim=True))]


def _split(image: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over the channels, and what differs from it."""
    light = image.mean(0, keepdim=True)
    return light, image - light

"""Where a picture has detail already, and more of it would not be seen as an addition."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: The contrast of a surface that is half plain: its standard deviation, where white is 1.
PLAIN = 0.02
#: How wide a neighbourhood is: the standard deviation of its weights, and where they end, in steps.
WIDTH, END = 2, 6


def texture(image: Tensor, step: int) -> Tensor:
    """How rich in contrast each place of `image (C, H, W)` is, `(H, W)`: from 0, plain, to nearly 1.

    Neighbours are looked at in steps of so many pixels; beyond the edges the outermost pixels go on. Only those up
    to `END` steps away matter, to the bit.
    """
    light = image.mean(0)
    variance = _blurred(light.square(), step) - _blurred(light, step).square()
    contrast = variance.clamp(min=0).sqrt()
    return contrast / (contrast + PLAIN)


def _blurred(image: Tensor, step: int) -> Tensor:
    weights = [math.exp(-(tap**2) / (2 * WIDTH**2)) for tap in range(-END, END + 1)]
    for axis, side in enumerate(image.shape):
        places = torch.arange(side, device=image.device)
        total = torch.zeros_like(image)
        for tap, weight in zip(range(-END, END + 1), weights, strict=True):
            total += image.index_select(axis, (places + tap * step).clamp(0, side - 1)) * (weight / sum(weights))
        image = total
    return image

"""What a network makes of a region as it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .gradient import Network
from .plan import Extent, Plan
from .pyramid import resize, resize_mask
from .region import pieces, region_of, whole


def region_means(
    network: Network, layer: str, picture: Tensor, mask: Tensor, *, context: int, window: int, power: int = 1
) -> Tensor:
    """The mean of every channel of a layer, to a power, over the region of `picture (C, H, W)`: `(C,)`, float32.

    Of the layer of the classes these are the scores of the region. Other arguments are those of `dream`. Raises
    `EmptyRegionError`.
    """
    mask, _ = region_of(mask)
    total, count = torch.zeros(1, device=picture.device), 0.0
    for piece in pieces(mask > 0, context):
        box = piece.grow(context, context).clip(whole(mask))
        own = torch.zeros_like(mask[box.index])
        own[piece.shift(-box.top, -box.left).index] = mask[piece.index]
        plan = Plan.of(Extent.around(own), network, [layer], side=window)
        total = total + plan.sums(network, layer, picture[box.index], power)
        count += float(plan.grid.weights[layer].sum())
    return total / count


def at_size(picture: Tensor, mask: Tensor, side: int, around: int) -> tuple[Tensor, Tensor]:
    """The region of a picture `(C, H, W)` and its mask, so large that the region's box is about `side`² pixels.

    So a region of any size is shown as large as the pictures that a network was trained on, with up to `around`
    pixels, at that size, of what lies around it. Differentiable to the picture. Raises `EmptyRegionError`.
    """
    mask, region = region_of(mask)
    scale = side / math.sqrt(region.area)
    margin = math.ceil(around / scale)
    box = region.grow(margin, margin).clip(whole(mask))
    size = [max(1, round(extent * scale)) for extent in (box.height, box.width)]
    mode = "bilinear" if scale < 1 else "bicubic"
    return resize(picture[box.index], size, mode), resize_mask(mask[box.index], size)

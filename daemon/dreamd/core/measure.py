"""What a network makes of a region as it is."""

from __future__ import annotations

import torch
from torch import Tensor

from .gradient import Network
from .plan import Extent, Plan
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

"""What a network makes of a region as it is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .gradient import Network
from .objectives import Objective, Weighted
from .plan import Extent, Plan
from .pyramid import resize, resize_mask
from .region import Box, pieces, region_of, whole


def region_means(
    network: Network, layer: str, picture: Tensor, mask: Tensor, *, context: int, window: int, power: int = 1
) -> Tensor:
    """The mean of every channel of a layer, to a power, over the region of `picture (C, H, W)`: `(C,)`, float32.

    Of the layer of the classes these are the scores of the region. Other arguments are those of `dream`. Raises
    `EmptyRegionError`.
    """
    total, count = torch.zeros(1, device=picture.device), 0.0
    for box, plan in parts(network, [layer], mask, context=context, window=window, margin=context):
        total = total + plan.sums(network, layer, picture[box.index], power)
        count += float(plan.grid.weights[layer].sum())
    return total / count


def region_gradient(
    network: Network, layer: str, weights: Tensor, picture: Tensor, mask: Tensor, *, context: int, window: int
) -> Tensor:
    """The gradient `(C, H, W)` to the picture of the sum of `region_means` times `weights`, one for each channel.

    Arguments and errors are those of `region_means`.
    """
    total, count = torch.zeros_like(picture), 0.0
    objective = Objective((Weighted(layer, weights),))
    for box, plan in parts(network, [layer], mask, context=context, window=window, margin=context):
        for _ in plan.gradients(network, objective, [1.0], picture[box.index], total[box.index]):
            pass
        count += float(plan.grid.weights[layer].sum())
    return total / count


def parts(
    network: Network,
    layers: Sequence[str],
    mask: Tensor,
    *,
    context: int,
    window: int,
    margin: int,
    share: float = 1.0,
) -> Iterator[tuple[Box, Plan]]:
    """The pieces of a region, each with its context: its box in the picture, and how it is shown to a network.

    Around a piece a `margin` belongs to its plan's area. Raises `EmptyRegionError`.
    """
    mask, _ = region_of(mask)
    for piece in pieces(mask > 0, context):
        box = piece.grow(context, context).clip(whole(mask))
        own = torch.zeros_like(mask[box.index])
        own[piece.shift(-box.top, -box.left).index] = mask[piece.index]
        yield box, Plan.of(Extent.around(own, margin), network, layers, side=window, share=share)


@dataclass(frozen=True)
class View:
    """A region as it is shown to a network: the `box` of the picture, which holds it, and the `mask` at that size.

    So a region of any size is shown as large as the pictures that a network was trained on.
    """

    box: Box
    mask: Tensor

    @classmethod
    def of(cls, mask: Tensor, side: float, around: int) -> View:
        """The region of a mask `(H, W)`, so large that the box around it is about `side`² pixels.

        With up to `around` pixels, at that size, of what lies around it. Raises `EmptyRegionError`.
        """
        mask, region = region_of(mask)
        scale = side / math.sqrt(region.area)
        margin = math.ceil(around / scale)
        box = region.grow(margin, margin).clip(whole(mask))
        size = [max(1, round(extent * scale)) for extent in (box.height, box.width)]
        return cls(box, resize_mask(mask[box.index], size))

    def show(self, picture: Tensor) -> Tensor:
        """What is shown of a picture `(C, H, W)`; differentiable to it."""
        part = picture[self.box.index]
        mode = "bilinear" if self.mask.numel() < self.box.area else "bicubic"
        return resize(part, self.mask.shape, mode)

    def unshow(self, image: Tensor, box: Box) -> Tensor:
        """What is at `box` of the picture in an image `(C, h, w)` of what is shown, brought back to its size."""
        large = resize(image, (self.box.height, self.box.width))
        return large[box.shift(-self.box.top, -self.box.left).index]

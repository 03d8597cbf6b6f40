"""What a network takes a region for, and where: the scores of its classes, their gradients, their maps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .gradient import Network
from .measure import View, region_gradient, region_means
from .plan import Extent, Plan
from .windows import Layer


@dataclass(frozen=True)
class Classifier:
    """A network that is shown a region by a `view`, with `around` pixels of what lies about it.

    `layer` is that of its classes: the scores of what is seen at each place. `window` is as in `dream`.
    """

    network: Network
    layer: str
    view: View
    around: int
    window: int

    @property
    def stride(self) -> int:
        """Pixels between two places whose classes are told."""
        return self.network.layers[self.layer].stride

    def scores(self, picture: Tensor) -> Tensor:
        """The scores `(classes,)` of the region in a `picture (C, H, W)`, before softmax."""
        shown = self.view.show(picture)
        return region_means(
            self.network, self.layer, shown, self.view.mask, context=self.around, window=self.window
        )

    def gradient(self, picture: Tensor, weights: Tensor) -> Tensor:
        """The gradient `(C, H, W)` to a picture of the sum of its scores times `weights (classes,)`."""
        picture = picture.detach().requires_grad_()
        shown = self.view.show(picture)
        (gradient,) = torch.autograd.grad(shown, picture, self.shown_gradient(shown.detach(), weights))
        return gradient

    def shown_gradient(self, shown: Tensor, weights: Tensor) -> Tensor:
        """The same of what is `shown (C, h, w)` by the view, to that."""
        return region_gradient(
            self.network, self.layer, weights, shown, self.view.mask, context=self.around, window=self.window
        )

    def map(self, shown: Tensor, weights: Tensor, offset: tuple[int, int]) -> Tensor:
        """The sum of the scores times `weights` as it is seen at each pixel `(h, w)` of what is `shown`.

        Between the network's places, which lie on a grid slid by `offset` pixels, it is interpolated.
        """
        plan = Plan.of(
            Extent.around(torch.ones_like(self.view.mask)),
            self.network,
            [self.layer],
            side=self.window,
            offset=offset,
        )
        places = plan.map(self.network, self.layer, weights, shown)
        rows, columns = (
            _hats(extent, slid, count, self.network.layers[self.layer], shown.device)
            for extent, slid, count in zip(shown.shape[1:], offset, places.shape, strict=True)
        )
        return rows @ places @ columns.T


def _hats(extent: int, offset: int, count: int, layer: Layer, device: torch.device) -> Tensor:
    """How much each of `count` places of a layer tells of each pixel of an axis, `(extent, count)`: 1 in all."""
    centre = (layer.after - layer.before) / 2
    pixel = torch.arange(extent, device=device) + offset
    place = ((pixel - centre) / layer.stride).clamp(0, count - 1)
    return (1 - (place[:, None] - torch.arange(count, device=device)).abs()).clamp(min=0)

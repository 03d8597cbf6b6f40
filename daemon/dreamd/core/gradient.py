"""One window through the network and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .objectives import Objective
from .region import Box
from .windows import Layer, Window


class Network(Protocol):
    """A convnet with frozen weights, as the core needs it."""

    @property
    def layers(self) -> Mapping[str, Layer]:
        """What each layer sees."""

    def features(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Activations `(1, C, h, w)` of the named layers for `pixels (1, 3, H, W)`, R'G'B' in 0..1."""


@dataclass(frozen=True)
class Owned:
    """What a window owns of a layer: `activations (C, h, w)` under `mask (h, w)`, at `place` on its own grid."""

    activations: Tensor
    mask: Tensor
    place: Box


@dataclass(frozen=True)
class Grid:
    """The canvas as layers see it: the `stride` of its cells, and the mask at each layer's resolution."""

    stride: int
    weights: Mapping[str, Tensor]

    def owned(self, network: Network, pixels: Tensor, window: Window) -> dict[str, Owned]:
        """What a window owns of every layer, of `pixels (C, h, w)`, of 1 or 3 channels, that it shows."""
        # A gray picture is shown as R' = G' = B'; its gradient is then the sum of the three.
        features = network.features(pixels[None].expand(-1, 3, -1, -1), list(self.weights))
        owned = {}
        for (name, weight), activations in zip(self.weights.items(), features, strict=True):
            scale = self.stride // network.layers[name].stride
            cells = window.cells.times(scale)
            here = cells.shift(-window.box.top * scale // self.stride, -window.box.left * scale // self.stride)
            part = activations[0][here.index]
            # Convolutions without padding leave fewer activations at the canvas' end.
            mask = weight[cells.index][: part.shape[1], : part.shape[2]]
            owned[name] = Owned(part[:, : mask.shape[0], : mask.shape[1]], mask, cells)
        return owned

    def values(self, network: Network, objective: Objective, pixels: Tensor, window: Window) -> Tensor:
        """The terms' values `(terms,)` over the activations that a window owns."""
        owned = self.owned(network, pixels, window)
        found = [
            term.value(here.activations, here.mask, here.place)
            for term, here in ((term, owned[term.layer]) for term in objective.terms)
        ]
        return torch.stack(found)

    def gradient(
        self, network: Network, objective: Objective, scales: Sequence[float], pixels: Tensor, window: Window
    ) -> tuple[list[float], Tensor]:
        """The terms' values, and the objective's gradient `(C, h, w)` to the pixels.

        Each term counts with its weight divided by its scale.
        """
        pixels = pixels.detach().requires_grad_()
        values = self.values(network, objective, pixels, window)
        share = [term.weight / scale for term, scale in zip(objective.terms, scales, strict=True)]
        (gradient,) = torch.autograd.grad((values * values.new_tensor(share)).sum(), pixels)
        return values.tolist(), gradient

"""Windows through the network and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

    @property
    def at_once(self) -> int:
        """How many pixels windows may have that are shown together. At 0 each is shown alone."""

    def features(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Activations `(n, C, h, w)` of the named layers for `pixels (n, 3, H, W)`, R'G'B' in 0..1."""


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
        (features,) = _features(network, pixels[None], list(self.weights))
        return self._owned(network, features, window)

    def _owned(self, network: Network, features: Sequence[Tensor], window: Window) -> dict[str, Owned]:
        """The same of the activations `(C, h, w)` that a window shows of every layer."""
        owned = {}
        for (name, weight), activations in zip(self.weights.items(), features, strict=True):
            scale = self.stride // network.layers[name].stride
            cells = window.cells.times(scale)
            here = cells.shift(-window.box.top * scale // self.stride, -window.box.left * scale // self.stride)
            part = activations[here.index]
            # Convolutions without padding leave fewer activations at the canvas' end.
            mask = weight[cells.index][: part.shape[1], : part.shape[2]]
            owned[name] = Owned(part[:, : mask.shape[0], : mask.shape[1]], mask, cells)
        return owned

    def values(self, network: Network, objective: Objective, pixels: Tensor, window: Window) -> Tensor:
        """The terms' values `(terms,)` over the activations that a window owns."""
        return _values(objective, self.owned(network, pixels, window))


def gradients(
    network: Network,
    objective: Objective,
    scales: Sequence[float],
    pixels: Tensor,
    shown: Sequence[tuple[Grid, Window]],
) -> tuple[Tensor, Tensor]:
    """The terms' values `(n, terms)` of windows of one size, and the gradient to their `pixels (n, C, h, w)`.

    Each term counts with its weight divided by its scale. Whoever reads the values waits for the card.
    """
    pixels = pixels.detach().requires_grad_()
    features = _features(network, pixels, list(shown[0][0].weights))
    values = torch.stack(
        [
            _values(objective, grid._owned(network, each, window))
            for each, (grid, window) in zip(features, shown, strict=True)
        ]
    )
    share = [term.weight / scale for term, scale in zip(objective.terms, scales, strict=True)]
    # Filled there, where a list would have to be sent.
    shares = torch.stack([values.new_full((len(shown),), each) for each in share], 1)
    (found,) = torch.autograd.grad(values, pixels, shares)
    return values.detach(), found


def _features(network: Network, pixels: Tensor, names: Sequence[str]) -> Iterator[list[Tensor]]:
    """Of each of `pixels (n, C, h, w)`, of 1 or 3 channels, the activations `(C, h, w)` of the layers named."""
    # A gray picture is shown as R' = G' = B'; its gradient is then the sum of the three.
    features = network.features(pixels.expand(-1, 3, -1, -1), names)
    return ([each[index] for each in features] for index in range(pixels.shape[0]))


def _values(objective: Objective, owned: Mapping[str, Owned]) -> Tensor:
    found = [
        term.value(here.activations, here.mask, here.place)
        for term, here in ((term, owned[term.layer]) for term in objective.terms)
    ]
    return torch.stack(found)

"""One window through the network and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from .objectives import Objective
from .windows import Layer, Window


class Network(Protocol):
    """A convnet with frozen weights, as the core needs it."""

    @property
    def layers(self) -> Mapping[str, Layer]:
        """What each layer sees."""

    @property
    def minimum(self) -> int:
        """Side in pixels of the smallest picture that it can be shown."""

    def features(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Activations `(1, C, h, w)` of the named layers for `pixels (1, 3, H, W)`, R'G'B' in 0..1."""


def window_gradient(
    network: Network,
    objective: Objective,
    scales: Sequence[float],
    pixels: Tensor,
    weights: Mapping[str, Tensor],
    window: Window,
    stride: int,
) -> tuple[list[float], Tensor]:
    """The terms' values over the activations that `window` owns, and the objective's gradient to its pixels.

    `pixels (C, h, w)`, of 1 or 3 channels, is what the window shows; `weights` is the mask at each layer's
    resolution on the whole canvas. Each term counts with its weight divided by its scale.
    """
    pixels = pixels.detach()[None].requires_grad_()
    values = _values(network, objective, pixels, weights, window, stride)
    total = torch.stack(
        [value * (term.weight / scale) for value, term, scale in zip(values, objective.terms, scales, strict=True)]
    ).sum()
    (gradient,) = torch.autograd.grad(total, pixels)
    return torch.stack(values).tolist(), gradient[0]


@torch.no_grad()
def window_values(
    network: Network,
    objective: Objective,
    pixels: Tensor,
    weights: Mapping[str, Tensor],
    window: Window,
    stride: int,
) -> list[float]:
    """The terms' values over the activations that `window` owns, without the way back."""
    return torch.stack(_values(network, objective, pixels[None], weights, window, stride)).tolist()


def _values(
    network: Network,
    objective: Objective,
    pixels: Tensor,
    weights: Mapping[str, Tensor],
    window: Window,
    stride: int,
) -> list[Tensor]:
    # A gray picture is shown as R' = G' = B'; its gradient is then the sum of the three.
    features = network.features(pixels.expand(-1, 3, -1, -1), objective.layers)
    owned: dict[str, tuple[Tensor, Tensor]] = {}
    for name, activations in zip(objective.layers, features, strict=True):
        scale = stride // network.layers[name].stride
        cells = window.cells.times(scale)
        here = cells.shift(-window.box.top * scale // stride, -window.box.left * scale // stride)
        part = activations[0][here.index]
        # Convolutions without padding leave fewer activations at the canvas' end.
        weight = weights[name][cells.index][: part.shape[1], : part.shape[2]]
        owned[name] = part[:, : weight.shape[0], : weight.shape[1]], weight
    return [term.value(*owned[term.layer]) for term in objective.terms]

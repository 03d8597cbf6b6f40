"""A network of two layers, small enough to be run over anything at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Layer:
    before: int
    after: int
    stride: int
    lost: int = 0


class FakeNetwork:
    """3x3 stride 2 padded as TensorFlow does, ReLU, 5x5 stride 2: like the embedded network, only smaller."""

    layers = {"low": Layer(0, 2, 2), "high": Layer(4, 8, 4)}  # noqa: RUF012

    def __init__(self, at_once: int = 0) -> None:
        self.at_once = at_once
        dice = torch.Generator().manual_seed(1)
        self._low = torch.randn(6, 3, 3, 3, generator=dice) / 5
        self._high = torch.randn(8, 6, 5, 5, generator=dice) / 12
        self.shown: list[tuple[int, int]] = []
        self.batches: list[int] = []

    def features(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        self.shown.append((pixels.shape[-2], pixels.shape[-1]))
        self.batches.append(pixels.shape[0])
        low = F.relu(F.conv2d(F.pad(pixels - 0.5, (0, 1, 0, 1)), self._low, stride=2))
        high = F.conv2d(F.pad(low, (2, 2, 2, 2)), self._high, stride=2)
        return [{"low": low, "high": high}[name] for name in names]


class ValidNetwork(FakeNetwork):
    """Convolutions without padding, which lose activations at the end, as Inception v3 does."""

    layers = {"low": Layer(0, 2, 2, 1), "high": Layer(0, 10, 4, 2)}  # noqa: RUF012

    def features(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        self.shown.append((pixels.shape[-2], pixels.shape[-1]))
        self.batches.append(pixels.shape[0])
        low = F.relu(F.conv2d(pixels - 0.5, self._low, stride=2))
        high = F.conv2d(low, self._high, stride=2)
        return [{"low": low, "high": high}[name] for name in names]

"""Objectives: what a dream climbs. Sums of terms, each additive over the activations of one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .region import Box


class Term(Protocol):
    """A weighted scalar of one layer's activations that adds up over any division of them.

    Being additive is what lets the activations be shared out among windows: the sum of the windows' values and
    gradients is then the value and gradient of the whole.
    """

    @property
    def layer(self) -> str: ...
    @property
    def weight(self) -> float: ...
    def value(self, activations: Tensor, mask: Tensor, place: Box) -> Tensor:
        """The term, not yet weighted, of `activations (C, h, w)` under `mask (h, w)`: a scalar in float32.

        They lie at `place` on the layer's own grid.
        """


@dataclass(frozen=True)
class Energy:
    """½ Σ mask · a²: whatever the layer responds to, let it respond more (Mordvintsev and others, 2015).

    `channels` are the feature maps that count; empty means all.
    """

    layer: str
    weight: float = 1.0
    channels: tuple[int, ...] = ()

    def value(self, activations: Tensor, mask: Tensor, place: Box) -> Tensor:
        activations = _chosen(activations, self.channels)
        return 0.5 * (activations.square().sum(0).float() * mask).sum()


@dataclass(frozen=True)
class Score:
    """Σ mask · a of one channel: of a classifier's scores, a class (Simonyan and others, 2013).

    Of a classifier behind a global average, the scores' mean over the places is the score of the whole.
    """

    layer: str
    channel: int
    weight: float = 1.0

    def value(self, activations: Tensor, mask: Tensor, place: Box) -> Tensor:
        return (activations[self.channel].float() * mask).sum()


@dataclass(frozen=True, eq=False)
class Weighted:
    """Σ mask · Σ_c w_c a_c: every channel with a weight of its own, `weights (C,)`."""

    layer: str
    weights: Tensor
    weight: float = 1.0

    def value(self, activations: Tensor, mask: Tensor, place: Box) -> Tensor:
        return (torch.einsum("c,chw->hw", self.weights, activations.float()) * mask).sum()


@dataclass(frozen=True, eq=False)
class Likeness:
    """Σ mask · a·g: every activation grows towards that of a guide which it is most like (google/deepdream, 2015).

    `guide (n, C)` are the guide's activations; g is the one with the largest product with a.
    """

    layer: str
    guide: Tensor
    weight: float = 1.0

    def value(self, activations: Tensor, mask: Tensor, place: Box) -> Tensor:
        places = activations.flatten(1)
        with torch.no_grad():
            # In parts: of a low layer there are many thousands of both.
            # torch.split, which has types, unlike the method
            parts = torch.split(places, 4096, dim=1)
            best = torch.cat([(self.guide @ part).argmax(0) for part in parts])
        return ((places * self.guide[best].T).sum(0).float() * mask.flatten()).sum()


@dataclass(frozen=True, eq=False)
class Emphasis:
    """½ Σ mask · Σ_c e_c a_c²: the energy, with each channel as important as `emphasis (C,)` says."""

    layer: str
    emphasis: Tensor
    weight: float = 1.0

    def value(self, activations: Tensor, mask: Tensor, place: Box) -> Tensor:
        return 0.5 * (torch.einsum("c,chw->hw", self.emphasis, activations.square()).float() * mask).sum()


@dataclass(frozen=True, eq=False)
class Distance:
    """Σ mask · |a - code|²: how far activations are from those of another picture (Mahendran and Vedaldi, 2014).

    `code (C, rows, columns)` are those at every place of the layer's grid, in float32. `channels` are the feature
    maps that count; empty means all.
    """

    layer: str
    code: Tensor
    weight: float = 1.0
    channels: tuple[int, ...] = ()

    def value(self, activations: Tensor, mask: Tensor, place: Box) -> Tensor:
        code = self.code[place.index][:, : mask.shape[0], : mask.shape[1]]
        return (_chosen(activations.float() - code, self.channels).square().sum(0) * mask).sum()

    def energy(self, mask: Tensor) -> Tensor:
        """Σ mask · |code|², under the mask of the layer's whole grid."""
        return (_chosen(self.code, self.channels).square().sum(0) * mask).sum()


def _chosen(maps: Tensor, channels: tuple[int, ...]) -> Tensor:
    """The channels of maps `(C, h, w)` that count; empty means all."""
    if not channels:
        return maps
    # For a list a card would be waited for. To other devices nothing can be sent in safety without waiting.
    return maps[torch.tensor(channels).to(maps.device, non_blocking=maps.is_cuda)]


@dataclass(frozen=True)
class Objective:
    """A sum of terms; objectives add up."""

    terms: tuple[Term, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose activations are needed, each once."""
        return tuple(dict.fromkeys(term.layer for term in self.terms))

    def weighted(self, values: Sequence[float], scales: Sequence[float]) -> list[float]:
        """What the objective is the sum of, from its terms' values and the scales they are divided by."""
        return [t.weight * v / s for t, v, s in zip(self.terms, values, scales, strict=True)]

    def __add__(self, other: Objective) -> Objective:
        return Objective(self.terms + other.terms)


def energy(layers: Mapping[str, float], channels: tuple[int, ...] = ()) -> Objective:
    """The deep dream's own objective: the energy of several layers with their weights."""
    return Objective(tuple(Energy(layer, weight, channels) for layer, weight in layers.items()))

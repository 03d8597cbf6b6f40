"""Objectives: what a dream climbs. Sums of terms, each additive over the activations of one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Term(Protocol):
    """A weighted scalar of one layer's activations that adds up over any division of them.

    Being additive is what lets the activations be shared out among windows: the sum of the windows' values and
    gradients is then the value and gradient of the whole.
    """

    @property
    def layer(self) -> str: ...
    @property
    def weight(self) -> float: ...
    def value(self, activations: Tensor, mask: Tensor) -> Tensor:
        """The term, not yet weighted, of `activations (C, h, w)` under `mask (h, w)`: a scalar in float32."""


@dataclass(frozen=True)
class Energy:
    """½ Σ mask · a²: whatever the layer responds to, let it respond more (Mordvintsev and others, 2015).

    `channels` are the feature maps that count; empty means all.
    """

    layer: str
    weight: float = 1.0
    channels: tuple[int, ...] = ()

    def value(self, activations: Tensor, mask: Tensor) -> Tensor:
        if self.channels:
            activations = activations[list(self.channels)]
        return 0.5 * (activations.square().sum(0).float() * mask).sum()


@dataclass(frozen=True)
class Objective:
    """A sum of terms; objectives add up."""

    terms: tuple[Term, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose activations are needed, each once."""
        return tuple(dict.fromkeys(term.layer for term in self.terms))

    def total(self, values: Sequence[float], scales: Sequence[float]) -> float:
        """The objective, from its terms' values and the scales they are divided by."""
        return sum(t.weight * v / s for t, v, s in zip(self.terms, values, scales, strict=True))

    def __add__(self, other: Objective) -> Objective:
        return Objective(self.terms + other.terms)


def energy(layers: Mapping[str, float], channels: tuple[int, ...] = ()) -> Objective:
    """The deep dream's own objective: the energy of several layers with their weights."""
    return Objective(tuple(Energy(layer, weight, channels) for layer, weight in layers.items()))

"""What a step shows the network of a region, and what comes back: values and gradients, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .gradient import Grid, Network, gradients
from .objectives import Objective
from .pyramid import Support
from .region import Box, bounds, whole
from .windows import Canvas, Reach, Window, add_back, cut


@dataclass(frozen=True)
class Extent:
    """A region at one octave: the image's `size`, the `mask (H, W)`, and the `area` where it is changed.

    The area is the box around the region with a margin; `support` is 1 inside the region, over the area.
    """

    size: tuple[int, int]
    mask: Tensor
    area: Box
    support: Support

    @classmethod
    def around(cls, mask: Tensor, margin: int = 0) -> Extent:
        """The extent of a mask that is not empty."""
        inside = bounds(mask > 0)
        assert inside is not None  # noqa: S101 - a region holds pixels of the mask
        area = inside.grow(margin, margin).clip(whole(mask))
        return cls((mask.shape[0], mask.shape[1]), mask, area, Support((mask[area.index] > 0).to(mask.dtype)))


@dataclass(frozen=True)
class Plan:
    """The windows of one step over an extent, with the mask at each layer's resolution."""

    extent: Extent
    canvas: Canvas
    grid: Grid
    windows: list[Window]

    @classmethod
    def of(
        cls,
        extent: Extent,
        network: Network,
        layers: Sequence[str],
        *,
        side: int,
        share: float = 1.0,
        offset: tuple[int, int] = (0, 0),
        slack: int = 0,
    ) -> Plan:
        """Windows of at most `side`², with a `share` of what layers see, the grid slid by `offset` pixels.

        All windows for offsets up to `slack` are of a few sizes.
        """
        seen = [network.layers[name] for name in layers]
        reach = Reach.of(seen, share)
        canvas = Canvas.around(extent.size, offset, seen, slack)
        origin = extent.area.top, extent.area.left
        weights = [canvas.weights(extent.mask[extent.area.index], origin, layer) for layer in seen]
        windows = canvas.plan(canvas.owned(list(zip(seen, weights, strict=True))), reach, side)
        return cls(extent, canvas, Grid(reach.stride, dict(zip(layers, weights, strict=True))), windows)

    @property
    def pixels(self) -> int:
        """How many are shown in all."""
        return sum(window.box.area for window in self.windows)

    def gradients(
        self, network: Network, objective: Objective, scales: Sequence[float], image: Tensor, total: Tensor
    ) -> Iterator[Tensor]:
        """Adds the gradient to an image `(C, H, W)` onto `total`, over the area; yields each window's values."""
        return climb(network, objective, scales, [Slope(self, image, total)])

    @torch.no_grad()
    def sums(self, network: Network, layer: str, image: Tensor, power: int = 1) -> Tensor:
        """Σ mask · a^power of every channel of a layer `(C,)`, in float32."""
        total = torch.zeros(1, device=image.device)
        for window in self.windows:
            here = self.grid.owned(network, cut(image, self._in_image(window)), window)[layer]
            total = total + (here.activations.float() ** power * here.mask).sum((1, 2))
        return total

    @torch.no_grad()
    def map(self, network: Network, layer: str, weights: Tensor, image: Tensor) -> Tensor:
        """Σ_c w_c a_c of a layer at every place that windows own, `(rows, columns)` of the layer's own grid."""
        total = torch.zeros_like(self.grid.weights[layer])
        for window in self.windows:
            here = self.grid.owned(network, cut(image, self._in_image(window)), window)[layer]
            total[here.place.clip(whole(total)).index] = torch.einsum(
                "c,chw->hw", weights, here.activations.float()
            )
        return total

    @torch.no_grad()
    def code(self, network: Network, layer: str, image: Tensor) -> Tensor:
        """The activations of a layer at every place that windows own, `(C, rows, columns)`, in float32."""
        shown = ((cut(image, self._in_image(window)), window) for window in self.windows)
        found = [self.grid.owned(network, pixels, window)[layer] for pixels, window in shown]
        weights = self.grid.weights[layer]
        total = torch.zeros(found[0].activations.shape[0], *weights.shape, device=image.device)
        for here in found:
            total[here.place.clip(whole(weights)).index] = here.activations.float()
        return total

    @torch.no_grad()
    def values(self, network: Network, objective: Objective, image: Tensor) -> list[float]:
        """The terms' values over all that windows own of an image `(C, H, W)`."""
        shown = ((cut(image, self._in_image(window)), window) for window in self.windows)
        found = [self.grid.values(network, objective, pixels, window) for pixels, window in shown]
        return [float(value) for value in torch.stack(found).sum(0)]

    def _in_image(self, window: Window) -> Box:
        rows, columns = self.canvas.offset
        return window.box.shift(-rows, -columns)


@dataclass(frozen=True)
class Slope:
    """An image `(C, H, W)`, the plan of how it is shown, and the `total` of its gradient, over the plan's area."""

    plan: Plan
    image: Tensor
    total: Tensor

    @classmethod
    def flat(cls, plan: Plan, image: Tensor) -> Slope:
        """Before any gradient was added."""
        return cls(plan, image, torch.zeros_like(image[plan.extent.area.index]))


def climb(
    network: Network, objective: Objective, scales: Sequence[float], slopes: Sequence[Slope]
) -> Iterator[Tensor]:
    """Adds the gradient to each image onto its total; yields the values `(terms,)` of every window of all plans.

    Windows of one size are shown together, of whichever image, as far as the network takes several at once.
    """
    for batch in _batches(slopes, network.at_once):
        yield from _climb(network, objective, scales, batch)


def _climb(
    network: Network, objective: Objective, scales: Sequence[float], batch: Sequence[tuple[Slope, Window]]
) -> Tensor:
    """The same for windows of one size; their values `(n, terms)`."""
    boxes = [slope.plan._in_image(window) for slope, window in batch]
    parts = [cut(slope.image, box) for (slope, _), box in zip(batch, boxes, strict=True)]
    pixels = torch.stack(parts) if len(parts) > 1 else parts[0][None]
    shown = [(slope.plan.grid, window) for slope, window in batch]
    values, pieces = gradients(network, objective, scales, pixels, shown)
    for (slope, _), box, piece in zip(batch, boxes, pieces, strict=True):
        add_back(slope.total, slope.plan.extent.size, slope.plan.extent.area, piece, box)
    return values


def _batches(slopes: Sequence[Slope], at_once: int) -> Iterator[list[tuple[Slope, Window]]]:
    """All windows, those of one size together as long as they have no more than `at_once` pixels."""
    waiting: dict[tuple[int, int], list[tuple[Slope, Window]]] = {}
    for slope in slopes:
        for window in slope.plan.windows:
            size = window.box.height, window.box.width
            batch = waiting.setdefault(size, [])
            batch.append((slope, window))
            if (len(batch) + 1) * window.box.area > at_once:
                yield waiting.pop(size)
    yield from waiting.values()


def sums(values: Sequence[Tensor]) -> list[float]:
    """The terms' values `(terms,)` of windows, added up. A card has to be waited for until it has them all."""
    totals = [0.0] * len(values[0])
    for each in values:
        totals = [total + value for total, value in zip(totals, each.tolist(), strict=True)]
    return totals

"""What the network is shown: windows that cover the region's activations, each once, each with its field.

A window is a crop of the *canvas*: the image at one octave, slid by the jitter's offset so that the network's
grid falls elsewhere at every step, and continued by reflection at the image's own border up to a multiple of
the stride. A network shown the whole canvas at once gives the untiled gradient; the windows give the same,
because window corners lie on the grid and every window shows its activations all the pixels they see.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .region import Box, bounds


class Layer(Protocol):
    """What activation i of a layer sees along an axis: pixels `i*stride - before` to `i*stride + after`."""

    @property
    def before(self) -> int: ...
    @property
    def after(self) -> int: ...
    @property
    def stride(self) -> int: ...
    @property
    def lost(self) -> int:
        """How many activations convolutions without padding take from an axis."""


@dataclass(frozen=True)
class Reach:
    """How far windows reach beyond the cells they own, in pixels; whole cells, so that corners lie on the grid."""

    before: int
    after: int
    stride: int

    @classmethod
    def of(cls, layers: Sequence[Layer], share: float = 1.0) -> Reach:
        """What `layers` see around their activations, or a `share` of it."""
        stride = math.lcm(*(layer.stride for layer in layers))
        before = share * max(0, *(layer.before for layer in layers))
        after = share * max(0, *(layer.after - layer.stride + 1 for layer in layers))
        return cls(math.ceil(before / stride) * stride, math.ceil(after / stride) * stride, stride)


@dataclass(frozen=True)
class Window:
    """A piece of the canvas: the pixels shown, and the cells of the grid whose activations it owns."""

    box: Box
    cells: Box


@dataclass(frozen=True)
class Canvas:
    """An octave's image on the network's grid: its size in cells, and where the image begins on it.

    `least` is how many cells a window must have each way for the network to be run on it at all.
    """

    stride: int
    rows: int
    columns: int
    offset: tuple[int, int]
    least: int = 1

    @classmethod
    def around(
        cls, size: tuple[int, int], offset: tuple[int, int], layers: Sequence[Layer], slack: int = 0
    ) -> Canvas:
        """The canvas of an image of `size` slid by `offset`, so large that each layer has an activation.

        It is as large as one slid by `slack`, if that is more: libraries prepare themselves for every new size.
        """
        stride = math.lcm(*(layer.stride for layer in layers))
        least = max(-(-(layer.lost + 1) * layer.stride // stride) for layer in layers)
        rows, columns = (
            max(least, -(-(side + max(slid, slack)) // stride)) for side, slid in zip(size, offset, strict=True)
        )
        return cls(stride, rows, columns, offset, least)

    @property
    def box(self) -> Box:
        return Box(0, 0, self.rows, self.columns).times(self.stride)

    def weights(self, mask: Tensor, origin: tuple[int, int], layer: Layer) -> Tensor:
        """The mask at a layer's resolution: for each activation, the mask's mean over the cell it is centred in.

        `mask (h, w)` lies at `origin` in the image. Every pixel of the mask counts for exactly one activation,
        at the border the nearest, so that the smallest region anywhere has activations of its own.
        """
        scale = self.stride // layer.stride
        size = (self.rows * scale - layer.lost, self.columns * scale - layer.lost)
        # A cell reaches half a stride to either side of the centre of what its activation sees.
        shift = (layer.after - layer.before - layer.stride + 1) // 2
        cells = [
            (torch.arange(extent, device=mask.device) + start + offset - shift)
            .div(layer.stride, rounding_mode="floor")
            .clamp(0, count - 1)
            for extent, start, offset, count in zip(mask.shape, origin, self.offset, size, strict=True)
        ]
        by_row = mask.new_zeros(size[0], mask.shape[1]).index_add_(0, cells[0], mask)
        return mask.new_zeros(size).index_add_(1, cells[1], by_row).div_(layer.stride**2)

    def owned(self, weights: Sequence[tuple[Layer, Tensor]]) -> Tensor:
        """Which cells of the grid hold an activation of any layer with a weight above 0."""
        owned = torch.zeros(self.rows, self.columns, dtype=torch.bool)
        for layer, weight in weights:
            scale = self.stride // layer.stride
            y, x = (weight > 0).nonzero(as_tuple=True)
            owned[(y // scale).cpu(), (x // scale).cpu()] = True
        return owned

    def plan(self, owned: Tensor, reach: Reach, side: int) -> list[Window]:
        """Windows of at most `side`² pixels that own each true cell of `owned (rows, columns)` exactly once.

        Cells without activations of the region are left out where that saves work. A window is larger than
        `side`² only where a single cell with all it sees is, or the least that the network takes.
        """
        tight = bounds(owned)
        if tight is None:
            return []
        rows, columns = self._grid(tight, reach, side)
        windows: list[Window] = []
        for top, bottom in _even(tight.top, tight.bottom, rows):
            for left, right in _even(tight.left, tight.right, columns):
                windows += self._cover(owned, Box(top, left, bottom, right), reach)
        return windows

    def _window(self, cells: Box, reach: Reach) -> Window:
        """The window that owns `cells`: its corners lie on the grid, or on the canvas' edge."""
        stride = self.stride
        box = cells.times(stride).grow(reach.before, reach.after).clip(self.box)
        # A window too small for the network grows away from the canvas' beginning, and at its end towards it.
        side = self.least * stride
        bottom = min(max(box.bottom, box.top + side), self.rows * stride)
        right = min(max(box.right, box.left + side), self.columns * stride)
        return Window(Box(min(box.top, bottom - side), min(box.left, right - side), bottom, right), cells)

    def _grid(self, cells: Box, reach: Reach, side: int) -> tuple[int, int]:
        """Into how many equal rows and columns to cut `cells`, with the least pixels shown in all."""
        best, least = (cells.height, cells.width), math.inf
        around, smallest = reach.before + reach.after, self.least * self.stride
        for rows in range(1, cells.height + 1):
            # Windows end where the canvas ends: one that sees all of it is no larger than that.
            height = min(max(-(-cells.height // rows) * self.stride + around, smallest), self.box.height)
            room = side * side // height
            columns = 1
            if room < self.box.width:
                columns = -(-cells.width // max(1, (room - around) // self.stride))
            if columns > cells.width:
                continue
            width = min(max(-(-cells.width // columns) * self.stride + around, smallest), self.box.width)
            shown = rows * columns * height * width
            if height * width <= side * side and shown < least:
                best, least = (rows, columns), shown
        return best

    def _cover(self, owned: Tensor, cells: Box, reach: Reach) -> list[Window]:
        """Windows for the true cells within `cells`: one, or those of two halves where they are much less work."""
        here = owned[cells.index]
        tight = bounds(here)
        if tight is None:
            return []
        filled = int(here.sum())
        tight = tight.shift(cells.top, cells.left)
        window = self._window(tight, reach)
        # Two halves that are full show more together than the whole, so only holes make a cut worth while.
        if filled > tight.area // 2:
            return [window]
        if tight.height >= tight.width:
            middle = (tight.top + tight.bottom) // 2
            halves = (
                Box(tight.top, tight.left, middle, tight.right),
                Box(middle, tight.left, tight.bottom, tight.right),
            )
        else:
            middle = (tight.left + tight.right) // 2
            halves = (
                Box(tight.top, tight.left, tight.bottom, middle),
                Box(tight.top, middle, tight.bottom, tight.right),
            )
        parts = [part for half in halves for part in self._cover(owned, half, reach)]
        return parts if sum(part.box.area for part in parts) < 0.8 * window.box.area else [window]


def _even(start: int, stop: int, parts: int) -> list[tuple[int, int]]:
    """The range cut into `parts` that differ by at most one."""
    edges = [start + (stop - start) * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(edges))


def reflected(start: int, stop: int, size: int, device: torch.device) -> Tensor:
    """Indices of `start..stop` in an image of `size`, continued by reflection about its outermost pixels."""
    index = torch.arange(start, stop, device=device)
    if size == 1:
        return torch.zeros_like(index)
    index = index.remainder(2 * (size - 1))
    return torch.minimum(index, 2 * (size - 1) - index)


def cut(image: Tensor, box: Box) -> Tensor:
    """The pixels of `image (C, H, W)` in `box`, which may reach beyond the image: reflected there."""
    rows = _continued(image, 1, box.top, box.bottom)
    return _continued(rows, 2, box.left, box.right)


def _continued(image: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """`start..stop` of an axis of an image, continued by reflection."""
    size = image.shape[axis]
    first, last = min(max(start, 0), size), max(min(stop, size), 0)
    inside = image.narrow(axis, first, max(0, last - first))
    ends = (start, min(stop, 0)), (max(start, size), stop)
    before, after = (
        [image.index_select(axis, reflected(*end, size, image.device))] if end[0] < end[1] else [] for end in ends
    )
    # Only what is reflected is looked up pixel by pixel.
    return torch.cat([*before, inside, *after], axis) if before or after else inside


def add_back(total: Tensor, image_size: tuple[int, int], area: Box, piece: Tensor, box: Box) -> None:
    """The adjoint of `cut`: adds `piece (C, h, w)`, a gradient to `box`, onto `total`, the gradient to `area`.

    Gradients to reflected pixels go to the pixels they are reflections of; those outside `area` are dropped.
    The piece's memory is used.
    """
    piece, top = _folded(piece, 1, box.top, image_size[0])
    piece, left = _folded(piece, 2, box.left, image_size[1])
    shown = Box(top, left, top + piece.shape[1], left + piece.shape[2])
    part = shown.clip(area)
    source = part.shift(-shown.top, -shown.left).index
    target = part.shift(-area.top, -area.left).index
    total[target] += piece[source]


def _folded(piece: Tensor, axis: int, start: int, size: int) -> tuple[Tensor, int]:
    """The adjoint of `_continued` from `start`: what it shows of an axis of `size`, and where that begins."""
    stop = start + piece.shape[axis]
    first, last = max(start, 0), min(stop, size)
    ends = [end for end in ((start, min(stop, 0)), (max(start, size), stop)) if end[0] < end[1]]
    # Worked out here as well as there, since a card that is asked has to be waited for.
    places = [reflected(*end, size, torch.device("cpu")) for end in ends]
    # A window may show the reflection of what it does not show, at the end of a small picture.
    least = min([first, *(int(place.min()) for place in places)])
    most = max([last, *(int(place.max()) + 1 for place in places)])
    if (least, most) == (first, last):
        inside = piece.narrow(axis, first - start, last - first)
    else:
        shape = list(piece.shape)
        shape[axis] = most - least
        inside = piece.new_zeros(shape)
        if first < last:
            inside.narrow(axis, first - least, last - first).copy_(piece.narrow(axis, first - start, last - first))
    for end in ends:
        place = reflected(*end, size, piece.device) - least
        inside.index_add_(axis, place, piece.narrow(axis, end[0] - start, end[1] - end[0]))
    return inside, least

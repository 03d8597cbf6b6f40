"""Where to dream: boxes of pixels, and the pieces a mask falls into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import EllipsisType

import torch
from torch import Tensor

#: A mask below this, less than a step of 16 bits, counts as 0.
FAINT = 2.0**-16


class EmptyRegionError(ValueError):
    """The mask is 0 everywhere."""


#: Pictures of more values than this are worked on channel by channel: what that needs besides is then a third.
LARGE = 1 << 25


def portions(*images: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Parts of pictures `(C, H, W)` that belong together: all of them, or channel by channel if one is large."""
    large = max(image.numel() for image in images) > LARGE
    yield from zip(*(torch.split(image, 1 if large else image.shape[0]) for image in images), strict=True)


@dataclass(frozen=True)
class Box:
    """Rows `top..bottom` and columns `left..right` of an image, half open."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def index(self) -> tuple[EllipsisType, slice, slice]:
        """Index of the last two dimensions of a tensor."""
        return ..., slice(self.top, self.bottom), slice(self.left, self.right)

    def grow(self, before: int, after: int) -> Box:
        """Larger by `before` pixels above and on the left, by `after` below and on the right."""
        return Box(self.top - before, self.left - before, self.bottom + after, self.right + after)

    def shift(self, rows: int, columns: int) -> Box:
        """Moved down by `rows` and to the right by `columns`."""
        return Box(self.top + rows, self.left + columns, self.bottom + rows, self.right + columns)

    def times(self, factor: int) -> Box:
        """On a grid that is `factor` times as fine: a box of cells as a box of pixels."""
        return Box(self.top * factor, self.left * factor, self.bottom * factor, self.right * factor)

    def clip(self, other: Box) -> Box:
        """The part inside `other`; of area 0 where there is none."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Box(top, left, max(top, bottom), max(left, right))

    def unite(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


def whole(image: Tensor) -> Box:
    """The box of all of an image `(..., H, W)`."""
    return Box(0, 0, image.shape[-2], image.shape[-1])


def bounds(inside: Tensor) -> Box | None:
    """The smallest box around the true pixels of `inside (H, W)`; None if there are none."""
    rows = inside.any(1).nonzero()
    if rows.numel() == 0:
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = inside[top:bottom].any(0).nonzero()
    return Box(top, int(columns[0]), bottom, int(columns[-1]) + 1)


def region_of(mask: Tensor) -> tuple[Tensor, Box]:
    """A mask `(H, W)` without what is too faint to count, and the box around it. Raises `EmptyRegionError`."""
    if bool(((mask > 0) & (mask < FAINT)).any()):
        mask = mask * (mask >= FAINT)
    region = bounds(mask > 0)
    if region is None:
        raise EmptyRegionError
    return mask, region


def lay(source: Tensor, made: Tensor, mask: Tensor, *, blended: bool = True) -> Tensor:
    """`made (C, h, w)` laid over a source by a mask `(h, w)`, whose pixels keep their bits where the mask is 0.

    Whoever lays the mask over the result himself wants it not `blended`: then every mask above 0 counts as 1.
    """
    changed = torch.lerp(source, made, mask) if blended else made  # exact where the mask is 1
    return torch.where(mask > 0, changed, source)


def pieces(inside: Tensor, context: int) -> list[Box]:
    """Disjoint boxes that together hold every true pixel of `inside (H, W)`, in reading order.

    Parts of the region are kept apart where dreaming them apart, each with `context` pixels around it, is less
    work than dreaming the box around both; parts that see each other closely therefore stay together.
    """
    # A grid of cells about as large as the context finds what is far apart, however speckled the mask.
    cell = max(128, context)
    height, width = inside.shape
    boxes: list[Box] = []
    for cells in _connected(_any_in_cells(inside, cell)):
        around = cells[0]
        for other in cells[1:]:
            around = around.unite(other)
        area = around.times(cell).clip(Box(0, 0, height, width))
        own = torch.zeros((area.height, area.width), dtype=torch.bool, device=inside.device)
        for one in cells:
            part = one.times(cell).clip(area)
            own[part.shift(-area.top, -area.left).index] = inside[part.index]
        tight = bounds(own)
        assert tight is not None  # noqa: S101 - every cell found holds a true pixel
        boxes.append(tight.shift(area.top, area.left))
    return sorted(_merge(boxes, context), key=lambda box: (box.top, box.left))


def _any_in_cells(inside: Tensor, cell: int) -> list[list[bool]]:
    """Which cells of a grid hold a true pixel."""
    return [[bool(part.any()) for part in torch.split(row.any(0), cell)] for row in torch.split(inside, cell)]


def _connected(cells: list[list[bool]]) -> list[list[Box]]:
    """Groups of true cells that touch, corners included; each cell as a box of one by one."""
    left = {(y, x) for y, row in enumerate(cells) for x, full in enumerate(row) if full}
    groups: list[list[Box]] = []
    while left:
        front = [min(left)]
        left.discard(front[0])
        group: list[Box] = []
        while front:
            y, x = front.pop()
            group.append(Box(y, x, y + 1, x + 1))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += sorted(near)
        groups.append(group)
    return groups


def _merge(boxes: list[Box], context: int) -> list[Box]:
    """Unites boxes until no two overlap and no union with its context would be less work than its parts."""

    def work(box: Box) -> int:
        return box.grow(context, context).area

    merged: list[Box] = []
    waiting = list(boxes)
    while waiting:
        box = waiting.pop()
        for other in merged:
            union = box.unite(other)
            if box.clip(other).area or work(union) <= work(box) + work(other):
                merged.remove(other)
                waiting.append(union)
                break
        else:
            merged.append(box)
    return merged

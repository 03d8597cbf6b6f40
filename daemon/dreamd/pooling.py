"""Max pooling and the way back, in strips of rows: torch sends a picture's gradient back on a single thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional as F

from .convolutions import empty

#: With as few threads as this, strips that skip pixels cost more to put together than they save.
FEW_THREADS = 2


@dataclass(frozen=True)
class Pooled:
    """For the way back: the pixel of its strip that each output is, their shape, the whole's sides."""

    taken: Tensor
    strips: Sequence[int]
    size: Sequence[int]
    in_strips: bool


@dataclass(frozen=True)
class MaxPool:
    """The largest value around each pixel; each of these is for rows and columns."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    zeros: tuple[int, int]
    dilation: tuple[int, int]
    ceil: bool

    @classmethod
    def of(cls, node: fx.Node) -> MaxPool:
        """As a node of a graph calls it."""
        names = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
        given: dict[str, Any] = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
        kernel = _both(given["kernel_size"])
        stride = _both(given.get("stride") or kernel)
        zeros, dilation = _both(given.get("padding", 0)), _both(given.get("dilation", 1))
        return cls(kernel, stride, zeros, dilation, bool(given.get("ceil_mode", False)))

    def forward(self, x: Tensor) -> tuple[Tensor, Pooled]:
        """The pooled `x (n, C, H, W)`."""
        _, channels, height, width = x.shape
        rows = self._rows(height)
        count = self._strips(x, rows)
        if count == 1:
            y, taken = self._pool(x, self.zeros[0])
            return y, Pooled(taken, x.shape, x.shape[-2:], in_strips=False)
        each = -(-rows // count)
        strips = empty((-(-rows // each), channels, self._seen(each), width), x)
        for start, strip in self._starts(strips, each):
            first, last = max(start, 0), min(start + strip.shape[1], height)
            strip[:, first - start : last - start] = x[0, :, first:last]
            strip[:, : first - start] = strip[:, last - start :] = -torch.inf
        y, taken = self._pool(strips, 0)
        return _joined(y)[:, :, :rows], Pooled(taken, strips.shape, x.shape[-2:], in_strips=True)

    def back(self, gradient: Tensor, pooled: Pooled) -> Tensor:
        """The gradient to the input, of that to the output."""
        if not pooled.in_strips:
            return self._back(gradient, pooled, self.zeros[0])
        count, channels, *_ = pooled.strips
        height, width = pooled.size
        each = pooled.taken.shape[2]
        gradient = F.pad(gradient, (0, 0, 0, count * each - gradient.shape[2]))
        total = empty((1, channels, height, width), gradient)
        end = 0
        for start, strip in self._starts(self._back(_parted(gradient, count), pooled, 0), each):
            first, last = max(start, 0), min(start + strip.shape[1], height)
            # The last rows of a strip are the first ones of the next.
            total[0, :, first:end] += strip[:, first - start : end - start]
            total[0, :, end:last] = strip[:, end - start : last - start]
            end = last
        total[0, :, end:] = 0
        return total

    def _strips(self, x: Tensor, rows: int) -> int:
        """How many strips of the output's `rows` are worked on at once: one a thread, where that pays."""
        threads = torch.get_num_threads()
        gaps = self._seen(1) < self.stride[0]
        if x.device.type != "cpu" or x.shape[0] > 1 or gaps or (self.stride[0] > 1 and threads <= FEW_THREADS):
            return 1
        return min(threads, rows)

    def _rows(self, height: int) -> int:
        """How many rows come out of `height`: a window begins inside the input, or in the zeros before it."""
        stride, zeros = self.stride[0], self.zeros[0]
        last = height + 2 * zeros - self._seen(1)
        rows = (-(-last // stride) if self.ceil else last // stride) + 1
        return rows - 1 if (rows - 1) * stride >= height + zeros else rows

    def _seen(self, rows: int) -> int:
        """How many rows of the input some neighbouring ones of the output are made of."""
        return (rows - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    def _starts(self, strips: Tensor, each: int) -> Iterator[tuple[int, Tensor]]:
        """Where in the input each strip begins, and the strip."""
        for number, strip in enumerate(strips):
            yield number * each * self.stride[0] - self.zeros[0], strip

    def _pool(self, x: Tensor, zeros: int) -> tuple[Tensor, Tensor]:
        """By torch, with `zeros` around the rows: the largest values, and the pixels that they come from."""
        around = (zeros, self.zeros[1])
        y, taken = F.max_pool2d(x, self.kernel, self.stride, around, self.dilation, self.ceil, return_indices=True)
        return y, taken

    def _back(self, gradient: Tensor, pooled: Pooled, zeros: int) -> Tensor:
        like = empty(pooled.strips, gradient)  # only its shape is asked for
        found: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient,
            like,
            self.kernel,
            self.stride,
            (zeros, self.zeros[1]),
            self.dilation,
            self.ceil,
            pooled.taken,
        )
        return found


def _both(sides: int | Sequence[int]) -> tuple[int, int]:
    """A number for rows and columns."""
    rows, columns = (sides, sides) if isinstance(sides, int) else sides
    return rows, columns


def _joined(strips: Tensor) -> Tensor:
    """Strips `(n, C, h, W)` below each other, `(1, C, n*h, W)`."""
    return strips.permute(0, 2, 3, 1).flatten(0, 1)[None].permute(0, 3, 1, 2)


def _parted(picture: Tensor, count: int) -> Tensor:
    """The inverse of `_joined`."""
    rows = picture[0].permute(1, 2, 0).contiguous()
    return rows.view(count, -1, *rows.shape[1:]).permute(0, 3, 1, 2)

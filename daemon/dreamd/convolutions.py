"""Convolutions with frozen weights, forwards and back, where the gradient to the input is a convolution too.

The way back of a strided one is a small convolution for each *phase*: of every second pixel of a row, the first
ones and the others see different taps of the kernel. On a processor the libraries' own way is slower, for one
channel at a time by ten.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Zeros before and after the rows, and before and after the columns.
Padding = tuple[tuple[int, int], tuple[int, int]]


def same_padding(kernel: int, stride: int, size: int) -> tuple[int, int]:
    """The zeros that TensorFlow's "same" puts before and after an axis of `size`: the odd one goes after."""
    total = max(kernel - (size % stride or stride), 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A convolution with a square kernel that pads as TensorFlow's "same" does, whatever the size of its input."""

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = padding(self, x.shape[-2:])
        return F.conv2d(
            F.pad(x, (left, right, top, bottom)), self.weight, self.bias, self.stride, groups=self.groups
        )


def padding(conv: nn.Conv2d, size: Sequence[int]) -> Padding:
    """The zeros around an input whose sides are `size`."""
    if isinstance(conv, SameConv2d):
        rows, columns = (same_padding(conv.kernel_size[0], conv.stride[0], side) for side in size)
        return rows, columns
    rows, columns = ((int(zeros), int(zeros)) for zeros in conv.padding)
    return rows, columns


@dataclass(frozen=True)
class Phases:
    """Pictures `(n, C, H, W)` of `size` in parts: of part (r, c) are the pixels [r::stride, c::stride]."""

    parts: Mapping[tuple[int, int], Tensor]
    stride: tuple[int, int]
    size: tuple[int, int]

    def where(self, phase: tuple[int, int]) -> tuple[Any, ...]:
        """The index of a part's pixels in the picture."""
        (row, column), (down, right) = phase, self.stride
        return ..., slice(row, None, down), slice(column, None, right)

    def each(self, change: Callable[[tuple[int, int], Tensor], Tensor]) -> Phases:
        """With every part changed."""
        changed = {phase: change(phase, part) for phase, part in self.parts.items()}
        return Phases(changed, self.stride, self.size)

    def joined(self) -> Tensor:
        """The pictures."""
        first = self.parts[0, 0]
        picture = _empty((*first.shape[:2], *self.size), first)
        for phase, part in self.parts.items():
            picture[self.where(phase)] = part
        return picture


class Convolution:
    """The convolution of a module, in the type that its weights have now, and back in `back_dtype`."""

    def __init__(self, conv: nn.Conv2d, back_dtype: torch.dtype) -> None:
        self.conv = conv
        self._weight = conv.weight.detach()
        self._bias = None if conv.bias is None else conv.bias.detach()
        self.back_dtype = back_dtype
        self._forwards: dict[Padding, Tensor] = {}
        self._backwards: dict[Padding, Any] = {}

    @property
    def dtype(self) -> torch.dtype:
        """What the input has to be."""
        return self._weight.dtype

    @property
    def pointwise(self) -> bool:
        """Whether each pixel of the output is made of the same pixel of the input alone."""
        return self.conv.kernel_size == (1, 1) == self.conv.stride and self.conv.padding == (0, 0)

    @property
    def _depthwise(self) -> bool:
        """Whether each channel is convolved alone."""
        return self.conv.groups == self.conv.in_channels == self.conv.out_channels

    def forward(self, x: Tensor, high: float | None) -> Tensor:
        """The convolution of `x (n, C, H, W)`; with `high` between 0 and that, which may be infinite."""
        zeros = padding(self.conv, x.shape[-2:])
        if zeros not in self._forwards:
            self._forwards[zeros] = packed(_symmetric(self._weight, zeros))
        weight, conv = self._forwards[zeros], self.conv
        (_, below), (_, right) = zeros
        if high is not None and _fuses(x.device.type, x.dtype):
            name, bounds = ("relu", []) if math.isinf(high) else ("hardtanh", [0.0, high])
            rectified: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, weight, self._bias, [below, right], conv.stride, conv.dilation, conv.groups, name, bounds, ""
            )
            return rectified
        y = F.conv2d(x, weight, self._bias, conv.stride, (below, right), conv.dilation, conv.groups)
        return y if high is None else y.clamp_(0, high)

    def back(self, gradient: Tensor, size: Sequence[int]) -> Tensor | Phases:
        """The gradient to an input whose sides are `size`, of that to the output."""
        zeros = padding(self.conv, size)
        strided = self.conv.stride != (1, 1)
        if gradient.device.type != "cpu" or (strided and not self._in_phases):
            return self._back(gradient, size, zeros)
        if strided:
            return self._phases(gradient, size, zeros)
        return self._turned(gradient, zeros)

    def back_pointwise(self, gradient: Tensor) -> Tensor:
        """The same of a pointwise convolution, for any part of the picture."""
        return self._turned(gradient, ((0, 0), (0, 0)))

    def _turned(self, gradient: Tensor, zeros: Padding) -> Tensor:
        """The way back without a stride."""
        conv = self.conv
        if zeros not in self._backwards:
            self._backwards[zeros] = packed(_turned(conv, _symmetric(self._weight, zeros)).to(self.back_dtype))
        weight = self._backwards[zeros]
        reach = [
            (kernel - 1) * gap - behind
            for kernel, gap, (_, behind) in zip(weight.shape[2:], conv.dilation, zeros, strict=True)
        ]
        return F.conv2d(gradient, weight, None, 1, reach, conv.dilation, conv.groups)

    def _back(self, gradient: Tensor, size: Sequence[int], zeros: Padding) -> Tensor:
        """The same by torch: on a card, and for the rarest kinds of convolution."""
        if zeros not in self._backwards:
            self._backwards[zeros] = packed(_symmetric(self._weight, zeros).to(self.back_dtype))
        conv, weight, (_, below), (_, right) = self.conv, self._backwards[zeros], *zeros
        # Only its shape is asked for.
        like = _empty((gradient.shape[0], conv.in_channels, *size), gradient)
        found: Tensor
        found, _, _ = torch.ops.aten.convolution_backward(
            gradient, like, weight, None, conv.stride, (below, right), conv.dilation, False, (0, 0), conv.groups,
            (True, False, False),
        )  # fmt: skip
        return found

    @property
    def _in_phases(self) -> bool:
        conv = self.conv
        return (self._depthwise or conv.groups == 1) and conv.dilation == (1, 1)

    def _phases(self, gradient: Tensor, size: Sequence[int], zeros: Padding) -> Tensor | Phases:
        conv = self.conv
        if zeros not in self._backwards:
            taps = [_Taps.of(*each) for each in zip(conv.kernel_size, conv.stride, zeros, strict=True)]
            weight = self._weight.to(self.back_dtype)
            self._backwards[zeros] = _apart(weight, taps) if self._depthwise else _stacked(weight, taps)
        height, width = size
        down, right = conv.stride
        if self._depthwise:
            small: dict[tuple[int, int], _Small] = self._backwards[zeros]
            parts = {
                (row, column): each.over(gradient, (-(-(height - row) // down), -(-(width - column) // right)))
                for (row, column), each in small.items()
            }
            return Phases(parts, (down, right), (height, width))
        rows, columns = -(-height // down), -(-width // right)
        stacked: Tensor = self._backwards[zeros].over(gradient, (rows, columns))
        each = stacked.reshape(-1, conv.in_channels, down, right, rows, columns).permute(0, 1, 4, 2, 5, 3)
        return each.reshape(-1, conv.in_channels, rows * down, columns * right)[..., :height, :width]


@functools.cache
def _fuses(device: str, dtype: torch.dtype) -> bool:
    """Whether this torch has oneDNN's convolution with a rectifier inside."""
    if device != "cpu":
        return False
    x = torch.ones(1, 1, 1, 1, dtype=dtype)
    try:
        y = torch.ops.mkldnn._convolution_pointwise(
            x, x, None, [0, 0], [1, 1], [1, 1], 1, "hardtanh", [0.0, 0.5], ""
        )
    except (AttributeError, RuntimeError):
        return False
    return float(y) == 0.5


def packed(weight: Tensor) -> Tensor:
    """With the channels of a tap side by side, as oneDNN and cuDNN like them best."""
    return weight.contiguous(memory_format=torch.channels_last)


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _symmetric(weight: Tensor, zeros: Padding) -> Tensor:
    """A kernel with the zeros in front that `zeros` has more of behind: it then wants the same on both sides.

    Padding a picture costs a copy of it.
    """
    (top, bottom), (left, right) = zeros
    return F.pad(weight, (right - left, 0, bottom - top, 0))


def _turned(conv: nn.Conv2d, weight: Tensor) -> Tensor:
    """The kernel of the way back without a stride: inputs and outputs exchanged, each turned by half a turn."""
    groups, inputs = conv.groups, conv.in_channels // conv.groups
    apart = weight.reshape(groups, conv.out_channels // groups, inputs, *weight.shape[2:])
    return apart.transpose(1, 2).flatten(0, 1).flip(2, 3)


@dataclass(frozen=True)
class _Taps:
    """Along an axis: of each phase r the taps n and outputs q + d that make the gradient to pixel q*stride + r."""

    phases: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, kernel: int, stride: int, zeros: tuple[int, int]) -> _Taps:
        """Output o takes pixel o*stride - before + n at tap n; pixel i at tap i + before - o*stride."""
        before, _ = zeros
        phases = []
        for phase in range(stride):
            shift, first = divmod(phase + before, stride)
            phases.append(tuple((tap, shift - turn) for turn, tap in enumerate(range(first, kernel, stride))))
        return cls(tuple(phases))


@dataclass(frozen=True)
class _Small:
    """A convolution without stride: `skip` outputs of it come before the first that is wanted."""

    weight: Tensor
    zeros: tuple[int, int]
    skip: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, ends: Sequence[tuple[int, int]], weight: Tensor, groups: int) -> _Small:
        """One that sees the outputs from `q + least` to `q + most` of each axis."""
        zeros = [max(-least, most, 0) for least, most in ends]
        skip = [side + least for side, (least, _) in zip(zeros, ends, strict=True)]
        return cls(packed(weight), (zeros[0], zeros[1]), (skip[0], skip[1]), groups)

    def over(self, gradient: Tensor, size: tuple[int, int]) -> Tensor:
        """The outputs of `size` that are wanted; 0 where the gradient does not reach."""
        (top, left), (height, width) = self.skip, size
        found = F.conv2d(gradient, self.weight, None, 1, self.zeros, 1, self.groups)
        found = found[..., top : top + height, left : left + width]
        below, right = height - found.shape[-2], width - found.shape[-1]
        # Pixels at the end that a stride has left out.
        return F.pad(found, (0, right, 0, below)) if below or right else found


def _kernel(
    weight: Tensor, rows: Sequence[tuple[int, int]], columns: Sequence[tuple[int, int]], ends: Any
) -> Tensor:
    """The kernel `(.., d, d)` over the outputs within `ends` with these taps of `weight (.., n, n)`."""
    (top, bottom), (left, right) = ends
    kernel = weight.new_zeros(*weight.shape[:2], bottom - top + 1, right - left + 1)
    for (row, down), (column, across) in itertools.product(rows, columns):
        kernel[..., down - top, across - left] = weight[..., row, column]
    return kernel


def _ends(taps: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The first and the last output of some taps; of none any will do."""
    outputs = [output for _, output in taps] or [0]
    return min(outputs), max(outputs)


def _apart(weight: Tensor, taps: Sequence[_Taps]) -> dict[tuple[int, int], _Small]:
    """The way back of a convolution of each channel alone: one for each phase."""
    found = {}
    for (row, down), (column, across) in itertools.product(*(enumerate(axis.phases) for axis in taps)):
        ends = _ends(down), _ends(across)
        found[row, column] = _Small.of(ends, _kernel(weight, down, across, ends), weight.shape[0])
    return found


def _stacked(weight: Tensor, taps: Sequence[_Taps]) -> _Small:
    """The way back of a convolution of all channels: one for all phases, which are channels of its output."""
    weight = weight.transpose(0, 1)
    rows, columns = (axis.phases for axis in taps)
    ends = _ends(list(itertools.chain(*rows))), _ends(list(itertools.chain(*columns)))
    kernels = [_kernel(weight, down, across, ends) for down, across in itertools.product(rows, columns)]
    return _Small.of(ends, torch.stack(kernels, 1).flatten(0, 1), 1)

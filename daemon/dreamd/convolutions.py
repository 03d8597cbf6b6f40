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

#: Sizes of inputs for which a weight is kept ready: an octave has windows of no more, and weights may be large.
SIZES = 4

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


def is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether each pixel of the output is made of the same pixel of the input alone."""
    return conv.kernel_size == (1, 1) == conv.stride and conv.padding == (0, 0)


def together(convs: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """One pointwise convolution for several of the same input, which has their outputs' channels in a row."""
    with torch.device("meta"):
        all_of_them = nn.Conv2d(convs[0].in_channels, sum(conv.out_channels for conv in convs), 1)
    for name in ("weight", "bias"):
        each = torch.cat([getattr(conv, name).detach() for conv in convs])
        setattr(all_of_them, name, nn.Parameter(each, requires_grad=False))
    return all_of_them


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
        picture = empty((*first.shape[:2], *self.size), first)
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
        self._forwards: dict[Padding, Kernel] = {}
        self._backwards: dict[Padding, Any] = {}

    @property
    def dtype(self) -> torch.dtype:
        """What the input has to be."""
        return self._weight.dtype

    @property
    def _depthwise(self) -> bool:
        """Whether each channel is convolved alone."""
        return self.conv.groups == self.conv.in_channels == self.conv.out_channels

    def forward(self, x: Tensor, high: float | None) -> Tensor:
        """The convolution of `x (n, C, H, W)`; with `high` between 0 and that, which may be infinite."""
        zeros = padding(self.conv, x.shape[-2:])
        if zeros not in self._forwards:
            weight, conv = _symmetric(self._weight, zeros), self.conv
            (_, below), (_, right) = zeros
            self._forwards[zeros] = Kernel(
                weight, self._bias, conv.stride, (below, right), conv.dilation, conv.groups
            )
        return self._forwards[zeros].over(x, high)

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
            weight = _turned(conv, _symmetric(self._weight, zeros)).to(self.back_dtype)
            reach = [
                (kernel - 1) * gap - behind
                for kernel, gap, (_, behind) in zip(weight.shape[2:], conv.dilation, zeros, strict=True)
            ]
            self._backwards[zeros] = Kernel(weight, None, (1, 1), reach, conv.dilation, conv.groups)
        turned: Kernel = self._backwards[zeros]
        return turned.over(gradient)

    def _back(self, gradient: Tensor, size: Sequence[int], zeros: Padding) -> Tensor:
        """The same by torch: on a card, and for the rarest kinds of convolution."""
        if zeros not in self._backwards:
            self._backwards[zeros] = packed(_symmetric(self._weight, zeros).to(self.back_dtype))
        conv, weight, (_, below), (_, right) = self.conv, self._backwards[zeros], *zeros
        # Only its shape is asked for.
        like = empty((gradient.shape[0], conv.in_channels, *size), gradient)
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


class Kernel:
    """A convolution with weights that never change, made ready for the library that computes it."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        zeros: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> None:
        self._weight, self._bias = packed(weight), bias
        self._how = list(zeros), list(stride), list(dilation), groups
        self._ready: dict[torch.Size, Tensor] = {}

    def over(self, x: Tensor, high: float | None = None) -> Tensor:
        """The convolution of `x (n, C, H, W)`; with `high` between 0 and that, which may be infinite."""
        zeros, stride, dilation, groups = self._how
        if not _onednn(x.device.type, x.dtype):
            y = F.conv2d(x, self._weight, self._bias, stride, zeros, dilation, groups)
            return y if high is None else y.clamp_(0, high)
        name, bounds = _rectifier(high)
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._ready_for(x.shape), self._bias, zeros, stride, dilation, groups, name, bounds, ""
        )
        return found

    def _ready_for(self, size: torch.Size) -> Tensor:
        """The weight in oneDNN's order. In that for another size an input may take twice as long."""
        if size not in self._ready:
            if len(self._ready) == SIZES:
                del self._ready[next(iter(self._ready))]
            self._ready[size] = _reordered(self._weight, *self._how, size)
        return self._ready[size]


def _rectifier(high: float | None) -> tuple[str, list[float]]:
    """What oneDNN calls a rectifier between 0 and `high`, and what it is told of it."""
    if high is None:
        return "none", []
    return ("relu", []) if math.isinf(high) else ("hardtanh", [0.0, high])


def _reordered(
    weight: Tensor, zeros: list[int], stride: list[int], dilation: list[int], groups: int, size: Sequence[int]
) -> Tensor:
    """A weight in the order in which oneDNN reads it for an input of `size`; it would do that at every call."""
    found: Tensor = torch.ops.aten.mkldnn_reorder_conv2d_weight(
        weight.to_mkldnn(), zeros, stride, dilation, groups, list(size)
    )
    return found


@functools.cache
def _onednn(device: str, dtype: torch.dtype) -> bool:
    """Whether this torch has oneDNN's convolution with a rectifier inside, and weights in its own order."""
    if device != "cpu":
        return False
    x = torch.ones(1, 1, 1, 1, dtype=dtype)
    try:
        weight = _reordered(x, [0, 0], [1, 1], [1, 1], 1, x.shape)
        y = torch.ops.mkldnn._convolution_pointwise(
            x, weight, None, [0, 0], [1, 1], [1, 1], 1, *_rectifier(0.5), ""
        )
    except (AttributeError, RuntimeError):
        return False
    return float(y) == 0.5


def packed(weight: Tensor) -> Tensor:
    """With the channels of a tap side by side, as oneDNN and cuDNN like them best."""
    return weight.contiguous(memory_format=torch.channels_last)


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Memory for pictures of a shape, with the channels of a pixel side by side."""
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

    kernel: Kernel
    skip: tuple[int, int]

    @classmethod
    def of(cls, ends: Sequence[tuple[int, int]], weight: Tensor, groups: int) -> _Small:
        """One that sees the outputs from `q + least` to `q + most` of each axis."""
        zeros = [max(-least, most, 0) for least, most in ends]
        skip = [side + least for side, (least, _) in zip(zeros, ends, strict=True)]
        return cls(Kernel(weight, None, (1, 1), zeros, (1, 1), groups), (skip[0], skip[1]))

    def over(self, gradient: Tensor, size: tuple[int, int]) -> Tensor:
        """The outputs of `size` that are wanted; 0 where the gradient does not reach."""
        (top, left), (height, width) = self.skip, size
        found = self.kernel.over(gradient)[..., top : top + height, left : left + width]
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

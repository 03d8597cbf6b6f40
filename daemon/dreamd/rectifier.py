"""The way back through a rectifier: what it has let through, and nothing else."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor


def let_through(gradient: Tensor, outputs: Tensor, high: float, *, in_place: bool) -> Tensor:
    """The gradient where the `outputs` of a rectifier from 0 to `high` lie between the two, and 0 elsewhere."""
    outputs = outputs.to(gradient.dtype)
    if gradient.dtype == torch.bfloat16 and gradient.device.type == "cpu":
        # torch computes with bfloat16 in float32; with its bits, as whole numbers, this takes half the time.
        bits = gradient.view(torch.int16)
        between = _is_between(outputs, high)
        return torch.mul(bits, between, out=bits if in_place else None).view(torch.bfloat16)
    place = {"grad_input": gradient} if in_place else {}
    found: Tensor
    if math.isinf(high):
        found = torch.ops.aten.threshold_backward(gradient, outputs, 0, **place)
    else:
        found = torch.ops.aten.hardtanh_backward(gradient, outputs, 0, high, **place)
    return found


def _is_between(outputs: Tensor, high: float) -> Tensor:
    """1 where bfloat16 `outputs` lie between 0 and `high`, 0 where they are at an end."""
    bits = outputs.view(torch.int16)  # of numbers from 0 on, the bits are in their order
    if math.isinf(high):
        return bits.clamp(0, 1)
    return torch.minimum(_bits(high) - bits, bits).clamp_(0, 1)


@functools.cache
def _bits(number: float) -> int:
    return int(torch.tensor(number, dtype=torch.bfloat16).view(torch.int16))

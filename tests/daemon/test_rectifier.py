"""What a rectifier lets through on the way back: in bfloat16 by the bits of its outputs, as torch says it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dreamd.rectifier import let_through


def outputs(high: float, dtype: torch.dtype) -> Tensor:
    """Of a rectifier: many at its ends, the next ones to them, and zeros of both signs."""
    torch.manual_seed(0)
    most = 6.0 if math.isinf(high) else high
    found = (torch.rand(1, 5, 7, 9) * 1.5 * most - most / 4).clamp(0, high).to(dtype)
    ends = torch.tensor([0.0, -0.0, 1e-38, most], dtype=dtype)
    ends = torch.cat([ends, torch.nextafter(ends[3:], ends[:1])])
    found.view(-1)[: len(ends)] = ends
    return found.contiguous(memory_format=torch.channels_last)


def as_torch_says(gradient: Tensor, outputs: Tensor, high: float) -> Tensor:
    found: Tensor = torch.ops.aten.hardtanh_backward(
        gradient, outputs, 0, min(high, torch.finfo(gradient.dtype).max)
    )
    return found


@pytest.mark.parametrize("in_place", [False, True], ids=["apart", "in place"])
@pytest.mark.parametrize("high", [6.0, 1.0, math.inf], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_it_lets_through_what_torch_lets_through(dtype: torch.dtype, high: float, in_place: bool) -> None:
    rectified = outputs(high, dtype)
    gradient = torch.randn_like(rectified)
    given = gradient.clone()
    expected = as_torch_says(gradient, rectified, high)
    found = let_through(given, rectified, high, in_place=in_place)
    assert torch.equal(found, expected)
    assert torch.equal(given, expected if in_place else gradient)


def test_every_second_pixel_is_treated_as_all_are() -> None:
    rectified = outputs(6.0, torch.bfloat16)
    gradient = torch.randn_like(rectified)
    expected = as_torch_says(gradient, rectified, 6.0)
    part = gradient[..., 1::2, ::2]
    assert torch.equal(let_through(part, rectified[..., 1::2, ::2], 6.0, in_place=True), expected[..., 1::2, ::2])
    assert torch.equal(gradient[..., 1::2, ::2], expected[..., 1::2, ::2])


def test_outputs_that_are_finer_than_the_gradient_are_rounded_first() -> None:
    rectified = outputs(6.0, torch.float32)
    gradient = torch.randn_like(rectified).bfloat16()
    expected = as_torch_says(gradient, rectified.bfloat16(), 6.0)
    assert torch.equal(let_through(gradient, rectified, 6.0, in_place=False), expected)

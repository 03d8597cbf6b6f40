"""What is dreamt on and on keeps its light, and gains no more contrast than a photograph has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dreamd.core.palette import COLOUR, LIGHT, held

EVERYWHERE = torch.ones(40, 40, dtype=torch.bool)


def noise(light: float, colour: float, mean: float = 0.5) -> Tensor:
    dice = torch.Generator().manual_seed(4)
    gray, hue = torch.randn(1, 40, 40, generator=dice), torch.randn(3, 40, 40, generator=dice)
    return mean + light * gray + colour * (hue - hue.mean(0))


def contrast(image: Tensor) -> tuple[float, float]:
    image = image - image.mean((1, 2), keepdim=True)
    gray = image.mean(0, keepdim=True)
    return tuple(float(part.square().mean().sqrt()) for part in (gray, image - gray))  # type: ignore[return-value]


def test_what_burns_is_brought_back_to_a_photographs_contrast_and_its_own_light() -> None:
    source = noise(0.05, 0.01, mean=0.4)
    found = held(noise(0.25, 0.2, mean=0.6), source, EVERYWHERE)
    torch.testing.assert_close(found.mean((1, 2)), source.mean((1, 2)), rtol=0, atol=0.02)
    assert contrast(found) == pytest.approx((LIGHT, COLOUR), rel=0.1)


def test_a_picture_of_strong_contrast_keeps_it() -> None:
    source = noise(0.1, 0.12)
    found = held(noise(0.12, 0.15), source, EVERYWHERE)
    assert contrast(found) == pytest.approx((0.12, contrast(source)[1]), rel=0.1)


def test_what_does_not_burn_stays_as_it_is() -> None:
    source = noise(0.1, 0.02)
    made = source.flip(2)
    torch.testing.assert_close(held(made, source, EVERYWHERE), made)


def test_values_stay_between_black_and_white_unless_the_picture_lies_beyond() -> None:
    source = torch.full((3, 40, 40), 0.05)
    source[:, 0] = 3
    found = held(noise(0.5, 0.2), source, EVERYWHERE)
    assert found.min() == 0
    assert found[:, 1:].max() <= 1
    assert found[:, 0].max() > 1
    assert held(torch.rand(1, 1, 1), torch.rand(1, 1, 1), torch.ones(1, 1, dtype=torch.bool)).isfinite().all()

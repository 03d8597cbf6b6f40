"""Enlarging: what Lanczos is elsewhere, and the same bits wherever one cuts."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dreamd.core.resample import enlarged, lanczos, linear, zoomed

SCALES = [Fraction(2), Fraction(3, 2), Fraction(7, 3), Fraction(11, 10), Fraction(8)]


def picture(height: int, width: int) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_lanczos_is_what_pillow_makes_of_it(scale: Fraction) -> None:
    image = picture(60, 30)
    found = lanczos(image, scale)
    size = enlarged(60, scale), enlarged(30, scale)
    assert found.shape == (3, *size)
    for channel, expected in zip(found, image, strict=True):
        # What is not whole of a pixel is left out here, so the box is what is shown of the source.
        pillow = Image.fromarray(expected.numpy()).resize(
            size[::-1], Image.Resampling.LANCZOS, box=(0, 0, float(size[1] / scale), float(size[0] / scale))
        )
        rim = math.ceil(3 * scale) + 1  # where Pillow shows less, and here the outermost pixels go on
        inner = np.s_[rim:-rim, rim:-rim]
        np.testing.assert_allclose(channel.numpy()[inner], np.asarray(pillow)[inner], atol=1e-5)


@pytest.mark.parametrize("resample", [lanczos, linear])
@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_a_crop_that_begins_at_a_whole_pixel_gives_the_bits_of_the_whole(
    resample: Callable[[Tensor, Fraction], Tensor], scale: Fraction
) -> None:
    image, grid = picture(70, 90), scale.denominator
    top, left = 2 * grid, 4 * grid
    part = resample(image[:, top : top + 31, left : left + 40].contiguous(), scale)
    down, right = int(top * scale), int(left * scale)
    rim = math.ceil(3 * scale) + 1  # what the crop's own edge reaches
    inner = np.s_[:, rim : part.shape[1] - rim, rim : part.shape[2] - rim]
    whole = resample(image, scale)[:, down : down + part.shape[1], right : right + part.shape[2]]
    assert torch.equal(whole[inner].contiguous().view(torch.int32), part[inner].contiguous().view(torch.int32))


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_a_plain_colour_stays_plain_and_a_mask_in_its_range(scale: Fraction) -> None:
    large = lanczos(torch.full((1, 9, 7), 0.3), scale)
    torch.testing.assert_close(large, torch.full_like(large, 0.3))
    mask = (picture(20, 20)[:1] > 0.5).float()
    large = linear(mask, scale)
    assert float(large.min()) == 0
    assert float(large.max()) <= 1 + 1e-6


def test_a_single_pixel_is_enlarged() -> None:
    assert torch.allclose(lanczos(torch.full((3, 1, 1), 2.5), Fraction(4)), torch.full((3, 4, 4), 2.5))


def test_zoomed_by_nothing_is_as_it_was() -> None:
    image = torch.rand(3, 17, 12, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(zoomed(image, 1.0), image, rtol=0, atol=1e-6)


def test_zooming_keeps_the_centre_and_turns_clockwise() -> None:
    image = torch.rand(3, 15, 15, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(zoomed(image, 1.5, 30)[:, 7, 7], image[:, 7, 7], rtol=0, atol=1e-6)
    torch.testing.assert_close(zoomed(image, 1.0, 90), image.rot90(-1, (1, 2)), rtol=0, atol=1e-5)


def test_zooming_stretches_what_is_in_the_middle() -> None:
    ramp = torch.linspace(0, 1, 41).expand(1, 20, 41)
    expected = 0.5 + (torch.arange(41) - 20) / 80
    torch.testing.assert_close(zoomed(ramp, 2.0)[0, 10, 4:-4], expected[4:-4], rtol=0, atol=2e-3)


@pytest.mark.parametrize("degrees", [0.0, 45.0])
def test_what_is_plain_stays_plain_and_a_single_pixel_too(degrees: float) -> None:
    torch.testing.assert_close(zoomed(torch.full((2, 3, 30), 0.3), 1.2, degrees), torch.full((2, 3, 30), 0.3))
    torch.testing.assert_close(zoomed(torch.full((1, 1, 1), 0.3), 1.2, degrees), torch.full((1, 1, 1), 0.3))

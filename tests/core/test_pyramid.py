"""Resizing and normalising."""

from __future__ import annotations

import pytest
import torch

from dreamd.core.pyramid import Support, expand, normalise, octave_sizes, reduce, resize_mask, rms


@pytest.mark.parametrize(
    ("size", "octaves", "scale", "expected"),
    [
        pytest.param((100, 200), 1, 1.4, [(100, 200)], id="one octave is the picture itself"),
        pytest.param((100, 200), 3, 2.0, [(25, 50), (50, 100), (100, 200)], id="halves"),
        pytest.param((333, 1), 3, 1.4, [(170, 1), (238, 1), (333, 1)], id="never below one pixel"),
    ],
)
def test_octave_sizes(size: tuple[int, int], octaves: int, scale: float, expected: list[tuple[int, int]]) -> None:
    assert octave_sizes(*size, octaves, scale) == expected


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (17, 33), (64, 64)], ids=str)
def test_expanding_undoes_reducing_for_what_is_smooth(size: tuple[int, int]) -> None:
    image = torch.full((3, *size), 0.7)
    low = reduce(image)
    assert low.shape == (3, -(-size[0] // 2), -(-size[1] // 2))
    torch.testing.assert_close(expand(low, size), image)


@pytest.mark.parametrize("levels", [0, 1, 4, 8])
@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e15], ids=str)
def test_a_gradient_of_any_size_is_brought_to_size_one_over_the_region(levels: int, scale: float) -> None:
    dice = torch.Generator().manual_seed(1)
    gradients = [torch.randn(3, 40, 51, generator=dice) * scale, torch.randn(3, 7, 9, generator=dice) * scale]
    supports = [Support((torch.rand(40, 51, generator=dice) > 0.3).float()), Support(torch.ones(7, 9))]
    out = normalise([each.clone() for each in gradients], supports, levels)
    assert rms(out, supports) == pytest.approx(1, rel=1e-4)
    again = normalise([each / scale for each in gradients], supports, levels)
    for one, other in zip(out, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_pyramid_gives_every_band_its_share() -> None:
    """Fine noise ten times as strong as a broad slope drowns it in the plain gradient, not in the levelled."""
    slope = torch.linspace(-1, 1, 64).expand(3, 64, 64)
    noise = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(2)) * 10
    plain, levelled = (normalise([slope + noise], [Support(torch.ones(64, 64))], levels)[0] for levels in (0, 4))

    def correlation(image: torch.Tensor) -> float:
        return float((image * slope).mean() / (image.square().mean() * slope.square().mean()).sqrt())

    assert correlation(levelled) > 3 * correlation(plain)


def test_without_colour_all_channels_change_alike() -> None:
    gradient = torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(4))
    (muted,) = normalise([gradient.clone()], [Support(torch.ones(20, 20))], 0, colour=0.0)
    torch.testing.assert_close(muted[0], muted[1])
    assert rms([muted], [Support(torch.ones(20, 20))]) == pytest.approx(1, rel=1e-5)
    hues = [
        float(each.std(0).mean())
        for colour in (0.3, 1.0)
        for each in normalise([gradient.clone()], [Support(torch.ones(20, 20))], 0, colour)
    ]
    assert hues[0] < 0.6 * hues[1]


def test_no_gradient_is_no_step_and_no_nan() -> None:
    (out,) = normalise([torch.zeros(3, 9, 9)], [Support(torch.ones(9, 9))], 4)
    assert not out.any()


def test_reducing_a_mask_loses_no_pixel() -> None:
    mask = torch.zeros(100, 77)
    mask[63, 51] = 1
    assert float(resize_mask(mask, (7, 5)).sum()) > 0

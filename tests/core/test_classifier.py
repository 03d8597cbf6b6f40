"""What a network sees in a region, and where: the promises of classifiers and maps, on a small network."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dreamd.core.classifier import Classifier
from dreamd.core.measure import View, region_means
from dreamd.core.region import Box, EmptyRegionError
from dreamd.core.saliency import Samples, cam, gradient, saliency, smooth
from fake_network import FakeNetwork, Layer

#: Like the sides of the pictures that real networks were trained on, only smaller.
SIDE, AROUND = 40, 10


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(7))


def spot(height: int, width: int, box: Box, value: float = 1.0) -> Tensor:
    mask = torch.zeros(height, width)
    mask[box.index] = value
    return mask


def classifier(mask: Tensor, *, window: int = 1024, side: float = SIDE) -> Classifier:
    return Classifier(FakeNetwork(), "high", View.of(mask, side, AROUND), AROUND, window)


SIZES = [(1, 1), (1, 9), (3, 200), (200, 3), (40, 40), (64, 50), (300, 220)]


@pytest.mark.parametrize("size", SIZES)
def test_regions_of_any_size_are_shown_as_large_as_training_pictures(size: tuple[int, int]) -> None:
    height, width = size
    mask = spot(height + 30, width + 40, Box(10, 15, height + 10, width + 15))
    view = View.of(mask, SIDE, AROUND)
    shown = view.show(picture(*mask.shape))
    assert shown.shape[1:] == view.mask.shape
    # Sides are whole pixels, and edges of the mask are soft where it is enlarged.
    assert float(view.mask.sum()) == pytest.approx(SIDE**2, rel=0.15)


@pytest.mark.parametrize("side", [32, 64])
def test_scores_and_gradients_are_the_same_in_windows_as_at_once(side: int) -> None:
    mask, source, weights = spot(90, 120, Box(20, 30, 70, 100)), picture(90, 120), torch.linspace(-1, 1, 8)
    whole, parts = classifier(mask, side=80), classifier(mask, side=80, window=side)
    torch.testing.assert_close(parts.scores(source), whole.scores(source), rtol=1e-4, atol=1e-5)
    expected = whole.gradient(source, weights)
    torch.testing.assert_close(
        parts.gradient(source, weights), expected, rtol=0, atol=1e-4 * float(expected.abs().max())
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(60, 70), (6, 50)])
def test_the_gradient_says_how_scores_change(size: tuple[int, int], channels: int) -> None:
    """Small regions are enlarged for the network, large ones reduced: the gradient comes back through that."""
    source, weights = picture(*size, channels), torch.linspace(-1, 1, 8)
    each = classifier(spot(*size, Box(1, 5, size[0] - 1, 45)))
    direction = picture(*size, channels) - 0.5
    found = float((each.gradient(source, weights) * direction).sum())
    ahead, behind = (float(each.scores(source + step * direction) @ weights) for step in (0.01, -0.01))
    assert found == pytest.approx((ahead - behind) / 0.02, rel=0.05)


def test_only_the_region_is_told_of() -> None:
    source, mask = picture(90, 90), spot(90, 90, Box(30, 30, 60, 60))
    far = source.clone()
    far[:, :8] = far[:, -8:] = 0
    scores = region_means(FakeNetwork(), "high", source, mask, context=12, window=1024)
    assert torch.equal(region_means(FakeNetwork(), "high", far, mask, context=12, window=1024), scores)
    near = source.clone()
    near[:, 40:50, 40:50] = 0
    assert not torch.equal(region_means(FakeNetwork(), "high", near, mask, context=12, window=1024), scores)


def test_no_region_is_an_error() -> None:
    with pytest.raises(EmptyRegionError):
        View.of(torch.zeros(5, 5), SIDE, AROUND)


class Colours:
    """Two classes, red and green: how much more of it than of the other there is in cells of 4x4 pixels."""

    layers = {"classes": Layer(0, 3, 4)}  # noqa: RUF012
    at_once = 0

    def features(self, pixels: Tensor, _names: Sequence[str]) -> list[Tensor]:
        red = F.avg_pool2d(pixels, 4)[:, :1] - F.avg_pool2d(pixels, 4)[:, 1:2]
        return [torch.cat([red, -red], 1)]


RED, GREEN = torch.tensor([1.0, 0]), torch.tensor([0, 1.0])


def colours(mask: Tensor, side: float = SIDE) -> Classifier:
    return Classifier(Colours(), "classes", View.of(mask, side, AROUND), AROUND, 1024)


def last(samples: Samples, each: Classifier, mask: Tensor) -> Tensor:
    *_, progress = saliency(samples, each, mask)
    return progress.picture()


@pytest.mark.parametrize("centre", [(9, 14), (20, 33), (35, 5)])
@pytest.mark.parametrize("scale", [1, 3])
def test_an_activation_map_is_white_where_the_thing_is(centre: tuple[int, int], scale: int) -> None:
    height, width = 48 * scale, 40 * scale
    y, x = ((each + 0.5) * scale for each in centre)
    source, box = torch.zeros(3, height, width), Box(int(y - 4), int(x - 4), int(y + 5), int(x + 5))
    source[0][box.index] = 1
    mask = torch.ones(height, width)
    found = last(cam([colours(mask)], source, RED, 16), colours(mask), mask)[0]
    rows, columns = found.sum(1), found.sum(0)
    assert float(rows @ torch.arange(height).float()) / float(rows.sum()) == pytest.approx(y, abs=1.5 * scale)
    assert float(columns @ torch.arange(width).float()) / float(columns.sum()) == pytest.approx(x, abs=1.5 * scale)
    assert not last(cam([colours(mask)], source, GREEN, 16), colours(mask), mask).any()


METHODS = {
    "cam": lambda each, source, seed: cam([each], source, torch.linspace(-1, 1, 8), 4),
    "smooth": lambda each, source, seed: smooth(each, source, torch.linspace(-1, 1, 8), 3, seed),
    "gradient": lambda each, source, seed: gradient(each, source, torch.linspace(-1, 1, 8)),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", METHODS)
def test_maps_reach_from_0_to_1_and_fade_with_the_mask(method: str, size: tuple[int, int], channels: int) -> None:
    source, mask = 3 * picture(*size, channels) - 1, torch.ones(*size)
    mask[0, 0] = 0.25
    each = classifier(mask)
    *_, progress = saliency(METHODS[method](each, source, 1), each, mask)
    found = progress.picture()
    assert found.shape == (1, progress.region.height, progress.region.width)
    assert float(found.min()) >= 0
    assert float(found[0, 0, 0]) <= 0.25
    assert float(found.max()) == (1 if size != (1, 1) else 0.25)


def test_outside_the_region_a_map_is_black() -> None:
    source, mask = picture(60, 60), spot(60, 60, Box(10, 10, 50, 50))
    mask[20:30, 20:30] = 0
    each = classifier(mask)
    *_, progress = saliency(METHODS["smooth"](each, source, 1), each, mask)
    assert progress.region == Box(10, 10, 50, 50)
    assert not progress.picture()[:, 10:20, 10:20].any()
    assert progress.picture().any()


def test_the_seed_makes_the_noise() -> None:
    source, mask = picture(50, 50), torch.ones(50, 50)
    each = classifier(mask)
    one, again, other = (last(METHODS["smooth"](each, source, seed), each, mask) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_map_is_told_of_sample_by_sample() -> None:
    source, mask = picture(30, 30), torch.ones(30, 30)
    each = classifier(mask)
    steps = list(saliency(smooth(each, source, torch.ones(8), 5, 0), each, mask))
    assert [(step.step, step.steps, step.fraction) for step in steps] == [(n, 5, n / 5) for n in range(1, 6)]
    assert len(list(saliency(cam([each, each], source, torch.ones(8), 9), each, mask))) == 18

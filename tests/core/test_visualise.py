"""Pictures of what a network has in mind, on a network small enough to try every shape."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamd.core.measure import region_means
from dreamd.core.objectives import Energy, Objective, Score
from dreamd.core.progress import Progress
from dreamd.core.region import Box, EmptyRegionError
from dreamd.core.visualise import Settings, visualise
from fake_network import FakeNetwork, ValidNetwork

CHANNEL = Objective((Score("high", 3),))
QUICK = Settings(side=48, most=64, steps=6)
REGION = Box(10, 20, 50, 70)


def source(channels: int = 3, seed: int = 7) -> Tensor:
    return torch.rand(channels, 60, 80, generator=torch.Generator().manual_seed(seed))


def spot(value: float = 1.0) -> Tensor:
    mask = torch.zeros(60, 80)
    mask[REGION.index] = value
    return mask


def steps(
    picture: Tensor, mask: Tensor, settings: Settings = QUICK, objective: Objective = CHANNEL
) -> list[Progress]:
    return list(visualise(FakeNetwork(), objective, picture, mask, settings))


def made(picture: Tensor, mask: Tensor, settings: Settings = QUICK, objective: Objective = CHANNEL) -> Tensor:
    """The whole picture with its region filled."""
    progress = steps(picture, mask, settings, objective)[-1]
    result = picture.clone()
    result[progress.region.index] = progress.picture()
    return result


@pytest.mark.parametrize("channels", [1, 3])
def test_the_region_becomes_what_excites_the_channel_most(channels: int) -> None:
    picture, mask = source(channels), spot()
    result = made(picture, mask, replace(QUICK, steps=60))
    rival = made(picture, mask, replace(QUICK, steps=60), Objective((Score("high", 3, -1.0),)))
    chance, high, low = (
        float(region_means(FakeNetwork(), "high", each, mask, context=20, window=1024)[3])
        for each in (picture, result, rival)
    )
    assert low < chance < high


def test_nothing_outside_the_region_changes_and_nothing_inside_matters() -> None:
    picture, mask = source(), spot()
    picture[:, :9] = torch.tensor([-0.0, 3.5, -2.0, 1e-40, 1e30]).repeat(16)
    mask[20:25, 30:35] = 0
    result, other = made(picture, mask), made(source(seed=8), mask)
    assert torch.equal(result[:, mask == 0].view(torch.int32), picture[:, mask == 0].view(torch.int32))
    assert torch.equal(result[:, mask > 0], other[:, mask > 0])
    assert 0 <= float(result[:, mask > 0].min()) < float(result[:, mask > 0].max()) <= 1


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_picture() -> None:
    assert torch.equal(made(source(), spot()), made(source(), spot()))
    assert not torch.equal(made(source(), spot()), made(source(), spot(), replace(QUICK, seed=1)))


def test_a_soft_mask_lays_it_over_the_picture() -> None:
    picture, mask = source(), spot(0.25)
    full = made(picture, mask, replace(QUICK, blended=False))
    torch.testing.assert_close(torch.lerp(picture, full, mask), made(picture, mask))


def test_without_colour_it_is_gray_and_contrast_takes_it_from_gray() -> None:
    gray = made(source(), spot(), replace(QUICK, colour=0.0))[REGION.index]
    light = gray.mean(0, keepdim=True)
    assert float((gray - light).abs().max()) < 0.1 * float((light - 0.5).abs().max())
    deviations = [
        float((made(source(), spot(), replace(QUICK, contrast=contrast))[REGION.index] - 0.5).square().mean())
        for contrast in (0.3, 1.0, 3.0)
    ]
    assert deviations == sorted(deviations)


@pytest.mark.parametrize("robustness", [0.0, 1.0, 2.0])
def test_however_large_the_region_no_more_than_the_most_is_shown_at_once(robustness: float) -> None:
    network = FakeNetwork()
    settings = replace(QUICK, side=400.0, most=64.0, robustness=robustness)
    for _ in visualise(network, CHANNEL, torch.zeros(3, 300, 600), torch.ones(300, 600), settings):
        pass
    most = 64 * math.sqrt(2) + 4 + 1  # a region twice as wide as high, on the network's grid
    assert max(max(size) for size in network.shown) <= most


def test_large_things_fill_the_region_with_lower_frequencies_than_small_ones() -> None:
    """How much the picture changes from pixel to pixel, over how much it varies in all."""

    def roughness(side: float) -> float:
        picture = made(source(), torch.ones(60, 80), replace(QUICK, side=side, steps=30)).mean(0)
        return float(picture.diff(dim=0).square().mean() / picture.var())

    assert roughness(24) < roughness(48) < roughness(96)


def test_every_step_can_be_the_last_and_the_end_is_told() -> None:
    progress = steps(source(), spot())
    assert [each.step for each in progress if each.window == each.windows] == [1, 2, 3, 4, 5, 6]
    assert [each.fraction for each in progress] == sorted({each.fraction for each in progress})
    assert progress[-1].fraction == 1
    assert progress[0].region == REGION


def test_terms_of_unlike_strength_count_by_their_weights() -> None:
    """A term that is a thousand times as strong does not drown the other."""
    both = Objective((Energy("low", 1.0), Score("high", 3, 1.0)))
    results = [
        made(source(), spot(), objective=objective)
        for objective in (both, Objective(both.terms[:1]), Objective(both.terms[1:]))
    ]
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("network", [FakeNetwork(), ValidNetwork()], ids=["padded", "without padding"])
@pytest.mark.parametrize("size", [(1, 1), (1, 97), (97, 2), (5, 7), (64, 64)])
@pytest.mark.parametrize("channels", [1, 3])
def test_regions_of_every_shape_are_filled(network: FakeNetwork, size: tuple[int, int], channels: int) -> None:
    *_, progress = visualise(network, CHANNEL, torch.zeros(channels, *size), torch.ones(size), QUICK)
    picture = progress.picture()
    assert picture.shape == (channels, *size)
    assert picture.isfinite().all()
    assert 0 <= float(picture.min()) <= float(picture.max()) <= 1


def test_speckled_masks_are_filled() -> None:
    mask = (torch.rand(60, 80, generator=torch.Generator().manual_seed(3)) > 0.995).float()
    result = made(torch.zeros(3, 60, 80), mask, replace(QUICK, side=200.0))
    assert (result[:, mask > 0] != 0).all()
    assert (result[:, mask == 0] == 0).all()


def test_an_empty_mask_is_an_error() -> None:
    with pytest.raises(EmptyRegionError):
        next(visualise(FakeNetwork(), CHANNEL, source(), torch.zeros(60, 80), QUICK))

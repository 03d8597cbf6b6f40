"""Changes that deceive a network: how large they are and where, on a network small enough to try everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamd.core.adversarial import OutOfReachError, Settings, attack
from dreamd.core.classifier import Classifier
from dreamd.core.measure import View
from dreamd.core.progress import Progress
from dreamd.core.region import Box, EmptyRegionError
from fake_network import FakeNetwork

REGION = Box(15, 20, 45, 60)


def source(channels: int = 3) -> Tensor:
    """A picture in whole steps of 8 bits, with black and white in it."""
    dice = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (channels, 60, 80), generator=dice).float() / 255


def spot(value: float = 1.0) -> Tensor:
    mask = torch.zeros(60, 80)
    mask[REGION.index] = value
    return mask


def classifier(mask: Tensor) -> Classifier:
    return Classifier(FakeNetwork(), "high", View.of(mask, 40, 10), 10, 1024)


def second(picture: Tensor, mask: Tensor) -> int:
    """The class that is the second most probable."""
    return int(classifier(mask).scores(picture).argsort()[-2])


def last(picture: Tensor, mask: Tensor, settings: Settings) -> Progress:
    *_, progress = attack(classifier(mask), picture, mask, settings)
    return progress


def attacked(picture: Tensor, mask: Tensor, settings: Settings) -> Tensor:
    progress = last(picture, mask, settings)
    result = picture.clone()
    result[progress.region.index] = progress.picture()
    return result


#: The classes of the small network are all about as probable, so it is enough to be the first of them.
QUICK = Settings(0, epsilon=40, confidence=0.0, steps=80)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_is_deceived_by_whole_steps_of_8_bits_within_epsilon(channels: int) -> None:
    picture, mask = source(channels), spot()
    target = second(picture, mask)
    result = attacked(picture, mask, replace(QUICK, target=target))
    assert int(classifier(mask).scores(result).argmax()) == target
    change = (result - picture) * 255
    assert 0 < float(change.abs().max()) <= 40.01
    torch.testing.assert_close(change, change.round(), rtol=0, atol=1e-3)
    assert torch.equal(result[:, mask == 0].view(torch.int32), picture[:, mask == 0].view(torch.int32))
    assert float(result.min()) >= 0
    assert float(result.max()) <= 1


def test_where_the_mask_is_soft_less_may_change() -> None:
    picture, mask = source(), spot()
    mask[15:30] *= 0.3
    result = attacked(picture, mask, replace(QUICK, target=second(picture, mask), epsilon=51))
    change = (result - picture).abs() * 255
    assert float(change[:, 15:30].max()) <= 0.3 * 51
    assert float(change[:, 30:45].max()) > 0


def test_values_beyond_black_and_white_go_no_further() -> None:
    picture, mask = 1.4 * source() - 0.2, spot()
    result = attacked(picture, mask, replace(QUICK, target=second(picture, mask), epsilon=60))
    assert (result[picture > 1] <= picture[picture > 1]).all()
    assert (result[picture < 0] >= picture[picture < 0]).all()
    inside = result[(picture >= 0) & (picture <= 1)]
    assert -1e-4 < float(inside.min()) <= float(inside.max()) < 1.0001


def test_a_longer_search_finds_no_larger_change() -> None:
    picture, mask = source(), spot()
    settings = replace(QUICK, target=second(picture, mask))
    sizes = [
        float((attacked(picture, mask, replace(settings, steps=steps)) - picture).square().mean())
        for steps in (60, 90, 120)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_the_same_search_has_the_same_bytes() -> None:
    picture, mask = source(), spot()
    settings = replace(QUICK, target=second(picture, mask), steps=60)
    assert torch.equal(attacked(picture, mask, settings), attacked(picture, mask, settings))


def test_what_is_already_taken_for_the_class_is_left_as_it_is() -> None:
    picture, mask = source(), spot()
    target = int(classifier(mask).scores(picture).argmax())
    progress = last(picture, mask, replace(QUICK, target=target))
    assert progress.step == 1
    assert torch.equal(progress.picture(), picture[REGION.index])


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Settings(0, epsilon=1, confidence=0.999, steps=5), id="too sure"),
        pytest.param(Settings(0, epsilon=1, confidence=0.9, steps=1), id="too short"),
    ],
)
def test_what_cannot_be_reached_says_how_near_it_came(settings: Settings) -> None:
    picture, mask = source(), spot()
    with pytest.raises(OutOfReachError) as caught:
        last(picture, mask, settings)
    assert 0 < caught.value.best < settings.confidence


def test_where_the_mask_leaves_no_room_nothing_changes() -> None:
    picture, mask = source(), spot(0.1)  # a tenth of 8 steps is none
    with pytest.raises(OutOfReachError):
        last(picture, mask, Settings(second(picture, mask), epsilon=8, confidence=0.0, steps=3))


def test_an_empty_mask_is_an_error() -> None:
    with pytest.raises(EmptyRegionError):
        next(attack(classifier(spot()), source(), torch.zeros(60, 80), QUICK))


@pytest.mark.parametrize("size", [(1, 1), (3, 200)])
def test_regions_of_any_size_can_be_searched(size: tuple[int, int]) -> None:
    picture = torch.rand(3, *size, generator=torch.Generator().manual_seed(3))
    mask = torch.ones(size)
    result = attacked(picture, mask, Settings(3, epsilon=255, confidence=0.0, steps=200))
    assert int(classifier(mask).scores(result).argmax()) == 3

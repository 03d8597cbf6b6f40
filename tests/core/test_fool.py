"""Pictures that fool a network, on one small enough to be fooled in a blink."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamd.core.adversarial import OutOfReachError
from dreamd.core.classifier import Classifier
from dreamd.core.fool import ENCODINGS, Settings, fool
from dreamd.core.measure import View
from dreamd.core.progress import Progress
from dreamd.core.region import Box, EmptyRegionError
from fake_network import FakeNetwork

REGION = Box(15, 20, 45, 60)
#: The small network is sure of nothing: among its 8 classes a quarter is much.
QUICK = Settings(target=3, confidence=0.2, steps=300)

encodings = pytest.mark.parametrize("encoding", ENCODINGS)


def source(channels: int = 3, seed: int = 7) -> Tensor:
    """A picture in whole steps of 8 bits."""
    dice = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (channels, 60, 80), generator=dice).float() / 255


def spot(value: float = 1.0) -> Tensor:
    mask = torch.zeros(60, 80)
    mask[REGION.index] = value
    return mask


def classifier(mask: Tensor) -> Classifier:
    return Classifier(FakeNetwork(), "high", View.of(mask, 40, 10), 10, 1024)


def fooled(picture: Tensor, mask: Tensor, settings: Settings) -> tuple[Tensor, list[Progress]]:
    """The whole picture with its region filled, and the way there."""
    steps = list(fool(classifier(mask), picture, mask, settings))
    result = picture.clone()
    result[steps[-1].region.index] = steps[-1].picture()
    return result, steps


@encodings
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_is_as_sure_as_it_was_to_become_of_what_8_bits_hold(encoding: str, channels: int) -> None:
    picture, mask = source(channels), spot()
    result, steps = fooled(picture, mask, replace(QUICK, encoding=encoding))
    stored = (result * 255).round().to(torch.uint8)
    shares = classifier(mask).scores(stored.float() / 255).softmax(0)
    assert float(shares[3]) >= 0.2
    torch.testing.assert_close(result * 255, stored.float(), rtol=0, atol=1e-3)
    assert torch.equal(result[:, mask == 0].view(torch.int32), picture[:, mask == 0].view(torch.int32))
    # The first that is good enough is the result.
    earlier = picture.clone()
    earlier[REGION.index] = steps[-2].picture()
    assert float(classifier(mask).scores(earlier).softmax(0)[3]) < 0.2
    assert steps[-1].value > 0


@encodings
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_picture(encoding: str) -> None:
    settings = replace(QUICK, encoding=encoding)
    results = [fooled(source(), spot(), replace(settings, seed=seed))[0] for seed in (4, 4, 5)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@encodings
def test_what_was_in_the_region_does_not_matter(encoding: str) -> None:
    one, other = source(), source()
    other[REGION.index] = 0
    results = [fooled(each, spot(), replace(QUICK, encoding=encoding))[0] for each in (one, other)]
    assert torch.equal(*results)


def test_a_soft_mask_lays_it_over_the_picture_and_the_network_is_sure_of_what_is_seen() -> None:
    picture, mask = source(), spot(0.75)
    result, _ = fooled(picture, mask, QUICK)
    full, _ = fooled(picture, mask, replace(QUICK, blended=False))
    assert float(classifier(mask).scores(result).softmax(0)[3]) >= 0.2
    torch.testing.assert_close(torch.lerp(picture, full, mask), result, rtol=0, atol=0.51 / 255)


@encodings
def test_what_cannot_be_reached_says_how_near_it_came(encoding: str) -> None:
    with pytest.raises(OutOfReachError) as caught:
        fooled(source(), spot(), replace(QUICK, encoding=encoding, confidence=0.999, steps=3))
    assert 0 < caught.value.best < 0.999


@encodings
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (40, 1)])
def test_regions_of_every_shape_are_tried(encoding: str, size: tuple[int, int]) -> None:
    picture, mask = torch.zeros(3, *size), torch.ones(size)
    settings = replace(QUICK, encoding=encoding, confidence=0.0)
    *_, progress = fool(classifier(mask), picture, mask, settings)
    assert progress.picture().shape == (3, *size)
    assert progress.picture().isfinite().all()


def test_an_empty_mask_is_an_error() -> None:
    with pytest.raises(EmptyRegionError):
        next(fool(classifier(spot()), source(), torch.zeros(60, 80), QUICK))

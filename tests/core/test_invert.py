"""A region is rebuilt from its code, in windows of any size, and from nothing else of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamd.core.invert import Code, EmptyCodeError, Settings, errors, invert
from dreamd.core.measure import parts
from dreamd.core.progress import Progress
from dreamd.core.region import Box
from fake_network import FakeNetwork, ValidNetwork

BRIEF = Settings(steps=4, context=40)
LOW, HIGH = Code("low"), Code("high")


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(7))


def spot(height: int, width: int, box: Box, value: float = 1.0) -> Tensor:
    mask = torch.zeros(height, width)
    mask[box.index] = value
    return mask


def last(
    source: Tensor, mask: Tensor, settings: Settings = BRIEF, codes: Sequence[Code] = (LOW,)
) -> tuple[Progress, Tensor]:
    """Where it came to, and the whole picture with the region rebuilt."""
    *_, progress = invert(FakeNetwork(), codes, source, mask, settings)
    result = source.clone()
    result[progress.region.index] = progress.picture()
    return progress, result


def bits(image: Tensor) -> Tensor:
    return image.view(torch.int32)


@pytest.mark.parametrize("codes", [(LOW,), (HIGH,), (LOW, replace(HIGH, weight=0.5))])
def test_the_code_is_met(codes: Sequence[Code]) -> None:
    source, mask = picture(40, 40), spot(40, 40, Box(8, 8, 32, 32))
    far = errors(FakeNetwork(), codes, source, last(source, mask, codes=codes)[1], mask, BRIEF)
    long = replace(BRIEF, steps=100, colour=1.0, smoothness=0.0)
    progress, result = last(source, mask, long, codes)
    assert max(errors(FakeNetwork(), codes, source, result, mask, BRIEF)) < 0.25 < max(far)
    assert progress.value > 0.8
    assert progress.fraction == 1


def test_what_the_code_does_not_see_does_not_matter() -> None:
    one, other, mask = picture(30, 30), picture(30, 30), spot(30, 30, Box(4, 4, 12, 12))
    other[:, 16:] = 0.9
    assert torch.equal(last(one, mask)[1][:, :12], last(other, mask)[1][:, :12])


def test_it_begins_as_noise_around_gray() -> None:
    source, mask = torch.zeros(3, 40, 40), spot(40, 40, Box(5, 5, 35, 35))
    source[:, ::3] = 1
    first = next(invert(FakeNetwork(), [LOW], source, mask, replace(BRIEF, step_size=1e-6)))
    assert first.picture().mean() == pytest.approx(0.5, abs=0.02)
    assert 0.04 < first.picture().std() < 0.06


@pytest.mark.parametrize("blended", [True, False])
def test_pixels_outside_the_mask_keep_their_bits_whatever_they_are(blended: bool) -> None:
    source = picture(50, 60)
    source[:, :30] = torch.tensor([-0.0, 3.5, -2.0, 1e-40, 9.0, 0.5]).repeat(10)
    mask = spot(50, 60, Box(20, 30, 40, 50)) * torch.linspace(0, 1, 60)
    mask[25:30, 40:45] = 0
    _, result = last(source, mask, replace(BRIEF, blended=blended))
    assert torch.equal(bits(result)[:, mask == 0], bits(source)[:, mask == 0])
    assert (result != source)[:, mask > 0].any(0).all()
    assert result[:, 30:40, 35:50].min() >= 0
    assert result[:, 30:40, 35:50].max() <= 1


def test_a_soft_mask_mixes_what_is_rebuilt_with_the_picture() -> None:
    source, mask = picture(40, 40), spot(40, 40, Box(8, 8, 32, 32), 0.25)
    full = last(source, mask, replace(BRIEF, blended=False))[1]
    torch.testing.assert_close(last(source, mask)[1], torch.lerp(source, full, mask))


def test_same_seed_same_bytes_and_another_seed_another_picture() -> None:
    source, mask = picture(30, 30), spot(30, 30, Box(5, 5, 25, 25))
    assert torch.equal(bits(last(source, mask)[1]), bits(last(source, mask)[1]))
    assert not torch.equal(last(source, mask)[1], last(source, mask, replace(BRIEF, seed=1))[1])


def test_windows_of_any_size_give_the_same_picture() -> None:
    source, mask = picture(90, 110), spot(90, 110, Box(5, 8, 80, 100), 0.8)
    expected = last(source, mask, codes=[HIGH])[1]
    progress, found = last(source, mask, replace(BRIEF, window=40), [HIGH])
    assert progress.windows > 4
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_crop_with_its_context_gives_the_picture_of_the_whole_to_the_bit() -> None:
    source, region = picture(200, 220), Box(80, 90, 110, 130)
    mask = spot(200, 220, region)
    crop = region.grow(BRIEF.context, BRIEF.context)
    whole, part = last(source, mask)[0], last(source[crop.index].clone(), mask[crop.index])[0]
    assert torch.equal(bits(whole.picture()), bits(part.picture()))


def test_parts_far_apart_are_rebuilt_both() -> None:
    source = picture(60, 500)
    mask = spot(60, 500, Box(10, 10, 40, 40)) + spot(60, 500, Box(20, 450, 50, 490))
    assert len(list(parts(FakeNetwork(), ["low"], mask, context=40, window=512, margin=0))) == 2
    _, result = last(source, mask)
    assert ((result != source).any(0) == (mask > 0)).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5)])
def test_pictures_of_any_size_and_gray_ones(channels: int, size: tuple[int, int]) -> None:
    source = picture(*size, channels)
    for network in (FakeNetwork(), ValidNetwork()):
        *_, progress = invert(network, [HIGH], source, torch.ones(size), BRIEF)
        assert progress.picture().shape == source.shape
        assert progress.picture().isfinite().all()


def test_only_the_channels_named_count() -> None:
    source, mask = picture(40, 40), torch.ones(40, 40)
    codes = [Code("high", channels=(2, 5))]
    result = last(source, mask, replace(BRIEF, steps=60), codes)[1]
    named, others = errors(
        FakeNetwork(), [*codes, Code("high", channels=(0, 1, 3, 4, 6, 7))], source, result, mask, BRIEF
    )
    assert named < others / 2


def test_a_code_that_is_empty_is_refused() -> None:
    with pytest.raises(EmptyCodeError) as caught:
        last(torch.full((3, 20, 20), 0.5), torch.ones(20, 20))
    assert caught.value.layer == "low"

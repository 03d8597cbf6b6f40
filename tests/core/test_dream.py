"""The dream's promises, on a network small enough to check every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from dreamd.core.dream import LARGER, Settings, dream
from dreamd.core.objectives import Objective, energy
from dreamd.core.progress import Progress
from dreamd.core.pyramid import resize
from dreamd.core.region import Box, EmptyRegionError
from fake_network import FakeNetwork, ValidNetwork

HIGH = energy({"high": 1.0})
#: What `high` sees at the coarsest of three octaves, with jitter and the grid.
QUICK = Settings(octaves=3, steps=2, step_size=0.03, jitter=5, levels=2, window=64, context=45)


def picture(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(7))


def spot(height: int, width: int, box: Box, value: float = 1.0) -> Tensor:
    mask = torch.zeros(height, width)
    mask[box.index] = value
    return mask


def last(source: Tensor, mask: Tensor, settings: Settings = QUICK, objective: Objective = HIGH) -> Progress:
    *_, progress = dream(FakeNetwork(), objective, source, mask, settings)
    return progress


def dreamt(source: Tensor, mask: Tensor, settings: Settings = QUICK, objective: Objective = HIGH) -> Tensor:
    """The whole picture with the region dreamt."""
    progress = last(source, mask, settings, objective)
    result = source.clone()
    result[progress.region.index] = progress.picture()
    return result


def bits(image: Tensor) -> Tensor:
    return image.view(torch.int32)


def test_pixels_outside_the_mask_keep_their_bits_whatever_they_are() -> None:
    source = picture(70, 90)
    source[:, :30] = torch.tensor([-0.0, 3.5, -2.0, 1e-40, 1e30, 0.5]).repeat(15)
    mask = spot(70, 90, Box(20, 30, 50, 60))
    mask[25:30, 40:45] = 0
    result = dreamt(source, mask)
    assert torch.equal(bits(result)[:, mask == 0], bits(source)[:, mask == 0])
    assert not torch.equal(result, source)


def test_the_shares_of_the_steps_are_those_of_the_coarsest_and_the_finest_octave() -> None:
    settings = replace(QUICK, octaves=3, steps=10, shares=(0.9, 0.2))
    source = picture(60, 60)
    seen = list(dream(FakeNetwork(), HIGH, source, spot(60, 60, Box(20, 20, 40, 40)), settings))
    assert {each.octave: each.steps for each in seen} == {1: 9, 2: 4, 3: 2}
    assert seen[-1].fraction == pytest.approx(1)
    assert [settings.pace(octave)[1] for octave in range(3)] == pytest.approx(
        [settings.step_size * (10 / steps) ** LARGER for steps in (9, 4, 2)]
    )
    assert replace(settings, octaves=1).pace(0)[0] == 2


def test_the_mask_falls_off_once() -> None:
    """Half the mask gives half the change, for the gradient's normalisation takes the mask's height away again."""
    source = picture(60, 60)
    full, half = (dreamt(source, spot(60, 60, Box(20, 20, 40, 40), value)) - source for value in (1.0, 0.5))
    torch.testing.assert_close(half, full / 2, rtol=1e-3, atol=1e-5)


def test_whoever_lays_the_mask_over_the_dream_himself_gets_the_same_picture() -> None:
    source, mask = picture(60, 60), spot(60, 60, Box(20, 20, 40, 40)) * torch.linspace(0, 1, 60)
    full = dreamt(source, mask, replace(QUICK, blended=False))
    torch.testing.assert_close(torch.lerp(source, full, mask), dreamt(source, mask))
    assert torch.equal(bits(full)[:, mask == 0], bits(source)[:, mask == 0])


def test_strength_scales_the_change() -> None:
    source, mask = picture(50, 50), spot(50, 50, Box(10, 10, 40, 40))
    once = dreamt(source, mask) - source
    torch.testing.assert_close(dreamt(source, mask, replace(QUICK, strength=2.5)) - source, 2.5 * once)
    assert torch.equal(dreamt(source, mask, replace(QUICK, strength=0.0)), source)


def test_same_seed_same_bytes_and_another_seed_another_dream() -> None:
    source, mask = picture(50, 60), spot(50, 60, Box(10, 10, 40, 50))
    assert torch.equal(bits(dreamt(source, mask)), bits(dreamt(source, mask)))
    assert not torch.equal(dreamt(source, mask), dreamt(source, mask, replace(QUICK, seed=1)))


def test_a_crop_with_its_context_gives_the_dream_of_the_whole_to_the_bit() -> None:
    source, region = picture(300, 320), Box(120, 130, 150, 190)
    mask = spot(300, 320, region, 0.7)
    crop = region.grow(QUICK.context, QUICK.context)
    assert torch.equal(
        bits(last(source, mask).picture()), bits(last(source[crop.index].clone(), mask[crop.index]).picture())
    )


def test_nothing_beyond_the_context_matters() -> None:
    """Pixels further away than a layer sees, at its coarsest octave, are never looked at."""
    source, region = picture(200, 200), Box(90, 90, 110, 110)
    mask = spot(200, 200, region)
    elsewhere = picture(200, 200).flip(2)
    near = region.grow(QUICK.context, QUICK.context)
    elsewhere[near.index] = source[near.index]
    assert torch.equal(last(source, mask).picture(), last(elsewhere, mask).picture())


def test_windows_of_any_size_give_the_same_dream() -> None:
    source, mask = picture(90, 110), spot(90, 110, Box(5, 8, 80, 100), 0.8)
    whole = dreamt(source, mask, replace(QUICK, window=4096))
    for window in (24, 40, 64):
        torch.testing.assert_close(
            dreamt(source, mask, replace(QUICK, window=window)), whole, rtol=1e-3, atol=1e-4
        )


def test_distant_pieces_are_dreamt_without_what_lies_between_them() -> None:
    source = picture(800, 1000)
    mask = spot(800, 1000, Box(5, 5, 25, 25)) + spot(800, 1000, Box(770, 970, 790, 995))
    network = FakeNetwork()
    *_, progress = dream(network, HIGH, source, mask, QUICK)
    assert progress.region == Box(5, 5, 790, 995)
    assert sum(height * width for height, width in network.shown) < 0.05 * 800 * 1000 * QUICK.steps
    result = progress.picture()
    inside = mask[progress.region.index] > 0
    assert (result != source[progress.region.index]).any(0)[inside].float().mean() > 0.99


@pytest.mark.parametrize(
    ("size", "region"),
    [
        pytest.param((61, 83), Box(30, 40, 31, 41), id="one pixel"),
        pytest.param((61, 83), Box(0, 0, 1, 1), id="one pixel in the corner"),
        pytest.param((61, 83), Box(60, 0, 61, 83), id="the last row"),
        pytest.param((7, 5), Box(0, 0, 7, 5), id="a picture smaller than what the network sees"),
        pytest.param((1, 1), Box(0, 0, 1, 1), id="a picture of one pixel"),
        pytest.param((1, 97), Box(0, 20, 1, 60), id="a picture of one row"),
    ],
)
@pytest.mark.parametrize("network", [FakeNetwork(), ValidNetwork()], ids=["padded", "without padding"])
def test_regions_and_pictures_of_every_shape_are_dreamt(
    network: FakeNetwork, size: tuple[int, int], region: Box
) -> None:
    source = picture(*size) * 0.6 + 0.2
    *_, progress = dream(network, HIGH, source, spot(*size, region), replace(QUICK, octaves=4))
    assert progress.region == region
    assert progress.picture().isfinite().all()
    assert not torch.equal(progress.picture(), source[region.index])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 1000), st.integers(1, 5))
@examples(max_examples=25, deadline=None)
def test_any_mask_on_any_picture_leaves_the_rest_alone(height: int, width: int, seed: int, octaves: int) -> None:
    source = picture(height, width)
    mask = (torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) - 0.8).clamp(min=0)
    mask[seed % height, seed % width] = 1
    result = dreamt(source, mask, replace(QUICK, octaves=octaves, steps=1))
    assert torch.equal(bits(result)[:, mask < 2**-16], bits(source)[:, mask < 2**-16])
    assert result.isfinite().all()


def test_gray_is_dreamt_in_gray() -> None:
    source, mask = picture(40, 50, channels=1), spot(40, 50, Box(5, 5, 35, 45))
    assert dreamt(source, mask).shape == source.shape
    assert not torch.equal(dreamt(source, mask), source)


def test_the_dream_stays_between_black_and_white_but_leaves_brighter_sources_be() -> None:
    source = picture(40, 50)
    source[:, 10:20] = 4.0
    result = dreamt(source, torch.ones(40, 50), replace(QUICK, steps=10, step_size=0.3))
    assert result.min() >= 0
    assert result[:, :10].max() <= 1
    assert result[:, 10:20].max() <= 4.0
    assert result[:, 10:20].mean() > 1.5


def test_the_objective_rises() -> None:
    source, mask = picture(80, 80), torch.ones(80, 80)
    assert last(source, mask, replace(QUICK, steps=12, octaves=1)).value > 0.2


def test_every_step_is_yielded_and_the_work_adds_up() -> None:
    seen = list(dream(FakeNetwork(), HIGH, picture(90, 90), torch.ones(90, 90), QUICK))
    complete = [each for each in seen if each.window == each.windows]
    assert [(each.octave, each.step) for each in complete] == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    assert len(seen) > len(complete)  # windows are yielded too, so that a long step can be cancelled
    fractions = [each.fraction for each in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)


def test_a_picture_may_be_taken_at_any_time_and_changes_nothing() -> None:
    source, mask = picture(60, 60), spot(60, 60, Box(10, 10, 50, 50))
    for progress in dream(FakeNetwork(), HIGH, source, mask, QUICK):
        assert progress.picture().shape == (3, 40, 40)
    assert torch.equal(progress.picture(), last(source, mask).picture())


def test_a_negative_weight_suppresses_a_layer() -> None:
    source, mask = picture(80, 80), torch.ones(80, 80)
    settings = replace(QUICK, steps=8, octaves=1)

    def strength(objective: Objective) -> float:
        (high,) = FakeNetwork().features(dreamt(source, mask, settings, objective)[None], ["high"])
        return float(high.square().sum())

    assert strength(energy({"low": 1.0, "high": -1.0})) < strength(energy({"low": 1.0}))


def test_layers_count_by_their_weights_however_strong_their_activations() -> None:
    """Scaling a layer's activations by a constant changes nothing, because each term is measured by itself."""

    class Louder(FakeNetwork):
        def features(self, pixels: Tensor, names: list[str]) -> list[Tensor]:  # type: ignore[override]
            found = super().features(pixels, names)
            return [each * 50 if name == "low" else each for each, name in zip(found, names, strict=True)]

    source, mask = picture(60, 60), torch.ones(60, 60)
    both = energy({"low": 0.5, "high": 1.0})
    *_, plain = dream(FakeNetwork(), both, source, mask, QUICK)
    *_, loud = dream(Louder(), both, source, mask, QUICK)
    torch.testing.assert_close(plain.picture(), loud.picture(), rtol=1e-3, atol=1e-4)


def test_only_the_channels_named_are_climbed() -> None:
    # Nearly flat, so that what grows is the dream's and not the picture's.
    source, mask = picture(80, 80) * 0.01 + 0.5, torch.ones(80, 80)
    settings = replace(QUICK, steps=12, octaves=1, levels=0, jitter=0)

    def share(objective: Objective) -> float:
        (high,) = FakeNetwork().features(dreamt(source, mask, settings, objective)[None], ["high"])
        return float(high[0, 5].square().sum() / high.square().sum())

    assert share(energy({"high": 1.0}, (5,))) > 2 * share(HIGH)


def test_an_empty_mask_is_refused() -> None:
    for mask in (torch.zeros(20, 20), torch.full((20, 20), 1e-7)):
        with pytest.raises(EmptyRegionError):
            next(dream(FakeNetwork(), HIGH, picture(20, 20), mask, QUICK))


def test_what_the_network_is_shown_is_bounded_by_the_window_not_by_the_picture() -> None:
    network = FakeNetwork()
    for _ in dream(network, HIGH, picture(400, 600), torch.ones(400, 600), replace(QUICK, octaves=1, steps=1)):
        pass
    assert max(height * width for height, width in network.shown) <= QUICK.window**2


def test_blur_takes_the_grain_from_a_dream_and_nothing_from_the_picture() -> None:
    source, mask = picture(60, 60), spot(60, 60, Box(10, 10, 50, 50))
    plain, soft = (dreamt(source, mask, replace(QUICK, steps=6, blur=blur)) - source for blur in (0.0, 0.3))

    def grain(detail: Tensor) -> float:
        """Of the detail's energy, what is in differences between neighbours."""
        return float((detail[:, :, 1:] - detail[:, :, :-1]).square().sum() / detail.square().sum())

    assert grain(soft) < 0.8 * grain(plain)
    assert not soft[:, mask == 0].any()
    still = replace(QUICK, step_size=1e-12, blur=0.3)
    torch.testing.assert_close(dreamt(source, mask, still), source, rtol=0, atol=1e-6)


def test_jitter_slides_the_grid_over_real_pixels() -> None:
    """In the middle of a picture each window shows a plain crop at its own offset, nothing wrapped or made up."""

    class Watching(FakeNetwork):
        def features(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
            crops.append(pixels[0].detach().clone())
            return super().features(pixels, names)

    crops: list[Tensor] = []
    source, mask = picture(150, 150), spot(150, 150, Box(70, 70, 80, 80))
    still = replace(QUICK, octaves=1, steps=6, step_size=1e-9)
    for _ in dream(Watching(), HIGH, source, mask, still):
        pass
    corners = set()
    for crop in crops:
        top, left = divmod(int((source[0] - crop[0, 0, 0]).abs().argmin()), 150)
        torch.testing.assert_close(crop, source[:, top : top + crop.shape[1], left : left + crop.shape[2]])
        corners.add((top % 4, left % 4))
    assert len(corners) > 2


@pytest.mark.parametrize("blended", [True, False])
def test_a_sketch_is_about_the_picture_reduced(blended: bool) -> None:
    """What somebody who looks on is shown of a large picture, at every octave, of a region in pieces too."""
    settings = replace(QUICK, steps=1, step_size=0.1, blended=blended, context=16)
    mask = torch.zeros(90, 160)
    mask[10:40, 4:50] = torch.linspace(0.3, 1, 46)
    mask[50:85, 100:155] = 1
    source = picture(90, 160)
    for progress in dream(FakeNetwork(), HIGH, source, mask, settings):
        size = progress.region.height // 3, progress.region.width // 3
        each = progress.sketch(size), progress.picture(), source[progress.region.index]
        # The detail may lie half a pixel beside its place.
        sketch, expected, before = (resize(resize(one, size), [side // 5 for side in size]) for one in each)
        assert float((sketch - expected).abs().mean()) <= 0.2 * float((expected - before).abs().mean())
    full = progress.region.height, progress.region.width
    assert torch.equal(progress.sketch(full), progress.picture())

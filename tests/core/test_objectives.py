"""What a dream climbs, term by term: what each of them wants, and that they add up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamd.core.dream import Settings, dream
from dreamd.core.measure import region_means
from dreamd.core.objectives import Emphasis, Energy, Likeness, Objective, Score, Term, Weighted, energy
from dreamd.core.plan import Extent, Plan, sums
from dreamd.core.progress import rise
from dreamd.core.region import Box
from fake_network import FakeNetwork

NETWORK = FakeNetwork()
SOURCE = torch.rand(3, 96, 112, generator=torch.Generator().manual_seed(3)) * 0.6 + 0.2
#: Nearly flat, so that what grows is the dream's and not the picture's.
FLAT = SOURCE * 0.02 + 0.49
MASK = torch.zeros(96, 112)
MASK[20:70, 30:90] = torch.linspace(0.2, 1, 60)
#: Without jitter each step climbs what the next one measures: made-up weights are not alike for shifted pixels.
SETTINGS = Settings(octaves=2, steps=6, step_size=0.02, jitter=0, levels=2, window=64, context=40)
GUIDE = torch.rand(5, 8, generator=torch.Generator().manual_seed(4))

TERMS: dict[str, Term] = {
    "energy": Energy("high"),
    "energy of channels": Energy("high", 1.0, (1, 5)),
    "score": Score("high", 2),
    "weighted": Weighted("high", GUIDE[0]),
    "likeness": Likeness("high", GUIDE),
    "emphasis": Emphasis("high", GUIDE[1]),
    "a lower layer": Energy("low"),
}


def dreamt(*terms: Term, source: Tensor = SOURCE, mask: Tensor = MASK) -> Tensor:
    """The whole picture with the region dreamt."""
    *_, progress = dream(NETWORK, Objective(terms), source, mask, SETTINGS)
    return progress.over(source).picture()


def value(term: Term, picture: Tensor, mask: Tensor = MASK, side: int = 64) -> tuple[float, Tensor]:
    """A term's value for a picture, over the region, and its gradient to the picture, by windows of `side`²."""
    plan = Plan.of(Extent.around(mask), NETWORK, [term.layer], side=side)
    total = torch.zeros_like(picture[plan.extent.area.index])
    (value,) = sums(list(plan.gradients(NETWORK, Objective((term,)), [1.0], picture, total)))
    return value, total


def mean(channel: int, picture: Tensor, mask: Tensor = MASK) -> float:
    return float(region_means(NETWORK, "high", picture, mask, context=40, window=64)[channel])


@pytest.mark.parametrize("name", TERMS)
def test_every_term_rises_when_it_is_climbed_and_falls_with_a_negative_weight(name: str) -> None:
    term = TERMS[name]
    before, _ = value(term, SOURCE)
    for weight in (1.0, -1.0):
        weighted = replace(term, weight=weight)  # type: ignore[type-var]
        after, _ = value(term, dreamt(weighted))
        assert (after - before) * weight > 0.02 * abs(before)


@pytest.mark.parametrize("name", TERMS)
def test_windows_divide_a_term_without_changing_it(name: str) -> None:
    one, whole = value(TERMS[name], SOURCE, side=4096)
    several, parts = value(TERMS[name], SOURCE, side=32)
    assert several == pytest.approx(one, rel=1e-4)
    assert float((parts - whole).abs().max()) < 1e-4 * float(whole.abs().max())


def test_the_score_of_a_class_is_its_mean_over_the_region_however_large_that_is() -> None:
    for mask in (MASK, torch.ones(96, 112)):
        plan = Plan.of(Extent.around(mask), NETWORK, ["high"], side=64)
        total, _ = value(Score("high", 2), SOURCE, mask)
        assert total / float(plan.grid.weights["high"].sum()) == pytest.approx(mean(2, SOURCE, mask), rel=1e-4)
    (high,) = NETWORK.features(SOURCE[None], ["high"])
    assert mean(2, SOURCE, torch.ones(96, 112)) == pytest.approx(float(high[0, 2].mean()), rel=1e-4)


def test_classes_rise_and_those_with_negative_weights_fall() -> None:
    result = dreamt(Score("high", 2), Score("high", 6, -1.0))
    assert mean(2, result) > mean(2, SOURCE)
    assert mean(6, result) < mean(6, SOURCE)


def test_the_larger_of_two_weights_has_more_of_its_way() -> None:
    more, less = (
        dreamt(Score("high", 2, one), Score("high", 6, other)) for one, other in ((3.0, 1.0), (1.0, 3.0))
    )
    assert mean(2, more) > mean(2, less)
    assert mean(6, more) < mean(6, less)


def test_objectives_add_up_with_their_weights() -> None:
    """Values and gradients of a sum are the sums of its terms', each times its weight over its scale."""
    terms = (Energy("high", 0.5), Score("high", 2, -2.0), Energy("low", 3.0))
    scales = [2.0, 0.5, 7.0]
    objective = energy({"high": 0.5}) + Objective(terms[1:])
    assert objective == Objective(terms)
    plan = Plan.of(Extent.around(MASK), NETWORK, objective.layers, side=64)
    together = torch.zeros_like(SOURCE[plan.extent.area.index])
    totals = sums(list(plan.gradients(NETWORK, objective, scales, SOURCE, together)))
    apart = [value(term, SOURCE) for term in terms]
    assert totals == pytest.approx([one for one, _ in apart], rel=1e-4)
    expected = sum(gradient / scale for scale, (_, gradient) in zip(scales, apart, strict=True))
    assert isinstance(expected, Tensor)
    torch.testing.assert_close(together, expected, rtol=1e-3, atol=1e-6 * float(expected.abs().max()))
    assert objective.weighted([4.0, 3.0, 7.0], scales) == [1.0, -12.0, 3.0]


def test_a_guide_draws_every_place_to_what_it_is_most_like_there() -> None:
    def likeness(picture: Tensor) -> Tensor:
        """The cosine of each place of the region with that of the guide that it is most like."""
        (high,) = NETWORK.features(picture[None], ["high"])
        places = torch.nn.functional.normalize(high[0, :, 6:17, 8:22].flatten(1).T, dim=1)
        return (places @ torch.nn.functional.normalize(GUIDE, dim=1).T).amax(1)

    result = dreamt(Likeness("high", GUIDE), source=FLAT, mask=(MASK > 0).float())
    assert float(likeness(result).mean()) > float(likeness(FLAT).mean()) + 0.1


def test_a_guide_gives_the_region_as_much_of_each_channel_as_it_has() -> None:
    def share(picture: Tensor) -> float:
        """Of the energy of the region, that of channel 0."""
        squares = region_means(NETWORK, "high", picture, MASK, context=40, window=64, power=2)
        return float(squares[0] / squares.sum())

    like_guide = Emphasis("high", torch.tensor([9.0, 0, 0, 0, 0, 0, 0, 3.0]))
    assert share(dreamt(like_guide, source=FLAT)) > 2 * share(dreamt(Energy("high"), source=FLAT))


@pytest.mark.parametrize("name", TERMS)
def test_how_far_it_has_risen_is_told_between_minus_1_and_1(name: str) -> None:
    for weight in (1.0, -1.0):
        term: Term = replace(TERMS[name], weight=weight)  # type: ignore[type-var]
        steps = list(dream(NETWORK, Objective((term,)), SOURCE, MASK, SETTINGS))
        for _, octave in itertools.groupby(steps, lambda each: each.octave):
            values = [each.value for each in octave if each.window == each.windows]
            assert values[0] == 0
            assert 0 < values[-1] <= 1


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ([2.0], [2.0], 0.0),
        ([2.0], [4.0], 1 / 3),
        ([4.0], [2.0], -1 / 3),
        ([-4.0], [-2.0], 1 / 3),
        ([-1.0], [5.0], 1.0),
        ([0.0], [3.0], 1.0),
        ([0.0], [0.0], 0.0),
        ([3.0, -3.0], [4.0, -2.0], 1 / 6),  # around a sum of 0, where a ratio has no meaning
    ],
)
def test_how_far_a_sum_has_risen(before: Sequence[float], now: Sequence[float], expected: float) -> None:
    assert rise(before, now) == pytest.approx(expected)


def test_a_region_of_one_pixel_has_a_score_too() -> None:
    mask = torch.zeros(96, 112)
    mask[Box(40, 50, 41, 51).index] = 1
    assert mean(2, dreamt(Score("high", 2), mask=mask), mask) > mean(2, SOURCE, mask)

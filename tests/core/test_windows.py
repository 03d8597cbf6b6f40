"""What the network is shown: every activation once, with all it sees, and nothing that is not needed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamd.core.gradient import Grid, gradients
from dreamd.core.objectives import energy
from dreamd.core.region import Box, bounds, pieces
from dreamd.core.windows import Canvas, Reach, Window, add_back, cut, reflected
from fake_network import FakeNetwork, ValidNetwork

OBJECTIVE = energy({"low": 0.3, "high": 1.0})


def gradient(network: FakeNetwork, image: Tensor, mask: Tensor, offset: tuple[int, int], side: int) -> Tensor:
    """The gradient to the image by windows of at most `side`², or untiled if `side` is 0."""
    layers = [network.layers[name] for name in OBJECTIVE.layers]
    reach = Reach.of(layers)
    canvas = Canvas.around(image.shape[-2:], offset, layers)
    weights = {name: canvas.weights(mask, (0, 0), network.layers[name]) for name in OBJECTIVE.layers}
    if side:
        owned = canvas.owned([(network.layers[name], weight) for name, weight in weights.items()])
        windows = canvas.plan(owned, reach, side)
    else:
        windows = [Window(canvas.box, Box(0, 0, canvas.rows, canvas.columns))]
    total = torch.zeros_like(image)
    area = Box(0, 0, *image.shape[-2:])
    for window in windows:
        box = window.box.shift(-offset[0], -offset[1])
        shown = [(Grid(canvas.stride, weights), window)]
        _, (part,) = gradients(network, OBJECTIVE, [1, 1], cut(image, box)[None], shown)
        add_back(total, image.shape[-2:], area, part, box)
    return total


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def ellipse(height: int, width: int) -> Tensor:
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]
    return (3 * (0.8 - (x**2 + y**2).sqrt())).clamp(0, 1)


def boxes(*filled: Box) -> Tensor:
    mask = torch.zeros(61, 83)
    for box in filled:
        mask[box.index] = 1
    return mask


MASKS = {
    "all of it": torch.ones(61, 83),
    "a soft ellipse": ellipse(61, 83),
    "one pixel": boxes(Box(30, 41, 31, 42)),
    "the last corner": boxes(Box(60, 82, 61, 83)),
    "the first corner": boxes(Box(0, 0, 1, 1)),
    "two pieces": boxes(Box(2, 4, 11, 13), Box(52, 76, 59, 81)),
}


@pytest.mark.parametrize("network", [FakeNetwork(), ValidNetwork()], ids=["padded", "without padding"])
@pytest.mark.parametrize("side", [16, 24, 40, 200])
@pytest.mark.parametrize("offset", [(0, 0), (3, 6), (13, 2)], ids=str)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_windows_give_the_gradient_of_the_whole(
    network: FakeNetwork, mask: Tensor, offset: tuple[int, int], side: int
) -> None:
    image = picture(61, 83)
    expected = gradient(network, image, mask, offset, 0)
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(gradient(network, image, mask, offset, side), expected, rtol=1e-4, atol=1e-6)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9), st.integers(0, 9), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_windows_give_the_gradient_of_the_whole_for_any_size_and_region(
    height: int, width: int, down: int, right: int, seed: int
) -> None:
    mask = (torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) - 0.7).clamp(min=0)
    mask[seed % height, seed % width] = 1
    image = picture(height, width, seed)
    network = FakeNetwork()
    expected = gradient(network, image, mask, (down, right), 0)
    torch.testing.assert_close(
        gradient(network, image, mask, (down, right), 20),
        expected,
        rtol=1e-4,
        atol=1e-4 * float(expected.abs().max()),
    )


def test_every_pixel_of_a_mask_counts_for_exactly_one_activation() -> None:
    mask = ellipse(61, 83)
    for network in (FakeNetwork(), ValidNetwork()):
        for layer in network.layers.values():
            weights = Canvas.around((61, 83), (3, 6), list(network.layers.values())).weights(mask, (0, 0), layer)
            assert float(weights.sum()) * layer.stride**2 == pytest.approx(float(mask.sum()), rel=1e-5)


def test_each_owned_cell_has_one_window_and_no_window_is_larger_than_asked() -> None:
    owned = torch.rand(40, 60, generator=torch.Generator().manual_seed(3)) > 0.6
    canvas = Canvas(16, 40, 60, (0, 0))
    reach = Reach(170, 160, 16)
    for side in (400, 512, 700, 5000):
        count = torch.zeros(40, 60)
        for window in canvas.plan(owned, reach, side):
            count[window.cells.index] += 1
            assert window.box.area <= side**2
            assert window.box.clip(canvas.box) == window.box
        assert count[owned].eq(1).all()
        assert count.max() == 1


def test_a_picture_that_fits_a_window_is_shown_once_however_far_a_layer_sees() -> None:
    canvas = Canvas.around((96, 64), (0, 0), [FakeNetwork.layers["high"]])
    owned = torch.ones(canvas.rows, canvas.columns, dtype=torch.bool)
    assert [window.box for window in canvas.plan(owned, Reach(400, 400, 4), 100)] == [canvas.box]


def test_a_region_that_is_mostly_holes_is_shown_in_parts() -> None:
    owned = torch.zeros(200, 200, dtype=torch.bool)
    owned.fill_diagonal_(True)
    canvas = Canvas(4, 200, 200, (0, 0))
    windows = canvas.plan(owned, Reach(8, 8, 4), 4000)
    assert sum(window.box.area for window in windows) < 0.25 * canvas.box.area


def test_folding_back_is_the_adjoint_of_cutting_with_reflection() -> None:
    dice = torch.Generator().manual_seed(5)
    for box in (Box(-7, -3, 9, 30), Box(2, 3, 9, 11), Box(-40, -2, 60, 70), Box(5, 20, 30, 31)):
        image = torch.randn(2, 13, 21, generator=dice)
        piece = torch.randn(2, box.height, box.width, generator=dice)
        folded = torch.zeros_like(image)
        add_back(folded, (13, 21), Box(0, 0, 13, 21), piece.clone(), box)
        torch.testing.assert_close((cut(image, box) * piece).sum(), (image * folded).sum(), rtol=1e-4, atol=1e-4)


def test_reflection_turns_about_the_outermost_pixels_again_and_again() -> None:
    assert reflected(-4, 7, 3, torch.device("cpu")).tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]
    assert reflected(-2, 2, 1, torch.device("cpu")).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("filled", "context", "expected"),
    [
        pytest.param([Box(3, 4, 20, 30)], 50, [Box(3, 4, 20, 30)], id="one piece"),
        pytest.param(
            [Box(0, 0, 10, 10), Box(990, 1490, 1000, 1500)], 100, [Box(0, 0, 10, 10), Box(990, 1490, 1000, 1500)],
            id="far apart: each for itself",
        ),
        pytest.param([Box(0, 0, 10, 10), Box(30, 0, 40, 10)], 100, [Box(0, 0, 40, 10)], id="close: together"),
        pytest.param(
            [Box(0, 0, 10, 1500), Box(0, 0, 1000, 10), Box(500, 700, 510, 710)], 20, [Box(0, 0, 1000, 1500)],
            id="boxes that overlap: together",
        ),
    ],
)  # fmt: skip
def test_pieces(filled: list[Box], context: int, expected: list[Box]) -> None:
    inside = torch.zeros(1000, 1500, dtype=torch.bool)
    for box in filled:
        inside[box.index] = True
    assert pieces(inside, context) == expected


@given(st.integers(0, 10_000), st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_pieces_are_disjoint_and_hold_every_pixel(seed: int, context: int) -> None:
    dice = torch.Generator().manual_seed(seed)
    inside = torch.zeros(700, 900, dtype=torch.bool)
    for _ in range(6):
        top, left = int(torch.randint(650, (1,), generator=dice)), int(torch.randint(850, (1,), generator=dice))
        inside[top : top + 40, left : left + 30] = True
    count = torch.zeros(700, 900)
    for box in pieces(inside, context):
        count[box.index] += 1
        assert bounds(inside[box.index]) == Box(0, 0, box.height, box.width)
    assert count.max() == 1
    assert count[inside].eq(1).all()

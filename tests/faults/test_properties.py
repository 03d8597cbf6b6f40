"""What holds for any parameters, any picture and any region, whatever they are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamd.core.plan import Extent
from dreamd.core.pyramid import octave_sizes, resize_mask
from dreamd.core.region import FAINT, Box, EmptyRegionError, bounds, pieces, region_of, whole
from dreamd.core.windows import Canvas, Reach, Window
from dreamwire.crop import crop
from dreamwire.errors import DreamError
from dreamwire.networks import NETWORKS
from dreamwire.params import JOBS, Param, result_size, validate, work

many = settings(max_examples=200, deadline=None)
few = settings(max_examples=60, deadline=None)

# Parameters

anything: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=9)
    | st.lists(st.integers(), max_size=3) | st.text("*+-.,019eabclosters _ ", max_size=60)
)  # fmt: skip


def within(row: Param) -> st.SearchStrategy[object]:
    """What a parameter takes."""
    if row.kind == "int":
        return st.integers(int(row.minimum), int(row.maximum))
    if row.kind == "float":
        return st.floats(row.minimum, row.maximum)
    if row.choices is not None:
        return st.sampled_from(list(row.choices))
    texts = {
        "network": [*NETWORKS], "layers": ["", "blocks.2", "blocks.8*0.5+blocks.10"],
        "channels": ["", "0-5,9", "strongest 5"], "classes": ["", "tabby", "tabby+lemon*-0.5"],
    }  # fmt: skip
    return st.sampled_from(texts[row.kind])


def params_of(kind: str) -> st.SearchStrategy[dict[str, object]]:
    """Some of a job's parameters, most of them as they may be."""
    rows = JOBS[kind].params
    given_ = {name: within(row) | within(row) | anything for name, row in rows.items()}
    unknown = st.dictionaries(st.text(max_size=9), anything, max_size=1)
    return st.tuples(st.fixed_dictionaries({}, optional=given_), unknown).map(lambda both: both[0] | both[1])


def valid(kind: str) -> st.SearchStrategy[Mapping[str, Any]]:
    """All of a job's parameters, as they may be together."""
    rows = {name: within(row) for name, row in JOBS[kind].params.items() if row.kind in ("int", "float")}
    needed = {"classes": "tabby"} if kind in ("adversarial", "fool") else {}
    return st.fixed_dictionaries({}, optional=rows).map(lambda given_: validate(kind, given_ | needed))


@many
@given(st.data(), st.sampled_from(list(JOBS)))
def test_any_parameters_are_completed_to_ones_in_range_or_refused_by_name(data: st.DataObject, kind: str) -> None:
    given_ = data.draw(params_of(kind))
    try:
        values = validate(kind, given_)
    except DreamError as refused:
        error = refused
    else:
        error = None
    if error is not None:
        assert error.code in ("bad_params", "unknown_network")
        assert len(error.message) < 1000
        return
    assert list(values) == list(JOBS[kind].params)
    for name, row in JOBS[kind].params.items():
        assert row.check(values[name]) == values[name]
        assert row.parse(str(values[name])) == values[name], "what is printed can be typed"
        assert name not in given_ or values[name] == given_[name], "nothing is clamped"
    assert validate(kind, values) == values


@many
@given(st.data(), st.sampled_from(list(JOBS)), st.integers(1, 20_000), st.integers(1, 20_000))
def test_more_steps_octaves_and_pixels_are_more_work(
    data: st.DataObject, kind: str, height: int, width: int
) -> None:
    values = data.draw(valid(kind))
    becomes = result_size(values, (height, width))
    assert min(becomes) >= 1
    pixels = math.prod(becomes)
    assert pixels >= height * width
    assert pixels <= work(values, pixels) <= 12 * 1000 * pixels
    assert work(values, 2 * pixels) == 2 * work(values, pixels)


@st.composite
def regions(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """A region in a picture."""
    height, width = draw(st.integers(1, 20_000)), draw(st.integers(1, 20_000))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return (top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left))), (height, width)


@many
@given(st.data(), st.sampled_from(list(JOBS)), regions())
def test_what_travels_holds_the_region_and_lies_in_the_picture(
    data: st.DataObject, kind: str, where: tuple[tuple[int, int, int, int], tuple[int, int]]
) -> None:
    region, size = where
    part = crop(kind, region, size, data.draw(valid(kind)))
    for axis in (0, 1):
        first, last = part[axis], part[axis] + part[axis + 2]
        assert 0 <= first <= region[axis] < region[axis] + region[axis + 2] <= last <= size[axis]


# Regions


@st.composite
def masks(draw: st.DrawFn, longest: int = 60) -> Tensor:
    """A mask with anything in it, from nothing to all of it: rows of blocks, single pixels, what is too faint."""
    height, width = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    dice = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    mask = (torch.rand(height, width, generator=dice) - draw(st.sampled_from([0.0, 0.5, 0.9, 0.999, 1.0]))).clamp(
        0
    )
    if draw(st.booleans()):
        mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = draw(
            st.sampled_from([1.0, FAINT, FAINT / 2, 1e-30])
        )
    for _ in range(draw(st.integers(0, 3))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        mask[top : top + draw(st.integers(1, height)), left : left + draw(st.integers(1, width))] = draw(
            st.sampled_from([0.0, 0.5, 1.0])
        )
    return mask


@many
@given(masks())
def test_the_region_is_all_that_is_not_too_faint(mask: Tensor) -> None:
    before = mask.clone()
    try:
        cleaned, region = region_of(mask)
    except EmptyRegionError:
        assert not (mask >= FAINT).any()
        return
    assert torch.equal(mask, before), "the mask that was given is not changed"
    assert torch.equal(cleaned, torch.where(mask >= FAINT, mask, 0))
    outside = cleaned.clone()
    outside[region.index] = 0
    assert not outside.any()
    for edge in (
        cleaned[region.top],
        cleaned[region.bottom - 1],
        cleaned[:, region.left],
        cleaned[:, region.right - 1],
    ):
        assert edge.any(), "the box is no larger than it has to be"


@few
@given(masks(400), st.integers(1, 200))
def test_pieces_hold_every_pixel_once(mask: Tensor, context: int) -> None:
    inside = mask > 0
    count = torch.zeros_like(mask)
    for box in pieces(inside, context):
        assert box.clip(whole(mask)) == box
        assert bounds(inside[box.index]) == Box(0, 0, box.height, box.width)
        count[box.index] += 1
    assert count.max() <= 1
    assert bool((count == 1)[inside].all())


@few
@given(masks(), st.integers(1, 12), st.floats(1.1, 3), st.integers(0, 40))
def test_no_octave_loses_the_region(mask: Tensor, octaves: int, scale: float, margin: int) -> None:
    mask[mask < FAINT] = 0
    if not mask.any():
        mask[0, 0] = 1
    height, width = mask.shape
    sizes = octave_sizes(height, width, octaves, scale)
    assert len(sizes) == octaves
    assert tuple(sizes[-1]) == (height, width)
    for smaller, larger in itertools.pairwise(sizes):
        assert all(1 <= a <= b for a, b in zip(smaller, larger, strict=True))
    for size in sizes:
        small = resize_mask(mask, size)
        assert tuple(small.shape) == tuple(size)
        assert small.any()
        assert float(small.max()) <= float(mask.max()) + 1e-6
        extent = Extent.around(small, margin)
        assert extent.area.clip(whole(small)) == extent.area
        outside = small.clone()
        outside[extent.area.index] = 0
        assert not outside.any()


@dataclass(frozen=True)
class Layer:
    before: int
    after: int
    stride: int
    lost: int


#: Layers as networks have them, and others: any field, strides that divide one another, activations that are lost.
layers = st.lists(
    st.builds(Layer, st.integers(0, 60), st.integers(0, 60), st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 3)),
    min_size=1,
    max_size=3,
)
offsets = st.tuples(st.integers(0, 40), st.integers(0, 40))


@many
@given(masks(), layers, offsets)
def test_every_pixel_of_a_mask_counts_for_one_activation(
    mask: Tensor, seen: list[Layer], offset: tuple[int, int]
) -> None:
    canvas = Canvas.around((mask.shape[0], mask.shape[1]), offset, seen)
    for layer in seen:
        weights = canvas.weights(mask, (0, 0), layer)
        scale = canvas.stride // layer.stride
        assert tuple(weights.shape) == (canvas.rows * scale - layer.lost, canvas.columns * scale - layer.lost)
        assert float(weights.sum()) * layer.stride**2 == pytest.approx(float(mask.sum()), rel=1e-4, abs=1e-6)


@many
@given(masks(), layers, offsets, st.integers(1, 300), st.sampled_from([0.5, 1.0]))
def test_windows_own_each_cell_once_and_show_all_that_it_sees(
    mask: Tensor, seen: list[Layer], offset: tuple[int, int], side: int, share: float
) -> None:
    canvas, reach = Canvas.around((mask.shape[0], mask.shape[1]), offset, seen), Reach.of(seen, share)
    weights = [canvas.weights(mask, (0, 0), layer) for layer in seen]
    owned = canvas.owned(list(zip(seen, weights, strict=True)))
    windows = canvas.plan(owned, reach, side)
    count = torch.zeros(canvas.rows, canvas.columns)
    for window in windows:
        count[window.cells.index] += 1
        check(window, canvas, reach, side)
    assert count.max() <= 1
    assert bool((count == 1)[owned].all())


def check(window: Window, canvas: Canvas, reach: Reach, side: int) -> None:
    """A window lies on the grid, is neither too small nor too large, and shows all that its cells see."""
    box, cells = window.box, window.cells
    assert cells.clip(Box(0, 0, canvas.rows, canvas.columns)) == cells
    assert box.clip(canvas.box) == box
    assert not any(edge % canvas.stride for edge in (box.top, box.left, box.bottom, box.right))
    assert min(box.height, box.width) >= canvas.least * canvas.stride
    seen = cells.times(canvas.stride).grow(reach.before, reach.after).clip(canvas.box)
    assert seen.clip(box) == seen
    one = 1 + reach.before // canvas.stride + reach.after // canvas.stride
    least = max(one, canvas.least) * canvas.stride
    assert box.area <= max(side, least) ** 2, "only a single cell may need a larger window"


@many
@given(*[st.tuples(*[st.integers(-50, 50)] * 4).map(lambda edges: Box(*edges))] * 2, st.integers(1, 9))
def test_boxes_are_cut_and_joined_as_sets_of_pixels(one: Box, other: Box, factor: int) -> None:
    one, other = (
        Box(min(box.top, box.bottom), min(box.left, box.right), max(box.top, box.bottom), max(box.left, box.right))
        for box in (one, other)
    )

    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(y, x) for y in range(box.top, box.bottom) for x in range(box.left, box.right)}

    assert pixels(one.clip(other)) == pixels(one) & pixels(other)
    assert pixels(one) | pixels(other) <= pixels(one.unite(other))
    assert one.area == len(pixels(one))
    assert one.times(factor).area == factor**2 * one.area
    assert one.shift(3, -4).shift(-3, 4) == one
    assert one.grow(2, 5).clip(one) == one

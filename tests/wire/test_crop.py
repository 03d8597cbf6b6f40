"""What a client sends: the region with as much around it as the network looks at, and no pixel more."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamwire.crop import Box, crop
from dreamwire.params import context_pixels, validate

#: A dream that looks at little, and how far.
SHORT = validate("dream", {"layers": "blocks.2", "octaves": 1, "jitter": 0})
FAR = context_pixels("dream", SHORT)


@pytest.mark.parametrize(
    ("region", "size", "expected"),
    [
        pytest.param(
            (500, 600, 10, 20), (1000, 1200), (500 - FAR, 600 - FAR, 10 + 2 * FAR, 20 + 2 * FAR), id="room"
        ),
        pytest.param((0, 0, 10, 20), (1000, 1200), (0, 0, 10 + FAR, 20 + FAR), id="top left"),
        pytest.param(
            (990, 1180, 10, 20), (1000, 1200), (990 - FAR, 1180 - FAR, 10 + FAR, 20 + FAR), id="bottom right"
        ),
        pytest.param((FAR, 600, 10, 20), (1000, 1200), (0, 600 - FAR, 10 + 2 * FAR, 20 + 2 * FAR), id="just room"),
        pytest.param((0, 0, 1000, 1200), (1000, 1200), (0, 0, 1000, 1200), id="everything"),
        pytest.param((1, 1, 1, 1), (3, 3), (0, 0, 3, 3), id="a small picture"),
        pytest.param((0, 0, 1, 1), (1, 1), (0, 0, 1, 1), id="one pixel"),
        pytest.param((500, 0, 1, 1200), (1000, 1200), (500 - FAR, 0, 1 + 2 * FAR, 1200), id="a line"),
    ],
)
def test_crop(region: Box, size: tuple[int, int], expected: Box) -> None:
    assert expected == crop("dream", region, size, SHORT)


@st.composite
def regions(draw: st.DrawFn) -> tuple[Box, tuple[int, int]]:
    """A region in a picture."""
    height, width = draw(st.integers(1, 20_000)), draw(st.integers(1, 20_000))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    box = top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
    return box, (height, width)


dreams = st.fixed_dictionaries(
    {
        "layers": st.sampled_from(["", "blocks.0", "blocks.2+blocks.15"]),
        "octaves": st.integers(1, 12),
        "octave_scale": st.floats(1.1, 3),
        "jitter": st.integers(0, 512),
        "context": st.sampled_from(["exact", "fast"]),
    }
).map(lambda params: validate("dream", params))


@given(regions(), dreams)
def test_any_crop(where: tuple[Box, tuple[int, int]], values: Mapping[str, int | float | str]) -> None:
    region, size = where
    context = context_pixels("dream", values)
    cropped = crop("dream", region, size, values)
    for axis in (0, 1):
        start, length = region[axis], region[axis + 2]
        first, extent = cropped[axis], cropped[axis + 2]
        before, after = start - first, first + extent - (start + length)
        assert 0 <= first <= start < start + length <= first + extent <= size[axis]
        # All of the context on either side, or all that there is.
        assert before == min(context, start)
        assert after == min(context, size[axis] - start - length)


@given(regions(), dreams)
def test_a_crop_of_a_crop_is_itself(
    where: tuple[Box, tuple[int, int]], values: Mapping[str, int | float | str]
) -> None:
    region, size = where
    top, left, height, width = crop("dream", region, size, values)
    inside = region[0] - top, region[1] - left, region[2], region[3]
    assert (0, 0, height, width) == crop("dream", inside, (height, width), values)

"""A sequence feeds each frame with the one before, without numpy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dreamwire.client import Image, JobCancelledError
from dreamwire.messages import Array, Done, Message, Progress
from dreamwire.params import PARAMS
from dreamwire.zoom import frames, pasted

IMAGE = Image(bytes(range(24)), (4, 3, 2), "uint8")
BOX = (1, 1, 2, 2)


class Jobs:
    """A client whose jobs add 1 to every byte within a box."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.cancelled = 0

    def submit(self, kind: str, params: dict[str, Any], *, image: Image, mask: Image | None) -> Jobs:
        assert kind == "zoom"
        assert mask is None
        self.seeds.append(params["seed"])
        top, left, height, width = BOX
        _, columns, size = image.shape
        pixels = bytes(image.pixels)
        starts = ((row * columns + left) * size for row in range(top, top + height))
        changed = bytes(each + 1 for start in starts for each in pixels[start : start + width * size])
        output = Array("image", 0, "uint8", (height, width, size))
        self.events: Iterator[Message | None] = iter([
            None,
            Progress(job="j", state="dreaming", fraction=0.5),
            Done(job="j", box=BOX, outputs=(output,), params=params, info={}, frames=(changed,)),
        ])  # fmt: skip
        return self

    def next(self, timeout: float) -> Message | None:
        if self.cancelled:
            raise JobCancelledError
        return next(self.events)

    def cancel(self) -> None:
        self.cancelled += 1

    def __iter__(self) -> Iterator[Message]:
        raise JobCancelledError


def test_each_frame_is_made_of_the_one_before_with_a_seed_of_its_own() -> None:
    jobs, heard = Jobs(), []
    made = list(
        frames(
            jobs, IMAGE, {"seed": 7}, range(2, 5),  # type: ignore[arg-type]
            heard=lambda number, event: heard.append((number, event.fraction)),
        )
    )  # fmt: skip
    assert [number for number, _ in made] == [2, 3, 4]
    assert jobs.seeds == [9, 10, 11]
    assert heard == [(2, 0.5), (3, 0.5), (4, 0.5)]
    for number, image in made:
        changed = [new - old for new, old in zip(image.pixels, IMAGE.pixels, strict=True)]
        inside = [8, 9, 10, 11, 14, 15, 16, 17]
        assert changed == [number - 1 if index in inside else 0 for index in range(24)]
    assert jobs.cancelled == 0


def test_the_largest_seed_has_followers() -> None:
    jobs, most = Jobs(), int(PARAMS["seed"].maximum)
    list(frames(jobs, IMAGE, {"seed": most}, range(2, 3)))  # type: ignore[arg-type]
    assert jobs.seeds == [1]


def test_a_sequence_that_goes_on_is_as_if_it_had_never_ended() -> None:
    whole = list(frames(Jobs(), IMAGE, {}, range(2, 6)))  # type: ignore[arg-type]
    rest = list(frames(Jobs(), whole[1][1], {}, range(4, 6)))  # type: ignore[arg-type]
    assert rest == whole[2:]


@pytest.mark.parametrize("how", ["not wanted any more", "closed"])
def test_what_is_given_up_is_cancelled(how: str) -> None:
    jobs, left = Jobs(), [True] * 4
    stream = frames(jobs, IMAGE, {}, range(2, 9), wanted=lambda: bool(left and left.pop()))  # type: ignore[arg-type]
    assert next(stream)[0] == 2
    if how == "closed":
        stream.close()  # type: ignore[attr-defined]
        assert jobs.cancelled == 0  # nothing was under way
    else:
        assert list(stream) == []
        assert jobs.cancelled == 1


def test_pixels_are_pasted_whole_pixels_at_a_time() -> None:
    image = Image(bytes(12), (2, 3, 1), "uint16")
    found = pasted(image, (1, 1, 1, 2), b"abcd")
    assert bytes(found.pixels) == bytes(8) + b"abcd"
    assert (found.shape, found.dtype) == (image.shape, image.dtype)

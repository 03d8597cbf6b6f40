"""Sequences that dream and zoom, each frame made of the one before: the finale of google/deepdream (2015)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from .catalogue import drop
from .client import Client, Image
from .crop import Box
from .messages import Buffer, Done, Progress
from .params import PARAMS, Value, defaults

#: Seconds within which a sequence that is not wanted any more ends.
PROMPT = 0.03


def frames(
    client: Client,
    image: Image,
    params: Mapping[str, Value],
    numbers: range,
    *,
    mask: Image | None = None,
    heard: Callable[[int, Progress], None] = lambda number, event: None,
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[int, Image]]:
    """The frames of these numbers, each made of the one before, and the first of them of `image`.

    All are of its size, channels and type; only 16-bit and float ones lose nothing on the way. A frame depends
    on the frame before, its number and the parameters alone, so that a sequence may go on wherever it ended.
    `heard` is told how far each is. Ends when `wanted`, which is asked again and again meanwhile, says no;
    that, or closing the iterator, cancels what is under way. Raises what `Client.submit` and `Job.next` raise.
    """
    for number in numbers:
        job = client.submit("zoom", of_frame(params, number), image=image, mask=mask)
        done = None
        try:
            while done is None and wanted():
                event = job.next(PROMPT)
                if isinstance(event, Progress):
                    heard(number, event)
                elif isinstance(event, Done):
                    done = event
        finally:
            if done is None:
                drop(job)
        if done is None:
            return
        image = pasted(image, done.box, done.frames[0])
        yield number, image


def of_frame(params: Mapping[str, Value], number: int) -> dict[str, Value]:
    """The parameters of a frame: with the same seed, the grid of each would slide the same way."""
    seed = int(params.get("seed", defaults("zoom")["seed"])) + number
    return {**params, "seed": seed % int(PARAMS["seed"].maximum + 1)}


def pasted(image: Image, box: Box, pixels: Buffer) -> Image:
    """The image with other pixels at `box`, of its channels and type."""
    top, left, height, width = box
    rows, columns, _ = image.shape
    size = memoryview(image.pixels).nbytes // (rows * columns)
    result, new = bytearray(image.pixels), memoryview(pixels).cast("B")
    for row in range(height):
        start = ((top + row) * columns + left) * size
        result[start : start + width * size] = new[row * width * size : (row + 1) * width * size]
    return replace(image, pixels=result)

"""Commands that look at a picture: from a file, through the daemon, to a file or to what they tell."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamwire.client import Image, Job, JobCancelledError
from dreamwire.crop import Box, crop
from dreamwire.errors import DreamError
from dreamwire.messages import Buffer, Done, Preview, PreviewIs, Progress
from dreamwire.params import find_job, result_size, validate
from dreamwire.reports import percent, told
from dreamwire.words import where

from . import codec
from .call import INTERRUPTED, OK, Call
from .terminal import Bar, bar, table

CANCELLED = "Cancelled; no picture was written."
#: Height and width of a picture from nothing, unless another size is wanted.
BLANK = 384, 384

Mask = NDArray[np.float32]


def run(call: Call, kind: str) -> int:
    """Reads, has the job done, writes; tells how far it is and what it did."""
    arguments, job = call.arguments, find_job(kind)
    given = {name: getattr(arguments, name) for name in job.params if name in arguments}
    if "preset" in arguments:
        given = {**arguments.preset.params, **given}
    values = validate(kind, given)
    watch = Stopwatch()
    picture = source(arguments)
    size = result_size(values, picture.size)
    if job.gives != "report":
        codec.check_output(arguments.output, size)
    mask = read_mask(arguments.mask, picture)
    guide = codec.read(arguments.guide) if getattr(arguments, "guide", None) else None
    bounds = mask_bounds(mask, picture.size)
    # Only the daemon enlarges, so what surrounds the region has to go there too.
    part = crop(kind, bounds, picture.size, values) if size == picture.size else (0, 0, *picture.size)
    watch.lap("read")
    onto = _black(picture) if job.gives == "map" else picture
    with recording(getattr(arguments, "preview_dir", None), onto) as frames:
        # From before the job is sent, so that there is no moment at which Ctrl-C would tear it off.
        with call.client() as client, Interruption() as interruption:
            watch.lap("connect")
            here = slices(part)
            submitted = client.submit(
                kind,
                given,
                image=to_image(picture.pixels[here]),
                mask=None if mask is None else to_image(mask[here][..., None]),
                guide=None if guide is None else to_image(guide.pixels),
                # As many as come: the daemon sends no second one before the first has left.
                preview=Preview(interval_ms=20) if frames is not None else None,
            )
            done = follow(submitted, job.words.doing, part, frames, interruption)
        watch.lap("daemon")
        box = _placed(done.box, part)
        notes = []
        for output in done.outputs:
            result = laid(onto, box, _pixels(done.frames[output.frame], output.shape, output.dtype))
            if frames:
                frames.add(box, result.pixels[slices(box)])  # the last frame is the dream itself
            notes += codec.write(result, arguments.output)
        watch.lap("write")
    share = 1.0 if mask is None else float((mask > 0).mean())
    summary = {
        "output": str(arguments.output) if done.outputs else None,
        "box": box,
        "share": round(share, 4),
        "params": done.params,
        "info": done.info,
        "seconds": watch.seconds | done.info["seconds"],
        "notes": [*done.info["degraded"], *notes],
        "frames": frames.count if frames else 0,
    }
    call.result(summary, _told(job.words.done, size, summary))
    return OK


def source(arguments: argparse.Namespace) -> codec.Picture:
    """The picture named; for what needs none, without one a blank picture of the size wanted."""
    size = getattr(arguments, "size", None)
    if arguments.image is None:
        return codec.blank(*(size or BLANK))
    if size is not None:
        raise DreamError("bad_params", f"{arguments.image} has a size of its own; leave out it, or --size.")
    return codec.read(arguments.image)


class Stopwatch:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        """The time since the last lap was this one's."""
        now = time.monotonic()
        self.seconds[name], self._since = round(now - self._since, 3), now


def read_mask(name: str | None, picture: codec.Picture) -> Mask | None:
    """The region (H, W), 0..1: from a file, from the picture's own alpha, or None for all of it."""
    if name is None:
        return None
    if name != "alpha":
        return codec.read_mask(name, picture.size)
    if picture.pixels.shape[2] not in (2, 4):
        raise DreamError("bad_input", "The picture has no alpha to be the mask; name a file with --mask.")
    alpha: Mask = codec.convert(picture.pixels[..., -1], "float32")
    return np.clip(np.nan_to_num(alpha), 0, 1)


def follow(job: Job, doing: str, part: Box, frames: Frames | None, interruption: Interruption) -> Done:
    """Shows how far a job is until it is done; Ctrl-C cancels it, a second one leaves at once."""
    cancelling = False
    with Bar(doing) as bar:
        while True:
            try:
                event = job.next(0.1)
            except JobCancelledError:
                raise KeyboardInterrupt(CANCELLED) from None
            if interruption.wanted and not cancelling:
                cancelling = True
                job.cancel()
                bar.show("cancelling; Ctrl-C again leaves at once")
            if isinstance(event, Done):
                if cancelling:
                    raise KeyboardInterrupt(CANCELLED)
                return event
            if isinstance(event, Progress) and not cancelling:
                bar.show(where(event, f"step {event.step} of {event.steps}"), event.fraction)
            elif isinstance(event, PreviewIs) and frames:
                frames.add(_placed(event.box, part), _pixels(event.frames[0], event.array.shape, "uint8"))


class Interruption:
    """Inside, a first Ctrl-C is only remembered, so that it tears nothing apart; a second one ends the process."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Interruption:
        self._before = signal.getsignal(signal.SIGINT)
        if self._before != signal.SIG_IGN:  # as in the background of a script
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            os._exit(INTERRUPTED)
        self.wanted = True


class Frames:
    """Writes the states of a dream as whole pictures into a folder, numbered from 1."""

    def __init__(self, folder: Path, picture: codec.Picture) -> None:
        self._folder = folder
        self._picture = codec.Picture(codec.convert(picture.pixels, "uint8"), picture.metadata)
        self.count = 0

    def add(self, box: Box, pixels: NDArray[Any]) -> None:
        """Writes the picture with these pixels at `box`."""
        self.count += 1
        codec.write(laid(self._picture, box, pixels), self._folder / f"frame-{self.count:04d}.png")


def laid(picture: codec.Picture, box: Box, pixels: NDArray[Any]) -> codec.Picture:
    """The picture with pixels at their box; those of an enlarged picture are all of it."""
    height, width = picture.size
    if box[2] > height or box[3] > width:
        return replace(picture, pixels=pixels)
    return codec.paste(picture, box, pixels)


@contextlib.contextmanager
def recording(name: str | None, picture: codec.Picture) -> Iterator[Frames | None]:
    """Frames into a folder, which is made, and removed again if nothing came of it; None without a name."""
    if name is None:
        yield None
        return
    folder = Path(name)
    found = folder.exists()
    if found and any(folder.glob("frame-*.png")):
        # There may be more of them than this dream will have, which would then end in the other.
        raise DreamError("bad_input", f"{folder} has frames of another dream; empty it, or name another folder.")
    make_folder(folder)
    frames = Frames(folder, picture)
    try:
        codec.check_output(folder / "frame-0001.png")
        yield frames
    finally:
        if not found and not frames.count:
            folder.rmdir()


def make_folder(folder: Path) -> None:
    """Makes a folder unless it is there. Raises `DreamError` bad_input if it cannot be."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DreamError(
            "bad_input", f"{folder} cannot be made ({error.strerror}); name another folder."
        ) from error


def _black(picture: codec.Picture) -> codec.Picture:
    """A gray picture of the same size, type and metadata, all black."""
    return replace(picture, pixels=np.zeros_like(picture.pixels[..., :1]))


def mask_bounds(mask: Mask | None, size: tuple[int, int]) -> Box:
    """The box around a mask, or around all of a picture of `size`; an empty mask is refused."""
    if mask is None:
        return 0, 0, *size
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        raise DreamError("bad_input", "The mask is empty: paint white where the picture shall be dreamt.")
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left


def _placed(box: Box, part: Box) -> Box:
    """A box within a part of the picture, as a box within the picture."""
    return part[0] + box[0], part[1] + box[1], box[2], box[3]


def slices(box: Box) -> tuple[slice, slice]:
    """A box as an index of pixels (H, W, ...)."""
    top, left, height, width = box
    return slice(top, top + height), slice(left, left + width)


def to_image(pixels: NDArray[Any]) -> Image:
    """Pixels (H, W, C) as a client sends them."""
    height, width, channels = pixels.shape
    return Image(np.ascontiguousarray(pixels).data.cast("B"), (height, width, channels), pixels.dtype.name)


def _pixels(frame: Buffer, shape: tuple[int, int, int], dtype: str) -> NDArray[Any]:
    return np.frombuffer(frame, dtype).reshape(shape)


def bars(classes: Sequence[Mapping[str, Any]]) -> str:
    """Classes, and how probable they are."""
    return table(
        [(each["name"], percent(each["probability"]), bar(each["probability"])) for each in classes], "<>"
    )


def _told(did: str, size: tuple[int, int], summary: dict[str, Any]) -> str:
    height, width = size
    info, seconds = summary["info"], summary["seconds"]
    total = sum(seconds[name] for name in ("read", "connect", "daemon", "write"))
    means = " of ".join(filter(None, (info["objective"], info["network"])))
    where = f": {summary['output']}" if summary["output"] else ""
    frames = f", with {summary['frames']} frames on the way" if summary["frames"] else ""
    return "\n".join(
        [
            f"{did} {100 * summary['share']:.3g}% of {width}x{height} pixels with {means} in {total:.1f} s"
            f"{where}{frames}",
            *([bars(info["seen"])] if "seen" in info else told(info)),
            *(f"Note: {note}" for note in summary["notes"]),
        ]
    )

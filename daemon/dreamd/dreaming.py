"""`deepdream dream`: from a picture file, through the daemon, to a picture file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dreamwire.client import Client, Image, Job, JobCancelledError
from dreamwire.crop import Box, crop
from dreamwire.errors import DreamError
from dreamwire.messages import Done, Preview, PreviewIs, Progress
from dreamwire.params import validate

from . import codec
from .terminal import Bar

if TYPE_CHECKING:
    from .cli import Context


def run(context: Context) -> int:
    """Reads, dreams, writes; tells how far it is and what it did."""
    arguments = context.arguments
    started = time.monotonic()
    values = validate("dream", arguments.params)
    codec.check_output(arguments.output)
    picture = codec.read(arguments.image)
    mask = _mask(arguments.mask, picture)
    region = _bounds(mask)
    top, left, height, width = crop(region, picture.size, values)
    here = np.s_[top : top + height, left : left + width]
    read = time.monotonic()
    frames = Frames(Path(arguments.preview_dir), picture) if arguments.preview_dir else None
    with context.client() as client:
        connected = time.monotonic()
        job = client.submit(
            "dream",
            arguments.params,
            image=_image(picture.pixels[here]),
            mask=_image(mask[here][..., None]),
            preview=Preview(interval_ms=20) if frames else None,
        )
        done = follow(job, client, context, lambda event: frames.add(event, (top, left)) if frames else None)
    dreamt = time.monotonic()
    box = done.box[0] + top, done.box[1] + left, *done.box[2:]
    result = codec.paste(picture, box, _pixels(done.frames[0], done.outputs[0].shape, done.outputs[0].dtype))
    notes = codec.write(result, arguments.output)
    ended = time.monotonic()
    seconds = {
        "read": read - started,
        "connect": connected - read,
        "daemon": dreamt - connected,
        "write": ended - dreamt,
        **done.info["seconds"],
    }
    share = float((mask > 0).mean())
    summary = {
        "output": str(arguments.output),
        "box": box,
        "share": round(share, 4),
        "params": done.params,
        "info": done.info,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "notes": notes,
    }
    context.print(summary, _told(picture, summary, ended - started))
    return 0


def follow(job: Job, client: Client, context: Context, preview: Any) -> Done:
    """Shows how far a job is until it is done; Ctrl-C cancels it, a second one leaves at once."""
    with Bar("Dreaming") as bar:
        cancelling = False
        while True:
            try:
                event = job.next(None)
            except KeyboardInterrupt:
                if cancelling:
                    os._exit(130)
                cancelling = True
                job.cancel()
                bar.show(0, "cancelling; Ctrl-C again leaves at once")
                continue
            if isinstance(event, Progress) and not cancelling:
                bar.show(event.fraction, _where(event))
            elif isinstance(event, PreviewIs):
                preview(event)
            elif isinstance(event, Done):
                if cancelling:
                    raise JobCancelledError
                return event


def _where(event: Progress) -> str:
    if event.state == "queued":
        return f"waiting, {event.position} before" if event.position else "waiting"
    if event.state == "loading":
        return "loading the network"
    left = f", {event.seconds_left:.0f} s left" if event.seconds_left is not None else ""
    return f"octave {event.octave} of {event.octaves}, step {event.step} of {event.steps}{left}"


class Frames:
    """Writes the previews of a job as whole pictures, numbered from 1."""

    def __init__(self, folder: Path, picture: codec.Picture) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DreamError(
                "bad_input", f"{folder} cannot be made ({error.strerror}); name another folder."
            ) from error
        self._folder = folder
        self._picture = codec.Picture(codec.convert(picture.pixels, "uint8"), picture.metadata)
        self._count = 0

    def add(self, event: PreviewIs, origin: tuple[int, int]) -> None:
        """Writes one preview, whose box lies at `origin` in the picture."""
        self._count += 1
        box = event.box[0] + origin[0], event.box[1] + origin[1], *event.box[2:]
        pixels = _pixels(event.frames[0], event.array.shape, "uint8")
        codec.write(codec.paste(self._picture, box, pixels), self._folder / f"frame-{self._count:04d}.png")


def _mask(name: str | None, picture: codec.Picture) -> NDArray[np.float32]:
    """The region: from a file, from the picture's own alpha, or all of it."""
    if name is None:
        return np.ones(picture.size, np.float32)
    if name != "alpha":
        return codec.read_mask(name, picture.size)
    if picture.pixels.shape[2] not in (2, 4):
        raise DreamError("bad_input", "The picture has no alpha to be the mask; name a file with --mask.")
    alpha: NDArray[np.float32] = codec.convert(picture.pixels[..., -1:], "float32")[..., 0]
    return alpha


def _bounds(mask: NDArray[np.float32]) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        raise DreamError("bad_input", "The mask is empty: paint white where the picture shall be dreamt.")
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left


def _image(pixels: NDArray[Any]) -> Image:
    pixels = np.ascontiguousarray(pixels)
    height, width, channels = pixels.shape
    return Image(pixels.data.cast("B"), (height, width, channels), pixels.dtype.name)


def _pixels(frame: Any, shape: tuple[int, int, int], dtype: str) -> NDArray[Any]:
    return np.frombuffer(frame, dtype).reshape(shape)


def _told(picture: codec.Picture, summary: dict[str, Any], seconds: float) -> str:
    height, width = picture.size
    info = summary["info"]
    lines = [
        f"Dreamt {summary['share']:.0%} of {width}x{height} pixels with {info['layers']} of {info['network']}"
        f" in {seconds:.1f} s: {summary['output']}",
        *(f"Note: {note}" for note in (*info["degraded"], *summary["notes"])),
    ]
    return "\n".join(lines)

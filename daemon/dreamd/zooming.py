"""`deepdream zoom`: a sequence of frames, as a folder, a GIF or a video, that can be gone on with."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamwire import zoom
from dreamwire.crop import crop
from dreamwire.errors import DreamError
from dreamwire.messages import Progress
from dreamwire.params import FRAMES, find_job, validate
from dreamwire.words import duration

from . import codec
from .call import OK, Call
from .dreaming import Interruption, make_folder, mask_bounds, read_mask, slices, to_image
from .film import film_of
from .terminal import Bar

#: What a folder of frames holds besides them.
SETTINGS = "zoom.json"


def run(call: Call) -> int:
    """Reads, goes on after the last frame that is there, and puts all of them into what was asked for."""
    arguments, started = call.arguments, time.monotonic()
    given = {name: getattr(arguments, name) for name in find_job("zoom").params if name in arguments}
    values = validate("zoom", given)
    film = film_of(arguments.output)
    picture = codec.read(arguments.image)
    # In 8 bits each frame would be rounded anew.
    picture = replace(picture, pixels=codec.convert(picture.pixels, "uint16"))
    mask = read_mask(arguments.mask, picture)
    part = slices(crop("zoom", mask_bounds(mask, picture.size), picture.size, values))
    reel = Reel(film.folder, getattr(arguments, "frames", int(FRAMES.default)))
    reel.open(values | {"picture": _hash(picture.pixels), "mask": "" if mask is None else _hash(mask)})
    found = reel.count
    with Bar("Zooming") as bar, Interruption() as interruption:
        if not found:
            reel.add(picture)
        numbers = range(reel.count + 1, reel.wanted + 1)
        if numbers:
            with call.client() as client:
                last = codec.read(reel.file(reel.count))
                made = zoom.frames(
                    client,
                    to_image(last.pixels[part]),
                    values,
                    numbers,
                    mask=None if mask is None else to_image(mask[part][..., None]),
                    heard=Clock(numbers, bar).show,
                    wanted=lambda: not interruption.wanted,
                )
                for _, image in made:
                    pixels = last.pixels.copy()
                    pixels[part] = np.frombuffer(image.pixels, image.dtype).reshape(image.shape)
                    reel.add(replace(picture, pixels=pixels))
        if reel.count < reel.wanted:
            raise KeyboardInterrupt(
                f"Stopped. {reel.count} of {reel.wanted} frames are in {film.folder}; the same command goes on"
                " after them."
            )
        if film.develop:
            bar.show(f"writing {film.path}", 1.0)
            film.develop([reel.file(number + 1) for number in range(reel.wanted)], film.path, arguments.fps)
            reel.clear()
    (height, width), seconds = picture.size, time.monotonic() - started
    value = {
        "output": arguments.output,
        "frames": reel.wanted,
        "found": min(found, reel.wanted),
        "params": values,
        "seconds": round(seconds, 3),
    }
    before = f", {value['found']} of them found," if found else ""
    call.result(
        value,
        f"{reel.wanted} frames of {width}x{height} pixels{before} in {duration(seconds)}: {arguments.output}",
    )
    return OK


@dataclass
class Reel:
    """Frames in a folder, numbered from 1, and how many are wanted there; each appears whole or not at all."""

    folder: Path
    wanted: int
    count: int = 0

    def open(self, settings: Mapping[str, Any]) -> None:
        """Makes the folder, or counts the frames in it, which have to be of the same settings.

        Raises `DreamError` bad_input if they are not, or the folder cannot be made.
        """
        make_folder(self.folder)
        notes = self.folder / SETTINGS
        while self.file(self.count + 1).exists():
            self.count += 1
        if not self.count:
            codec.check_output(self.file(1))
            notes.write_text(json.dumps(settings, indent=2), encoding="utf-8")
            return
        try:
            before = json.loads(notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = {}
        if before != settings:
            raise DreamError(
                "bad_input",
                f"{self.folder} has frames of another sequence{_difference(before, settings)}. To go on, give what"
                " it was begun with; to begin anew, name another OUT or delete the folder.",
            )

    def file(self, number: int) -> Path:
        """The file of a frame."""
        return self.folder / f"frame-{number:04d}.png"

    def add(self, picture: codec.Picture) -> None:
        """Writes the next frame."""
        codec.write(picture, self.file(self.count + 1))
        self.count += 1

    def clear(self) -> None:
        """Takes away all frames, and the folder if nothing else is in it."""
        for number in range(self.count):
            self.file(number + 1).unlink()
        (self.folder / SETTINGS).unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class Clock:
    """Shows how far a sequence is, and how long it still takes if frames take as long as those before."""

    def __init__(self, numbers: range, bar: Bar) -> None:
        self._numbers, self._bar, self._started = numbers, bar, time.monotonic()

    def show(self, number: int, event: Progress) -> None:
        """Frame `number` is where `event` says."""
        done = number - self._numbers.start + event.fraction
        left = (time.monotonic() - self._started) * (len(self._numbers) / done - 1) if done else None
        last = self._numbers.stop - 1
        text = f", {duration(left)} left" if left is not None else ""
        self._bar.show(f"frame {number} of {last}{text}", (number - 1 + event.fraction) / last)


def _hash(pixels: NDArray[Any]) -> str:
    """What tells a picture from others."""
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is other than it was, as the end of a sentence."""
    other = [
        f"another {name}" if name in ("picture", "mask") else f"{name} {before[name]} instead of {now[name]}"
        for name in now
        if name in before and before[name] != now[name]
    ]
    return f" ({', '.join(other)})" if other else ""

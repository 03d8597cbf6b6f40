"""One job in the worker: from a `submit` to its `done`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dreamwire.errors import DreamError
from dreamwire.messages import Array, Done, Message, PreviewIs, Submit
from dreamwire.messages import Progress as ProgressIs
from dreamwire.params import Value, find_job, what

from .core.progress import Progress
from .core.pyramid import resize
from .core.region import EmptyRegionError
from .devices import Attempt, NetworkCache, choose_dtype
from .kinds import KINDS, Kind, Task, blends
from .models import LoadedNetwork
from .pixels import Arriving, Picture, encode, to_frame

#: Seconds between two messages of progress.
PROGRESS_EVERY = 0.1
#: The share of a job's time that previews may take; those of large pictures come less often than is asked for.
PREVIEWS_SHARE = 0.04


#: A preview; None while it is on its way from the device.
_Picture = Callable[[], PreviewIs | None]


class JobCancelledError(Exception):
    """The client does not want the job any more."""


@dataclass(frozen=True)
class Channel:
    """How a job talks to whoever wants it: `send` a message; `wish` is "stop", or nothing.

    `wish` raises `JobCancelledError`.
    """

    send: Callable[[Message], None]
    wish: Callable[[], str]


class Run:
    """One attempt at one job."""

    def __init__(
        self, submit: Submit, params: Mapping[str, Value], attempt: Attempt, cache: NetworkCache, channel: Channel
    ) -> None:
        self._submit, self._params, self._attempt = submit, params, attempt
        self._cache, self._channel = cache, channel
        self._stopped = False

    def result(self) -> Done:
        """Runs the job to its end. Raises `JobCancelledError`, `DreamError`, and torch's errors without memory."""
        started = time.monotonic()
        kind = KINDS[self._submit.kind]
        picture, task = self._task(kind)
        alpha = self._alpha(kind.onto(picture), task.mask)
        loaded = time.monotonic()
        try:
            last = self._follow(kind.run(task), alpha)
        except EmptyRegionError:
            raise DreamError(
                "bad_input",
                "There is nothing to dream: the mask is empty, or the picture is transparent where it is not."
                " Select a part of the picture.",
            ) from None
        cut_out = alpha[last.region.index] if self._cuts_out and alpha is not None else None
        changed, made = task.mask[last.region.index] > 0, last.picture()
        report = kind.report(task, partial(_after, task, last, made))
        outputs: tuple[Tensor, ...] = ()
        if find_job(self._submit.kind).gives != "report":
            shown = kind.show(self._params, task.source[last.region.index], made)
            onto = kind.onto(picture)
            outputs = (onto.replaced(last.region.top, last.region.left, shown, changed, cut_out),)
        seconds = {"load": round(loaded - started, 4), "dream": round(time.monotonic() - loaded, 4)}
        return Done(
            job=self._submit.job,
            box=_box(last),
            outputs=tuple(_describe(pixels, picture.dtype) for pixels in outputs),
            params=dict(self._params),
            info=_used(task) | self._attempt.described() | report | {"seconds": seconds, "stopped": self._stopped},
            frames=tuple(to_frame(pixels) for pixels in outputs),
        )

    def _network(self, name: str) -> LoadedNetwork:
        """A network; the client is told if it has to be loaded first."""
        device = self._attempt.device
        dtype = choose_dtype(str(self._params["precision"]), device)
        if not self._cache.holds(name, device, dtype):
            self._channel.send(ProgressIs(job=self._submit.job, state="loading"))
        network = self._cache.get(name, device, dtype)
        network.at_once = self._attempt.at_once
        return network

    def _task(self, kind: Kind) -> tuple[Picture, Task]:
        """The picture as it came, and what is to be done to it on the device.

        Transparent pixels are outside the region, but for a job that needs no picture.
        """
        device = self._attempt.device
        given = {
            array.name: Picture.read(array, self._submit.frames[array.frame]) for array in self._submit.inputs
        }
        picture = given["image"]
        mask = (
            given["mask"].mask(device) if "mask" in given else torch.ones(picture.pixels.shape[:2], device=device)
        )
        if not find_job(self._submit.kind).needs_picture:
            picture, mask = picture.filled(mask, blended=blends(self._params))
        elif (alpha := picture.alpha(device)) is not None:
            mask = mask * (alpha[0] > 0)
        picture, mask = kind.prepare(self._params, picture, mask)
        colour = picture.colour(device)
        network = self._network(str(self._params["network"]))
        window = self._attempt.window
        return picture, Task(
            self._submit.kind, self._params, colour, mask, network, window, self._network, given.get("guide")
        )

    @property
    def _cuts_out(self) -> bool:
        return self._params.get("edge") == "alpha"

    def _alpha(self, picture: Picture, mask: Tensor) -> Tensor | None:
        """The alpha of the result `(1, H, W)`: the picture's, or a cut-out by the mask if that is wanted."""
        alpha = picture.alpha(mask.device)
        if not self._cuts_out:
            return alpha
        if alpha is None:
            raise DreamError(
                "bad_input", "edge is alpha, but the picture has no alpha to cut out by. Send one, or use blended."
            )
        return alpha * mask

    def _follow(self, dream: Iterator[Progress], alpha: Tensor | None) -> Progress:
        """Runs a dream to its end or until stopped, telling the client how far it is; where it came to."""
        preview = self._submit.preview
        picture: _Picture | None = None
        started = shown = time.monotonic()
        told = taken = 0.0
        for progress in dream:
            if self._channel.wish() == "stop":
                self._stopped = True
                return progress
            now = time.monotonic()
            if now - told >= PROGRESS_EVERY:
                told = now
                self._channel.send(self._progress(progress, now - started))
            picture = self._passed_on(picture)
            if preview and not picture and progress.window == progress.windows and progress.fraction < 1:
                # The first picture comes at once, the others in their time.
                first = progress.octave == progress.step == 1
                if first or now - shown >= max(preview.interval_ms / 1000, taken / PREVIEWS_SHARE):
                    picture = self._passed_on(self._preview(progress, alpha, preview.max_side))
                    shown = time.monotonic()
                    taken = shown - now
        return progress

    def _passed_on(self, picture: _Picture | None) -> _Picture | None:
        """Sends a preview if it is here; one that is still on its way is returned."""
        message = picture() if picture else None
        if message:
            self._channel.send(message)
        return None if message else picture

    def _progress(self, progress: Progress, elapsed: float) -> ProgressIs:
        return ProgressIs(
            job=self._submit.job,
            state="dreaming",
            octave=progress.octave,
            octaves=progress.octaves,
            step=progress.step,
            steps=progress.steps,
            fraction=progress.fraction,
            seconds_left=elapsed * (1 - progress.fraction) / progress.fraction,
            value=progress.value if math.isfinite(progress.value) else 0.0,
        )

    def _preview(self, progress: Progress, alpha: Tensor | None, max_side: int) -> _Picture:
        """The region as it is, in 8 bit, no side longer than `max_side`; None while it is not here yet."""
        region = progress.region
        reduction = max(1.0, max(region.height, region.width) / max_side)
        size = [max(1, round(side / reduction)) for side in (region.height, region.width)]
        pixels = progress.sketch(size)
        if alpha is not None:
            pixels = torch.cat([pixels, resize(alpha[region.index], size)])
        arriving = Arriving.of(encode(pixels, "uint8").permute(1, 2, 0))

        def picture() -> PreviewIs | None:
            small = arriving.pixels()
            if small is None:
                return None
            return PreviewIs(
                job=self._submit.job,
                octave=progress.octave,
                step=progress.step,
                box=_box(progress),
                array=_describe(small, "uint8"),
                frames=(to_frame(small),),
            )

        return picture


def _after(task: Task, last: Progress, made: Tensor) -> Tensor:
    """The picture worked on with what has been made of its region; a map is no picture."""
    after = task.source.clone()
    if made.shape[0] == after.shape[0]:
        after[last.region.index] = made
    return after


def _used(task: Task) -> dict[str, Any]:
    weights = task.network.row.weights
    return {
        "network": task.network.row.name,
        "objective": what(task.kind, task.params),
        "weights": weights.file,
        "weights_sha256": weights.sha256,
        "precision": str(task.network.dtype).removeprefix("torch."),
    }


def _box(progress: Progress) -> tuple[int, int, int, int]:
    region = progress.region
    return region.top, region.left, region.height, region.width


def _describe(pixels: Tensor, dtype: str) -> Array:
    height, width, channels = pixels.shape
    return Array(name="image", frame=0, dtype=dtype, shape=(height, width, channels))

"""What the entries of the menu do: from a layer and settings to a dreamt layer.

A run ends by returning its layers, or by an exception whose message is for the user.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gi

gi.require_version("Gimp", "3.0")
from gi.repository import Gimp

from canvas import Enlarged, Pixels, RefusalError, Result, Source, guide_pixels, layer_of, origin, source_of
from dreamwire.client import Image, JobCancelledError
from dreamwire.crop import Box
from dreamwire.messages import Array, Buffer, Done, Message, Preview, PreviewIs, Progress
from dreamwire.networks import find_network
from dreamwire.params import FRAMES, Value, find_job
from dreamwire.presets import find_preset
from dreamwire.reports import given_up, told
from dreamwire.words import where
from dreamwire.zoom import of_frame, pasted
from loop import Loop
from session import Dream, Session
from settings import MASKS, Settings, argument, is_sequence, keeps_mask, remember, remembered, shown

#: Milliseconds between two frames on the canvas, and pixels along the longer side of each.
PREVIEWS = Preview(interval_ms=250, max_side=2048)


@dataclass(frozen=True)
class Made:
    """What came of a call: layers, the first of which is returned, and what the daemon told of the jobs."""

    layers: Sequence[Gimp.Layer]
    infos: Sequence[Mapping[str, Any]]

    @property
    def report(self) -> str:
        """What a script is told of the first job, as JSON."""
        return json.dumps(self.infos[0])


class CancelledError(Exception):
    """The user does not want it any more."""


@dataclass(frozen=True)
class Call:
    """One call of a procedure, which has jobs of a `kind` done."""

    kind: str
    procedure: Gimp.Procedure
    mode: Gimp.RunMode
    image: Gimp.Image
    drawables: Sequence[Gimp.Drawable]
    config: Gimp.ProcedureConfig

    @property
    def interactive(self) -> bool:
        """Whether somebody looks on."""
        return bool(self.mode != Gimp.RunMode.NONINTERACTIVE)

    @property
    def guide(self) -> Pixels | None:
        """What the layer shows that the dream is to become like, if the procedure takes one and it is given."""
        return guide_pixels(self.config.get_property("guide")) if self.config.find_property("guide") else None

    @property
    def asks(self) -> bool:
        """Whether a dialog is to ask for settings."""
        return bool(self.mode == Gimp.RunMode.INTERACTIVE)


# What entries do


def make(call: Call) -> Made:
    """Dream... and its like: each layer by itself, with settings from the dialog, the last, or the arguments."""
    last = remembered(call.kind) if call.interactive else None
    settings = last or (Settings.usual(call.kind) if call.asks else given(call.kind, call.config))
    return _make(call, settings, _sources(call.drawables))


def look(call: Call) -> Made:
    """What Does It See?: tells what the network sees; somebody who looks on may see where, and select it."""
    if len(call.drawables) != 1:
        raise RefusalError("Choose one layer to be looked at.")
    settings = (remembered(call.kind) if call.interactive else None) or given(call.kind, call.config)
    sources = _sources(call.drawables)
    if not call.asks:
        return _run(call, sources, settings, Loop())
    from seeing import SeeingWindow

    loop = Loop()
    wanted = SeeingWindow(sources[0], settings, loop.post).ask()
    if wanted is None:
        sources[0].close()
        if not call.image.is_valid():
            raise CancelledError  # GIMP would keep the settings in it
        return Made([], [{}])
    return Made([], _run(call, sources, wanted, loop).infos)


def again(call: Call) -> Made:
    """Dream Again: with the settings last used, without a dialog."""
    settings = remembered() or Settings.of({})
    return _run(call, _sources(call.drawables), settings, Loop())


def deeper(call: Call) -> Made:
    """Dream Deeper: a dreamt layer once more, with the settings it carries."""
    settings = _settings_of(call.drawables)
    return _run(call, _sources(call.drawables), settings, Loop())


def redream(call: Call) -> Made:
    """Re-dream...: what a dreamt layer came from, in the same region, with changed settings."""
    settings = _settings_of(call.drawables)
    layer = layer_of(call.drawables[0])
    if settings.kind != call.kind:
        raise RefusalError(
            f"“{layer.get_name()}” is no dream but was made by {find_job(settings.kind).label}..., which makes"
            " another one from the layer below it."
        )
    below = source_of(layer)
    if below is None:
        raise RefusalError(
            f"The layer that “{layer.get_name()}” was dreamt from is gone, or was moved or cropped. Undo that, or"
            " use Dream Deeper, which begins at the dream itself."
        )
    # Somebody who looks on changes them in the dialog; a script, by its arguments.
    changed = settings if call.interactive else given(call.kind, call.config, settings)
    return _make(call, changed, [Source(below, layer)], layer)


def _settings_of(drawables: Sequence[Gimp.Drawable]) -> Settings:
    known = origin(layer_of(drawables[0])) if len(drawables) == 1 else None
    if known is None:
        raise RefusalError(
            "Choose one layer that Deep Dream has made: it carries the settings to go on with. For any other layer"
            " there is Dream..."
        )
    return known.settings


def given(kind: str, config: Gimp.ProcedureConfig, base: Settings | None = None) -> Settings:
    """The settings in a procedure's arguments.

    Arguments at their defaults leave what the preset says, or `base`.
    """
    params: dict[str, Any] = dict(base.params) if base else {}
    if config.find_property("preset") and config.get_property("preset"):
        params |= find_preset(config.get_property("preset"), kind).params
    for name in shown(kind):
        value = config.get_property(argument(name))
        if value != find_job(kind).params[name].default:
            params[name] = value
    mask = config.get_property("mask-as") if keeps_mask(kind) else next(iter(MASKS))
    frames = config.get_property(FRAMES.name) if is_sequence(kind) else FRAMES.default
    if base is not None and mask == next(iter(MASKS)):
        mask = base.mask
    return Settings.of(params, mask, kind, int(frames))


def _sources(drawables: Sequence[Gimp.Drawable]) -> list[Source]:
    if not drawables:
        raise RefusalError("No layer is chosen. Choose the layer that is to be dreamt.")
    sources: list[Source] = []
    try:
        for drawable in drawables:
            sources.append(Source(drawable))
    except BaseException:
        for source in sources:
            source.close()
        raise
    return sources


def _make(call: Call, settings: Settings, sources: list[Source], replaces: Gimp.Layer | None = None) -> Made:
    """Asks for changes of the settings if somebody is to be asked, then has it done."""
    loop = Loop()
    if not call.asks:
        return _run(call, sources, settings, loop, replaces=replaces)
    from dialog import JobDialog  # GTK is needed by nobody else

    dialog = JobDialog(call.procedure, call.config, sources[0], settings, loop.post)
    chosen = dialog.ask()
    if chosen is None:
        for source in sources:
            source.close()
        dialog.session.close()
        raise CancelledError
    return _run(call, sources, chosen, loop, dialog.session, replaces)


def _run(
    call: Call,
    sources: list[Source],
    settings: Settings,
    loop: Loop,
    session: Session | None = None,
    replaces: Gimp.Layer | None = None,
) -> Made:
    if call.interactive:
        # Before the run: a cancelled run, or one that GIMP kills, loses no settings.
        remember(settings)
    made = Film if is_sequence(settings.kind) else Run
    run = made(call, sources, settings, loop, replaces)
    session = session or Session(loop.post)
    session.tell = run.say
    try:
        return run.made(session)
    finally:
        session.close()


class Run:
    """Dreams some sources, one after another, each into a new layer.

    With somebody looking on, a layer appears with its first frame and changes with every further one; its
    insertion is the one step of undo, because what is painted into a layer's buffer later leaves none. Otherwise
    all are inserted when all are done, as one step, or none.
    """

    def __init__(
        self,
        call: Call,
        sources: list[Source],
        settings: Settings,
        loop: Loop,
        replaces: Gimp.Layer | None = None,
    ) -> None:
        self._call, self._sources, self._settings, self._loop = call, sources, settings, loop
        self._replaces = replaces
        self._weights = find_network(str(settings.params["network"])).weights.sha256
        self._done: list[Result | Enlarged] = []
        self._infos: list[Mapping[str, Any]] = []
        self._guide: Pixels | None = None
        self._dream: Dream | None = None
        self._result: Result | Enlarged | None = None
        self._stopped = False
        self._window: Any = None
        self._error: Exception | None = None

    def made(self, session: Session) -> Made:
        """Has it done, and returns what came of it. Raises `CancelledError`, or what went wrong; see `_drop`."""
        self._session = session
        Gimp.progress_init(self._settings.title)
        self._show("reading the layer", 0.0)
        if self._call.interactive:
            from windows import RunWindow

            doing = find_job(self._settings.kind).words.doing
            self._window = RunWindow(doing, self._settings.title, self._stop, self._cancel)
        try:
            jobs = [self._taken(source) for source in self._sources]
            self._guide = self._call.guide
            self._jobs = list(zip(self._sources, jobs, strict=True))
            self._next()
            self._loop.run()
            if self._error is None and not self._call.interactive:
                self._insert(self._done)
            elif self._error is None:
                self._tell()
        except BaseException:
            self._drop()
            raise
        finally:
            for source in self._sources:
                source.close()
            if self._window is not None:
                self._window.destroy()
            Gimp.progress_end()
        if self._error is not None:
            raise self._error
        return Made([result.layer for result in self._done], self._infos)

    def _tell(self) -> None:
        """Says what was reached: a line in the image's window, or more of them in one of their own."""
        sentences = [each for info in self._infos for each in (*told(info), *given_up(info))]
        if sentences:
            # As long as there is progress, GIMP puts a line beside it.
            Gimp.message("\n".join(sentences))

    def say(self, text: str) -> None:
        """Shows what the session is at."""
        self._show(text, 0.0)

    def _taken(self, source: Source) -> tuple[Pixels, Pixels | None]:
        """What is sent of a source: taken now, whatever is done to the layer and the selection later."""
        place = source.crop(self._settings)
        return source.pixels(place), source.mask(place)

    def _next(self) -> None:
        source, (pixels, mask) = self._jobs.pop(0)
        source.check()
        self._result = self._result_of(source, pixels)
        self._submit(self._settings.sent, pixels.image, mask)

    def _submit(self, params: Mapping[str, Value], image: Image, mask: Pixels | None) -> None:
        self._dream = self._session.dream(
            Dream(
                self,
                params,
                image,
                None if mask is None else mask.image,
                PREVIEWS if self._call.interactive else None,
                self._settings.kind,
                None if self._guide is None else self._guide.image,
            )
        )

    def _result_of(self, source: Source, sent: Pixels) -> Result | Enlarged | None:
        """Where pixels go, if any come."""
        if find_job(self._settings.kind).gives == "report":
            return None
        if self._settings.scale != 1:
            return Enlarged(source, sent, self._settings, self._weights, window=self._call.interactive)
        return Result(source, sent, self._settings, self._weights, self._replaces)

    def on_event(self, event: Message) -> None:
        if isinstance(event, Progress):
            self._show(where(event, f"{event.fraction:.0%}"), event.fraction)
        elif isinstance(event, PreviewIs) and (result := self._untroubled()):
            self._paint(result, event.box, event.frames[0], event.array)
            if self._window is not None:
                self._window.can_stop()

    def on_done(self, done: Done) -> None:
        if result := self._untroubled():
            self._paint(result, done.box, done.frames[0], done.outputs[0])
            self._done.append(result)
            self._result = None
        self._infos.append(done.info)
        if self._error is None and self._jobs and not self._stopped:
            self._next()
        else:
            self._loop.quit()

    def on_failed(self, error: Exception) -> None:
        self._error = self._error or (CancelledError() if isinstance(error, JobCancelledError) else error)
        self._drop()
        self._loop.quit()

    def _paint(self, result: Result | Enlarged, box: Box, frame: Buffer, array: Array) -> None:
        # Bytes: GIMP's bindings would take a memoryview element by element.
        result.show(box, bytes(frame), array.shape, array.dtype)
        if self._call.interactive and not result.inserted:
            self._insert([result])
        Gimp.displays_flush()

    def _insert(self, results: Sequence[Result | Enlarged]) -> None:
        """Puts layers into the image as one step of undo, or shows enlarged ones."""
        if not results:
            return
        image = results[0].image
        image.undo_group_start()
        try:
            for result in results:
                result.insert()
        finally:
            image.undo_group_end()

    def _untroubled(self) -> Result | Enlarged | None:
        """The layer, if it can still be painted; if not, the dream is dropped and the reason kept."""
        if self._error is not None or self._result is None:
            return None
        trouble = self._result.trouble
        if not trouble:
            return self._result
        self._error = RefusalError(trouble)
        self._cancel()
        if self._result.inserted:
            self._result = None  # whatever the user has done to it, it is his
        return None

    def _drop(self) -> None:
        """Leaves no half-made layer, and none of several that were to come together."""
        if self._result is not None and self._result.inserted:
            self._result.remove()
            Gimp.displays_flush()
        for result in [*self._done, *([self._result] if self._result is not None else [])]:
            if not result.inserted:
                result.discard()
        self._result = None

    def _stop(self) -> None:
        self._stopped = True
        if self._dream is not None:
            self._dream.stop()

    def _cancel(self) -> None:
        self._show("cancelling", 0.0)
        if self._dream is not None:
            self._dream.cancel()

    def _show(self, text: str, fraction: float) -> None:
        Gimp.progress_set_text(f"{self._settings.title}: {text}")
        Gimp.progress_update(fraction)
        if self._window is not None:
            self._window.show_progress(text, fraction)


class Film(Run):
    """Makes sequences of frames, each made of the one before.

    With somebody looking on, the layer shows one after another; when all are there, or on a stop, those before it
    are put below it, as a second step of undo. Otherwise all are inserted as one.
    """

    _number = 0

    def _taken(self, source: Source) -> tuple[Pixels, Pixels | None]:
        """In float: what were rounded in every frame would drift."""
        pixels, mask = super()._taken(source)
        return source.pixels(pixels.place, dtype="float32"), mask

    def _next(self) -> None:
        self._source, (self._pixels, self._mask) = self._jobs[0]
        self._image = self._pixels.image
        self._earlier: list[Result] = []
        self._number = 0
        super()._next()

    def _submit(self, params: Mapping[str, Value], image: Image, mask: Pixels | None) -> None:
        self._number += 1
        super()._submit(of_frame(params, self._number + 1), image, mask)

    def on_done(self, done: Done) -> None:
        if self._stopped or self._number + 1 >= self._settings.frames or self._untroubled() is None:
            before, self._earlier = self._earlier[::-1], []
            whole = self._untroubled() is not None
            super().on_done(done)
            if whole:
                self._finish(before)
            return
        frame, array = done.frames[0], done.outputs[0]
        name = f"{self._settings.title}, {self._number + 1}"
        earlier = Result(self._source, self._pixels, self._settings, self._weights, name=name)
        earlier.show(done.box, bytes(frame), array.shape, array.dtype)
        self._earlier.append(earlier)
        self._image = pasted(self._image, done.box, frame)
        self._submit(self._settings.sent, self._image, self._mask)

    def _finish(self, before: Sequence[Result]) -> None:
        """Puts the frames before the last one, which is there, below it."""
        if self._call.interactive:
            self._insert(before)
        self._done += before

    def _drop(self) -> None:
        for result in self._earlier:
            result.discard()
        self._earlier = []
        super()._drop()

    def _show(self, text: str, fraction: float) -> None:
        if self._number:
            steps = self._settings.frames - 1
            text = f"frame {self._number + 1} of {steps + 1}, {text}"
            fraction = (self._number - 1 + fraction) / steps
        super()._show(text, fraction)

"""The live preview: a small dream of the region that begins anew whenever a setting has changed."""

from __future__ import annotations

from typing import Any

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("GdkPixbuf", "2.0")
from gi.repository import GdkPixbuf, GLib, Gtk

from canvas import Pixels, Place, RefusalError, Source
from dreamwire.messages import Done, Message, Preview, PreviewIs, Progress
from dreamwire.params import Value
from session import Dream, Session, advice
from settings import Settings
from windows import column, label, row

#: Pixels of the preview.
WIDTH, HEIGHT = 400, 300


class LivePreview:
    """A small picture of what will come of the region, which is pressed to see what is there now.

    Of a dream it shows what the first octaves do, at their own scale, so that what is seen is what will come;
    finer octaves add what is too small to be seen here. A region too large for that is shown in part.
    """

    def __init__(self, source: Source, session: Session) -> None:
        self._source, self._session = source, session
        self._dream: Dream | None = None
        self._timer = 0
        self._before: GdkPixbuf.Pixbuf | None = None
        self._after: GdkPixbuf.Pixbuf | None = None
        self._last: tuple[Settings, Pixels | None] | None = None
        self._comparing = False
        self._image = Gtk.Image(width_request=WIDTH, height_request=HEIGHT)
        frame = Gtk.EventBox(tooltip_text="Press to see the picture as it is.")
        frame.add(self._image)
        frame.connect("button-press-event", self._pressed, True)
        frame.connect("button-release-event", self._pressed, False)
        self._switch = Gtk.CheckButton.new_with_mnemonic("_Preview")
        self._switch.set_active(True)
        self._switch.connect("toggled", self._switched)
        self._said = label("", width=34)
        self.widget = column(frame, row(self._switch, self._said), gap=6)

    @property
    def picture(self) -> GdkPixbuf.Pixbuf | None:
        """What it has come to, if there is anything."""
        return self._after

    def say(self, text: str) -> None:
        """A line below the picture."""
        self._said.set_text(text)

    def show(self, settings: Settings, guide: Pixels | None = None, settled: int = 0) -> None:
        """Begins anew with these settings, and a guide, as soon as they have not changed for `settled` ms."""
        self.end()
        self._last = settings, guide
        if self._switch.get_active():
            self._timer = GLib.timeout_add(settled, self._begin, settings, guide)

    def end(self) -> None:
        """Drops the dream that runs."""
        if self._timer:
            GLib.source_remove(self._timer)
            self._timer = 0
        if self._dream is not None:
            self._dream.let_go()
            self._dream = None

    def _switched(self, switch: Gtk.CheckButton) -> None:
        if switch.get_active() and self._last is not None:
            self.show(*self._last)
        else:
            self.end()
            self.say("")
            self._after = self._before
            self._refresh()

    def _pressed(self, _frame: Gtk.EventBox, _event: Any, pressed: bool) -> None:
        self._comparing = pressed
        self._refresh()

    def _refresh(self) -> None:
        self._image.set_from_pixbuf(self._before if self._comparing else self._after)

    def _begin(self, settings: Settings, guide: Pixels | None) -> bool:
        self._timer = 0
        view, scale, octaves = self._view(settings)
        try:
            pixels, mask = self._source.pixels(view, scale, "uint8"), self._source.mask(view, scale)
        except RefusalError as error:
            self.say(str(error))
            return False
        before = picture(pixels.frame, pixels.image.shape)
        if settings.scale != 1:
            width, height = (int(side * settings.scale) for side in (before.get_width(), before.get_height()))
            before = before.scale_simple(width, height, GdkPixbuf.InterpType.HYPER)
        self._before = self._after = before
        self._refresh()
        quick: dict[str, Value] = {"octaves": octaves, "context": "fast", "edge": "blended"}
        params = dict(settings.params) | {name: value for name, value in quick.items() if name in settings.params}
        self._dream = self._session.dream(
            Dream(
                self,
                params,
                pixels.image,
                None if mask is None else mask.image,
                Preview(interval_ms=120),
                settings.kind,
                None if guide is None else guide.image,
            )
        )
        return False

    def _view(self, settings: Settings) -> tuple[Place, float, int]:
        """What is shown: a part of the image, its scale, and how many of the octaves."""
        region, octaves = self._source.region, int(settings.params.get("octaves", 0))
        across, down = (int(side / settings.scale) for side in (WIDTH, HEIGHT))
        scale, fewer = min(1.0, across / region.width, down / region.height), 0
        for fewer in range(octaves):
            scale = float(settings.params["octave_scale"]) ** -fewer
            if region.width * scale <= across and region.height * scale <= down:
                break
        # With room to spare, what lies around the region; without, the middle of the region.
        width, height = round(across / scale), round(down / scale)
        middle = region.left + region.width // 2, region.top + region.height // 2
        around = Place(middle[0] - width // 2, middle[1] - height // 2, width, height)
        view = around.intersect(self._source.picture) or region
        return view, scale, octaves - fewer

    def on_event(self, event: Message) -> None:
        if isinstance(event, PreviewIs):
            self._paint(event.box, event.frames[0], event.array.shape)
        elif isinstance(event, Progress):
            if event.state == "dreaming":
                octave = f"Octave {event.octave} of {event.octaves}"
                self.say(octave if event.octaves > 1 else f"{event.fraction:.0%}")
            else:
                self.say("Loading the network..." if event.state == "loading" else "Waiting...")

    def on_done(self, done: Done) -> None:
        self._paint(done.box, done.frames[0], done.outputs[0].shape)
        self.say("")

    def on_failed(self, error: Exception) -> None:
        self.say(advice(error))

    def _paint(self, box: tuple[int, int, int, int], frame: Any, shape: tuple[int, int, int]) -> None:
        if self._before is None:
            return
        top, left, height, width = box
        self._after = self._before.copy()
        picture(frame, shape).copy_area(0, 0, width, height, self._after, left, top)
        self._refresh()


def picture(frame: Any, shape: tuple[int, int, int]) -> GdkPixbuf.Pixbuf:
    """8-bit pixels, gray, or RGB or gray with alpha, as a picture that GTK can show."""
    height, width, channels = shape
    if channels < 3:
        gray = bytes(frame)
        colours = bytearray(b"\xff") * (4 * width * height)
        for channel in range(3):
            colours[channel::4] = gray[0::channels]
        if channels == 2:
            colours[3::4] = gray[1::2]
        frame = colours
    data = GLib.Bytes.new(bytes(frame))
    return GdkPixbuf.Pixbuf.new_from_bytes(data, GdkPixbuf.Colorspace.RGB, True, 8, width, height, 4 * width)

"""What Does It See?: what a network sees in a region, how surely, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
gi.require_version("GdkPixbuf", "2.0")
from gi.repository import GdkPixbuf, Gimp, GimpUi, GLib, Gtk

from canvas import RefusalError, Source, select
from dreamwire.messages import Done, Message, Progress
from dreamwire.networks import CLASSES, networks
from dreamwire.params import defaults
from dreamwire.reports import percent
from dreamwire.words import where
from preview import HEIGHT, WIDTH, picture
from session import Dream, Post, Session, advice
from settings import Settings, remember
from windows import GAP, button, column, init, label, row

#: Pixels of the longer side of what is looked at: more than networks were trained on.
SIDE = 900
#: How much darker is what is not selected, of 255; and over how much of the map's values a selection fades out.
DARKER, FADE = 200, 50


@dataclass
class Answer:
    """Hears of one job: `say` is told how it goes, `done` what came of it."""

    say: Callable[[str], None]
    done: Callable[[Done], None]

    def on_event(self, event: Message) -> None:
        if isinstance(event, Progress):
            self.say(f"{where(event, f'{event.fraction:.0%}').capitalize()}...")

    def on_done(self, done: Done) -> None:
        self.say("")
        self.done(done)

    def on_failed(self, error: Exception) -> None:
        self.say(advice(error))


class SeeingWindow:
    """The classes that a network sees in a source's region; where it sees one can be selected, or mapped."""

    def __init__(self, source: Source, settings: Settings, post: Post) -> None:
        init()
        self._source, self._settings = source, settings
        self._session = Session(post)
        self._job: Dream | None = None
        self._class = ""
        #: The map of the class: its shape, and its pixels in 8 bit.
        self._map: tuple[tuple[int, int, int], bytes] | None = None
        place = source.crop(settings)
        scale = min(1.0, SIDE / max(source.region.width, source.region.height))
        self._pixels, self._mask = source.pixels(place, scale, "uint8"), source.mask(place, scale)
        small = source.pixels(
            source.region, min(1.0, WIDTH / source.region.width, HEIGHT / source.region.height), "uint8"
        )
        self._before = picture(small.frame, small.image.shape)
        self._build()

    def ask(self) -> Settings | None:
        """Runs the window; the settings of the map that is to become a layer, or None."""
        self._dialog.show_all()
        self._look()
        try:
            answer = self._dialog.run()
            return self._wanted() if answer == Gtk.ResponseType.APPLY else None
        finally:
            self._drop()
            self._session.close()
            self._dialog.destroy()

    def _build(self) -> None:
        self._dialog = GimpUi.Dialog(title="What Does It See?", role="deep-dream-see")
        self._image = Gtk.Image(width_request=WIDTH, height_request=HEIGHT)
        self._image.set_from_pixbuf(self._before)
        self._network = Gtk.ComboBoxText()
        for name, network in networks().items():
            if CLASSES in network.layers:
                self._network.append(name, network.label)
        self._network.set_active_id(str(self._settings.params["network"]))
        self._network.connect("changed", lambda _: self._chose_network())
        self._classes = Gtk.Grid(column_spacing=GAP, row_spacing=6)
        self._share = Gtk.Scale.new_with_range(Gtk.Orientation.HORIZONTAL, 1, 99, 1)
        self._share.set_value(50)
        self._share.connect("value-changed", lambda _: self._refresh())
        self._said = label("", width=44)
        self._session.tell = self._said.set_text
        self._select = button("_Select it", self._selected, "Makes what is lit GIMP's selection, to dream there.")
        self._show = button("_Map it", self._mapped, "A new layer, bright where the network sees it.")
        self._able(False)
        share = row(label("Threshold"), self._share)
        share.set_child_packing(self._share, True, True, 0, Gtk.PackType.START)
        share.set_tooltip_text("How strongly it must be seen where it is selected.")
        network = row(label("Network"), self._network)
        network.set_child_packing(self._network, True, True, 0, Gtk.PackType.START)
        hint = label("Choose one to see where it is.", width=44)
        controls = column(network, self._classes, hint, share, row(self._select, self._show, gap=6), self._said)
        both = row(column(self._image), controls)
        both.set_child_packing(controls, True, True, 0, Gtk.PackType.START)
        both.set_border_width(GAP)
        self._dialog.get_content_area().pack_start(both, True, True, 0)
        self._dialog.add_button("_Close", Gtk.ResponseType.CLOSE)

    # What is asked of the daemon

    def _ask(self, settings: Settings, done: Callable[[Done], None]) -> None:
        self._drop()
        mask = None if self._mask is None else self._mask.image
        answer = Answer(self._said.set_text, done)
        self._job = self._session.dream(
            Dream(answer, settings.params, self._pixels.image, mask, None, settings.kind)
        )

    def _drop(self) -> None:
        if self._job is not None:
            self._job.let_go()
            self._job = None

    def _chose_network(self) -> None:
        params = dict(self._settings.params) | {"network": self._network.get_active_id()}
        self._settings = Settings.of(params, kind=self._settings.kind)
        remember(self._settings)
        self._look()

    def _look(self) -> None:
        """Asks what is seen."""
        self._class, self._map = "", None
        self._able(False)
        self._refresh()
        for child in self._classes.get_children():
            child.destroy()
        self._ask(self._settings, self._seen)

    def _seen(self, done: Done) -> None:
        first = None
        for line, each in enumerate(done.info["seen"]):
            name, share = str(each["name"]), float(each["probability"])
            # One group, in which at first none is chosen.
            first = made = Gtk.RadioButton.new_with_label_from_widget(first, name)
            if line == 0:
                nobody = Gtk.RadioButton.new_from_widget(made)
                nobody.set_active(True)
            made.connect("toggled", partial(self._chose_class, name))
            bar = Gtk.ProgressBar(fraction=share, text=percent(share), show_text=True, hexpand=True)
            self._classes.attach(made, 0, line, 1, 1)
            self._classes.attach(bar, 1, line, 1, 1)
        self._classes.show_all()

    def _chose_class(self, name: str, pressed: Gtk.RadioButton) -> None:
        if pressed.get_active():
            self._class = name
            self._ask(self._wanted(), self._found)

    def _wanted(self) -> Settings:
        """The settings of the map of the class that is chosen."""
        params: Mapping[str, Any] = defaults("saliency") | {
            "network": self._settings.params["network"],
            "classes": self._class,
        }
        return Settings.of(params, kind="saliency")

    def _found(self, done: Done) -> None:
        self._map = done.outputs[0].shape, bytes(done.frames[0])
        self._able(True)
        self._refresh()

    # What is seen of it

    def _lit(self) -> bytes:
        """The map as a selection: what is above the least, with a soft edge."""
        assert self._map is not None  # noqa: S101 - buttons that need one are gray without
        least = 255 * self._share.get_value() / 100
        table = bytes(round(255 * min(1.0, max(0.0, (value - least) / FADE + 0.5))) for value in range(256))
        return self._map[1].translate(table)

    def _refresh(self) -> None:
        """The picture, darker where nothing would be selected."""
        shown = self._before
        if self._map is not None:
            height, width, _ = self._map[0]
            dark = bytearray(4 * width * height)
            dark[3::4] = self._lit().translate(bytes(DARKER * (255 - value) // 255 for value in range(256)))
            over = GdkPixbuf.Pixbuf.new_from_bytes(
                GLib.Bytes.new(bytes(dark)), GdkPixbuf.Colorspace.RGB, True, 8, width, height, 4 * width
            )
            shown = self._before.copy()
            across, down = shown.get_width(), shown.get_height()
            over.composite(
                shown, 0, 0, across, down, 0, 0, across / width, down / height, GdkPixbuf.InterpType.BILINEAR, 255
            )
        self._image.set_from_pixbuf(shown)

    def _able(self, able: bool) -> None:
        for each in (self._select, self._show, self._share):
            each.set_sensitive(able)

    def _selected(self) -> None:
        assert self._map is not None  # noqa: S101 - as above
        try:
            self._source.check()
        except RefusalError as error:
            self._said.set_text(str(error))
            return
        select(self._source.image, self._source.region, self._map[0], self._lit())
        Gimp.displays_flush()
        self._dialog.response(Gtk.ResponseType.CLOSE)

    def _mapped(self) -> None:
        self._dialog.response(Gtk.ResponseType.APPLY)

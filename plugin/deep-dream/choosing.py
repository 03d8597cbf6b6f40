"""Choosing layers by looking: what each layer of a network, and each channel of a layer, makes of the region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
gi.require_version("GdkPixbuf", "2.0")
from gi.repository import GdkPixbuf, GimpUi, GLib, Gtk

from canvas import Pixels, Source, open_layers
from dreamwire import catalogue
from dreamwire.catalogue import Entry
from dreamwire.client import Client, Image
from session import Session, advice
from settings import Settings
from windows import GAP, button, column, label, row

#: Of the settings, what thumbnails are made with; the rest would make them slow.
KEPT = ("network", "smoothing", "levels", "colour", "seed")
#: Pixels of the longer side of a thumbnail.
SIDE = 144


class Chooser:
    """Thumbnails of the region, as they are made; `choose` is given the entry that is pressed.

    The first page has the network's layers. From a layer one may go on to its channels.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        post: Callable[[Callable[[], None]], None],
        choose: Callable[[Entry], None],
    ) -> None:
        self._post, self._choose = post, choose
        self._given = {name: settings.params[name] for name in KEPT if name in settings.params}
        self._image = thumbnail(source)
        self._session = Session(post)
        self._page = 0
        self._dialog = GimpUi.Dialog(title="Choose by Looking", role="deep-dream-choose")
        self._box = Gtk.FlowBox(
            selection_mode=Gtk.SelectionMode.NONE,
            homogeneous=True,
            min_children_per_line=4,
            max_children_per_line=8,
        )
        self._head, self._said = label(""), label("")
        self._back = button("_Back to the layers", self._show_layers)
        self._keep = button("_As an image", self._keeping, "Opens these as the layers of a new image.")
        area = Gtk.ScrolledWindow(hscrollbar_policy=Gtk.PolicyType.NEVER)
        area.set_min_content_height(480)
        area.add(self._box)
        head = row(self._head, self._back, self._keep, gap=6)
        head.set_child_packing(self._head, True, True, 0, Gtk.PackType.START)
        content = column(head)
        content.pack_start(area, True, True, 0)
        content.pack_start(self._said, False, False, 0)
        content.set_border_width(GAP)
        self._dialog.get_content_area().pack_start(content, True, True, 0)
        self._dialog.add_button("_Close", Gtk.ResponseType.CLOSE)
        self._dialog.set_default_size(5 * (SIDE + 24), 620)

    def run(self) -> None:
        """Shows the window until something is chosen, or it is closed."""
        self._dialog.show_all()
        self._show_layers()
        self._dialog.run()
        self._page += 1  # whatever is under way is wanted no more
        self._session.close()
        self._dialog.destroy()

    def _show_layers(self) -> None:
        self._back.hide()
        self._show(
            "Press what you like. Low layers draw strokes, high ones animals.", catalogue.layers(self._given)
        )

    def _show_channels(self, layer: str) -> None:
        self._back.show()
        self._show(f"Channels of {layer}: each has its own shapes.", catalogue.channels(self._given, layer))

    def _show(self, head: str, entries: Sequence[Entry]) -> None:
        self._page += 1
        self._head.set_text(head)
        for child in self._box.get_children():
            child.destroy()
        self._images: dict[str, Gtk.Image] = {}
        self._pictures: dict[str, Image] = {}
        self._keep.set_sensitive(False)
        for entry in entries:
            self._box.add(self._cell(entry))
        self._box.show_all()
        self._session.ask(partial(self._make, self._page, entries), self._made, self._failed)

    def _cell(self, entry: Entry) -> Gtk.Widget:
        image = Gtk.Image.new_from_pixbuf(picture(self._image))
        self._images[entry.name] = image
        pressed = Gtk.Button(relief=Gtk.ReliefStyle.NONE)
        pressed.add(column(image, Gtk.Label(label=entry.name), gap=2))
        pressed.connect("clicked", lambda _: self._chosen(entry))
        cell = column(pressed, gap=0)
        if not entry.params.get("channels"):
            more = button("its channels", lambda: self._show_channels(str(entry.params["layers"])))
            more.set_relief(Gtk.ReliefStyle.NONE)
            cell.pack_start(more, False, False, 0)
        return cell

    def _chosen(self, entry: Entry) -> None:
        self._choose(entry)
        self._dialog.response(Gtk.ResponseType.CLOSE)

    # In the session's thread

    def _make(self, page: int, entries: Sequence[Entry], client: Client) -> None:
        wanted = catalogue.thumbnails(client, self._image, entries, wanted=lambda: page == self._page)
        for entry, pixels in wanted:
            self._post(partial(self._paint, page, entry, pixels))

    # In the window's

    def _paint(self, page: int, entry: Entry, pixels: bytes) -> None:
        if page == self._page:
            made = self._pictures[entry.name] = Image(pixels, self._image.shape, "uint8")
            self._images[entry.name].set_from_pixbuf(picture(made))
            self._keep.set_sensitive(len(self._pictures) == len(self._images))

    def _keeping(self) -> None:
        open_layers(self._pictures)

    def _made(self, _nothing: None) -> None:
        self._said.set_text("")

    def _failed(self, error: Exception) -> None:
        self._said.set_text(advice(error))


def thumbnail(source: Source) -> Image:
    """The region of a source, small, in 8 bit, without its alpha."""
    place = source.region
    scale = min(1.0, SIDE / max(place.width, place.height))
    return without_alpha(source.pixels(place, scale, "uint8"))


def without_alpha(pixels: Pixels) -> Image:
    """8-bit pixels without their last channel."""
    channels = pixels.channels - 1
    frame = bytearray(len(pixels.frame) // pixels.channels * channels)
    for channel in range(channels):
        frame[channel::channels] = pixels.frame[channel :: pixels.channels]
    return Image(bytes(frame), (pixels.place.height, pixels.place.width, channels), "uint8")


def picture(image: Image) -> GdkPixbuf.Pixbuf:
    """8-bit gray or RGB as a picture that GTK can show."""
    height, width, channels = image.shape
    frame = bytes(image.pixels)
    if channels == 1:
        frame = bytes(value for gray in frame for value in (gray, gray, gray))
    data = GLib.Bytes.new(frame)
    return GdkPixbuf.Pixbuf.new_from_bytes(data, GdkPixbuf.Colorspace.RGB, False, 8, width, height, 3 * width)

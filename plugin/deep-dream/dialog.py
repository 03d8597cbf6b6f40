"""Dream...: presets to choose by their pictures, every parameter, and a live preview of the region."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
gi.require_version("GdkPixbuf", "2.0")
from gi.repository import GdkPixbuf, Gimp, GimpUi, GLib, GObject, Gtk

from canvas import Place, RefusalError, Source
from dreamwire.errors import DreamError
from dreamwire.messages import Done, Message, Preview, PreviewIs, Progress
from dreamwire.networks import NETWORKS
from dreamwire.params import PARAMS, Param, validate
from dreamwire.presets import PRESETS
from session import Dream, Session, advice
from settings import PERSONAL, SHOWN, Settings, argument
from windows import GAP, button, column, init, label, row

PICTURES = Path(__file__).resolve().parent / "pictures"
#: Pixels of the preview.
WIDTH, HEIGHT = 400, 300
#: Milliseconds without a change after which the preview begins anew.
SETTLED = 200
#: What the dialog shows of a dream's parameters below network and layers; the rest is in the expander.
FIRST = ("strength", "octaves", "steps", "colour", "seed")
MORE = tuple(name for name in SHOWN if name not in (*FIRST, "network", "layers"))


class DreamDialog:
    """The dialog of a procedure that dreams; `ask` runs it. `session` stays open for the dream itself."""

    def __init__(
        self,
        procedure: Gimp.Procedure,
        config: Gimp.ProcedureConfig,
        source: Source,
        initial: Settings,
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        init()
        # While the dialog itself changes its widgets, they tell nothing.
        self._marking = self._writing = False
        self._config = config
        self._write(initial)
        self._dialog = GimpUi.ProcedureDialog.new(procedure, config, "Deep Dream")
        self.session = Session(post, lambda: self._preview.say("Starting the daemon..."))
        self._preview = LivePreview(source, self.session)
        self._error = label("", width=48)
        self._layers = Gtk.ComboBoxText.new_with_entry()
        self._build()
        self._changed_layers()
        self._mark_preset()
        config.connect("notify", self._changed)

    def ask(self) -> Settings | None:
        """What the user has chosen, or None."""
        self._preview.show(self._settings())
        try:
            return self._settings() if self._dialog.run() else None
        finally:
            self._preview.end()
            self._dialog.destroy()

    def _build(self) -> None:
        dialog = self._dialog
        for name in (*FIRST, *MORE):
            self._number(PARAMS[name])
        network = dialog.fill_box("networks", ["network"])
        first = dialog.fill_box("first", [*map(argument, FIRST), "mask-as"])
        more = dialog.fill_box("more", list(map(argument, MORE)))
        expander = Gtk.Expander.new_with_mnemonic("_More settings")
        more.set_border_width(6)
        expander.add(more)
        for box in (network, first, more):
            box.set_spacing(6)
        self._layers.set_tooltip_text(PARAMS["layers"].help)
        self._label = label("Layers")
        layers = row(self._label, self._layers, gap=6)
        layers.set_child_packing(self._layers, True, True, 0, Gtk.PackType.START)
        self._layers.connect("changed", self._chose_layers)
        controls = column(network, layers, first, expander, self._error, gap=6)
        area = Gtk.ScrolledWindow(hscrollbar_policy=Gtk.PolicyType.NEVER, propagate_natural_width=True)
        area.set_min_content_height(HEIGHT + 60)
        area.add(controls)
        both = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=GAP)
        both.pack_start(self._preview.widget, False, False, 0)
        both.pack_start(area, True, True, 0)
        content = column(self._presets())
        content.pack_start(both, True, True, 0)
        content.set_border_width(GAP)
        content.show_all()
        dialog.get_content_area().pack_start(content, True, True, 0)

        self._align()

    def _number(self, row: Param) -> None:
        """A number's widget: a slider over what is usual, beside which everything else can be typed in."""
        if row.name == "seed":
            made = self._dialog.get_widget("seed", GimpUi.LabelSpin)
            another = button("_Another", self._other_seed, "Another dream with the same settings.")
            made.attach(another, 9, 0, 1, 1)  # beside label and number
        elif row.kind in ("int", "float"):
            made = self._dialog.get_scale_entry(argument(row.name), 1.0)
            most = min(row.usual, row.maximum)
            if row.kind == "float":
                made.set_increments((most - row.minimum) / 100, (most - row.minimum) / 10)
                made.set_digits(4 if most < 1 else 2)
            if most < row.maximum:
                made.set_bounds(row.minimum, most, True)

    def _other_seed(self) -> None:
        self._config.set_property("seed", random.randrange(1, 10_000))  # noqa: S311 - no secret

    def _align(self) -> None:
        """One column of labels."""
        group = Gtk.SizeGroup(mode=Gtk.SizeGroupMode.HORIZONTAL)
        group.add_widget(self._label)
        for name in ("network", *FIRST, *MORE, "mask-as"):
            made = self._dialog.get_widget(argument(name), GObject.TYPE_NONE)
            if isinstance(made, GimpUi.Labeled):
                group.add_widget(made.get_label())

    # Presets

    def _presets(self) -> Gtk.Widget:
        box = Gtk.FlowBox(
            selection_mode=Gtk.SelectionMode.NONE,
            homogeneous=True,
            min_children_per_line=4,
            max_children_per_line=8,
        )
        self._buttons: dict[str, Gtk.ToggleButton] = {}
        for name, preset in PRESETS.items():
            made = Gtk.ToggleButton(relief=Gtk.ReliefStyle.NONE, tooltip_text=preset.help)
            made.add(column(_sample(name), Gtk.Label(label=preset.label), gap=2))
            made.connect("toggled", self._chose_preset, name)
            self._buttons[name] = made
            box.add(made)
        return box

    def _chose_preset(self, pressed: Gtk.ToggleButton, name: str) -> None:
        if self._marking:
            return
        wanted = validate("dream", PRESETS[name].params)
        self._writing = True
        for each in SHOWN:
            if each not in PERSONAL:
                self._config.set_property(argument(each), wanted[each])
        self._writing = False
        self._changed()

    def _mark_preset(self) -> None:
        """Presses the button of the preset that the settings are, if they are one."""
        try:
            current = self._settings().preset
        except DreamError:
            current = ""
        self._marking = True
        for name, made in self._buttons.items():
            made.set_active(name == current)
        self._marking = False

    # Settings

    def _write(self, settings: Settings) -> None:
        self._config.set_property("preset", "custom")
        self._config.set_property("mask-as", settings.mask)
        for name in SHOWN:
            self._config.set_property(argument(name), settings.params[name])

    def _settings(self) -> Settings:
        given = {name: self._config.get_property(argument(name)) for name in SHOWN}
        return Settings.of(given, self._config.get_property("mask-as"))

    def _changed(self, _config: Any = None, changed: Any = None) -> None:
        if self._writing:
            return
        if changed is not None and changed.name == "network":
            # A network's layers mean nothing to another one.
            self._config.set_property("layers", "")
        self._changed_layers()
        self._mark_preset()
        try:
            settings = self._settings()
        except DreamError as error:
            self._error.set_text(advice(error))
            self._dialog.set_response_sensitive(Gtk.ResponseType.OK, False)
            self._preview.end()
            return
        self._error.set_text("")
        self._dialog.set_response_sensitive(Gtk.ResponseType.OK, True)
        self._preview.show(settings, SETTLED)

    def _changed_layers(self) -> None:
        """The network's layers to choose from, and what is chosen."""
        network = NETWORKS[self._config.get_property("network")]
        self._writing = True
        if self._layers.get_name() != network.name:
            self._layers.set_name(network.name)
            self._layers.remove_all()
            for name in network.offers:
                self._layers.append(name, name)
        text = self._config.get_property("layers") or network.default_layer
        entry = self._layers.get_child()
        if entry.get_text().strip() != text:
            entry.set_text(text)
        self._writing = False

    def _chose_layers(self, combo: Gtk.ComboBoxText) -> None:
        if self._writing:
            return
        network = NETWORKS[self._config.get_property("network")]
        text = combo.get_child().get_text().strip()
        self._config.set_property("layers", "" if text == network.default_layer else text)


def _sample(preset: str) -> Gtk.Widget:
    """What a preset makes of a cloud."""
    try:
        sample = GdkPixbuf.Pixbuf.new_from_file_at_scale(str(PICTURES / f"{preset}.jpg"), 96, 72, True)
    except GLib.Error:
        return Gtk.Label()  # a picture that is missing is no reason not to dream
    return Gtk.Image.new_from_pixbuf(sample)


class LivePreview:
    """A small dream of the region, in a picture that is pressed to see what is there now.

    It shows what the dream's first octaves do, at their own scale, so that what is seen is what will come; finer
    octaves add what is too small to be seen here. A region too large for that is shown in part.
    """

    def __init__(self, source: Source, session: Session) -> None:
        self._source, self._session = source, session
        self._dream: Dream | None = None
        self._timer = 0
        self._before: GdkPixbuf.Pixbuf | None = None
        self._after: GdkPixbuf.Pixbuf | None = None
        self._last: Settings | None = None
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

    def say(self, text: str) -> None:
        """A line below the picture."""
        self._said.set_text(text)

    def show(self, settings: Settings, settled: int = 0) -> None:
        """Begins anew with these settings, as soon as they have not changed for a moment."""
        self.end()
        self._last = settings
        if self._switch.get_active():
            self._timer = GLib.timeout_add(settled, self._begin, settings)

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
            self.show(self._last)
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

    def _begin(self, settings: Settings) -> bool:
        self._timer = 0
        view, scale, octaves = self._view(settings)
        try:
            pixels, mask = self._source.pixels(view, scale, "uint8"), self._source.mask(view, scale)
        except RefusalError as error:
            self.say(str(error))
            return False
        self._before = self._after = picture(pixels.frame, pixels.image.shape)
        self._refresh()
        params = dict(settings.params) | {"octaves": octaves, "context": "fast", "edge": "blended"}
        self._dream = self._session.dream(
            Dream(self, params, pixels.image, None if mask is None else mask.image, Preview(interval_ms=120))
        )
        return False

    def _view(self, settings: Settings) -> tuple[Place, float, int]:
        """What is shown: a part of the image, its scale, and how many of the octaves."""
        region, octaves = self._source.region, int(settings.params["octaves"])
        ratio = float(settings.params["octave_scale"])
        for fewer in range(octaves):
            scale = ratio**-fewer
            if region.width * scale <= WIDTH and region.height * scale <= HEIGHT:
                break
        # With room to spare, what lies around the region; without, the middle of the region.
        width, height = round(WIDTH / scale), round(HEIGHT / scale)
        middle = region.left + region.width // 2, region.top + region.height // 2
        around = Place(middle[0] - width // 2, middle[1] - height // 2, width, height)
        view = around.intersect(self._source.picture) or region
        return view, scale, octaves - fewer

    def on_event(self, event: Message) -> None:
        if isinstance(event, PreviewIs):
            self._paint(event.box, event.frames[0], event.array.shape)
        elif isinstance(event, Progress):
            if event.state == "dreaming":
                self.say(f"Octave {event.octave} of {event.octaves}")
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
    """8-bit pixels, RGB or gray with alpha, as a picture that GTK can show."""
    height, width, channels = shape
    if channels == 2:
        gray = bytes(frame)
        colours = bytearray(4 * width * height)
        for channel in range(3):
            colours[channel::4] = gray[0::2]
        colours[3::4] = gray[1::2]
        frame = colours
    data = GLib.Bytes.new(bytes(frame))
    return GdkPixbuf.Pixbuf.new_from_bytes(data, GdkPixbuf.Colorspace.RGB, True, 8, width, height, 4 * width)

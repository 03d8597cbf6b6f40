"""The dialog of every job: presets to choose by their pictures, its parameters, and a live preview."""

from __future__ import annotations

import contextlib
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

from canvas import Pixels, RefusalError, Source, guide_pixels
from choosing import Chooser
from dreamwire.catalogue import Entry
from dreamwire.classes import synonyms
from dreamwire.errors import DreamError
from dreamwire.networks import Network, find_network, networks
from dreamwire.params import FRAMES, GUIDE, Param, find_job, layer_weights, validate
from dreamwire.presets import Preset, presets
from dreamwire.texts import format_weights
from own import OwnPresets, picture_of
from preview import HEIGHT, LivePreview
from session import Session, advice
from settings import MASKS, PERSONAL, Settings, argument, is_sequence, keeps_mask, shown
from windows import GAP, button, column, init, label, row

PICTURES = Path(__file__).resolve().parent / "pictures"
#: Milliseconds without a change after which the preview begins anew.
SETTLED = 200


class JobDialog:
    """The dialog of a procedure that has a job done; `ask` runs it. `session` stays open for the job itself.

    Its widgets are those of the job's parameters: at the head what is looked for, then what is not `advanced`, and
    everything else in an expander.
    """

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
        self._config, self._source, self._post = config, source, post
        self._kind = initial.kind
        self._rows = {name: find_job(self._kind).params[name] for name in shown(self._kind)}
        self._write(initial)
        self._dialog = GimpUi.ProcedureDialog.new(procedure, config, find_job(self._kind).label)
        self.session = Session(post)
        self._preview = LivePreview(source, self.session)
        self.session.tell = self._preview.say
        self._error = label("", width=48)
        self._layers = Gtk.ComboBoxText.new_with_entry()
        self._labels: list[Gtk.Label] = []
        self._row = row(gap=0)
        self._build()
        self._changed_layers()
        config.connect("notify", self._changed)

    def ask(self) -> Settings | None:
        """What the user has chosen, or None."""
        self._refresh()
        try:
            return self._settings() if self._dialog.run() else None
        finally:
            self._preview.end()
            self._dialog.destroy()

    def _build(self) -> None:
        dialog = self._dialog
        chosen = [name for name, row in self._rows.items() if row.kind == "network"]
        head = [name for name in ("classes",) if name in self._rows]
        rest = [name for name in self._rows if name not in (*chosen, *head, "layers")]
        first = [name for name in rest if not self._rows[name].advanced]
        more = [name for name in rest if self._rows[name].advanced]
        for name in rest:
            self._number(self._rows[name])
        if "classes" in head:
            complete(dialog.get_widget("classes", GimpUi.LabelEntry).get_entry())
        mask = ["mask-as"] if keeps_mask(self._kind) else []
        if is_sequence(self._kind):
            self._number(FRAMES)
            mask = [FRAMES.name, *mask]
        boxes = {
            "head": dialog.fill_box("head", head),
            "first": dialog.fill_box("first", [*map(argument, first), *mask]),
            "more": dialog.fill_box("more", list(map(argument, more))),
        }
        for box in boxes.values():
            box.set_spacing(6)
        expander = Gtk.Expander.new_with_mnemonic("_More settings")
        network, *others = map(self._network_row, chosen)
        further = column(boxes["more"], *others, gap=6)
        further.set_border_width(6)
        expander.add(further)
        controls = column(
            network,
            boxes["head"],
            *self._guide_row(),
            *self._layers_row(),
            boxes["first"],
            expander,
            self._error,
            gap=6,
        )
        area = Gtk.ScrolledWindow(
            hscrollbar_policy=Gtk.PolicyType.NEVER, propagate_natural_width=True, propagate_natural_height=True
        )
        area.set_min_content_height(HEIGHT + 60)
        area.set_max_content_height(HEIGHT + 180)
        area.add(controls)
        both = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=GAP)
        hint = "Keeps these settings by a name, or takes those that somebody sent you."
        own = button("Presets of your o_wn...", self._own, hint)
        own.set_halign(Gtk.Align.START)
        both.pack_start(column(self._preview.widget, own, gap=6), False, False, 0)
        both.pack_start(area, True, True, 0)
        content = column(self._presets_row())
        content.pack_start(both, True, True, 0)
        content.set_border_width(GAP)
        content.show_all()
        dialog.get_content_area().pack_start(content, True, True, 0)
        self._align([*map(argument, [*head, *rest]), *mask])

    def _guide_row(self) -> list[Gtk.Widget]:
        if GUIDE not in find_job(self._kind).inputs:
            return []
        chooser = self._dialog.get_widget("guide", GObject.TYPE_NONE)
        # Its own label would stand in no column.
        chooser.get_label().set_no_show_all(True)
        chooser.get_label().hide()
        return [self._row_of("Guide", chooser)]

    def _layers_row(self) -> list[Gtk.Widget]:
        if "layers" not in self._rows:
            return []
        self._layers.set_tooltip_text(self._rows["layers"].help)
        self._layers.connect("changed", self._chose_layers)
        look = button("_By looking...", self._look, "Shows what each layer makes of the region.")
        return [self._row_of("Layers", self._layers, look)]

    def _network_row(self, name: str) -> Gtk.Widget:
        """The networks to choose from, those of timm that were pulled among them."""
        known = Gtk.ListStore(str, str)
        if not self._rows[name].default:
            known.append(["", "the smallest that is here"])
        for network in networks().values():
            known.append([network.name, network.label])
        combo = GimpUi.prop_string_combo_box_new(self._config, name, known, 0, 1)
        combo.set_tooltip_text(self._rows[name].help)
        return self._row_of(self._rows[name].label, combo)

    def _row_of(self, text: str, widget: Gtk.Widget, *more: Gtk.Widget) -> Gtk.Widget:
        """A widget that is not the dialog's own, with its label."""
        self._labels.append(label(text))
        made = row(self._labels[-1], widget, *more, gap=6)
        made.set_child_packing(widget, True, True, 0, Gtk.PackType.START)
        return made

    def _look(self) -> None:
        try:
            settings = self._settings()
            chooser = Chooser(self._source, settings, self._post, self._chose_entry)
        except (DreamError, RefusalError) as error:
            self._error.set_text(advice(error))
            return
        self._preview.end()  # the daemon is wanted for something else
        chooser.run()
        self._preview.show(self._settings(), self._guide())

    def _chose_entry(self, entry: Entry) -> None:
        """Sets what a thumbnail shows."""
        self._writing = True
        self._config.set_property("layers", entry.params["layers"])
        self._config.set_property("channels", entry.params.get("channels", ""))
        if "classes" in self._rows:
            self._config.set_property("classes", "")
        self._writing = False
        self._changed()

    def _number(self, row: Param) -> None:
        """A number's widget: a slider over what is usual, beside which everything else can be typed in."""
        if row.name == "seed":
            made = self._dialog.get_widget("seed", GimpUi.LabelSpin)
            another = button("_Another", self._other_seed, "Another one with the same settings.")
            made.attach(another, 9, 0, 1, 1)  # beside label and number
        elif row.kind in ("int", "float"):
            made = self._dialog.get_scale_entry(argument(row.name), 1.0)
            most = min(max(row.usual, float(row.default)), row.maximum)
            least = max(row.minimum, -most)
            if row.kind == "float":
                made.set_increments((most - least) / 100, (most - least) / 10)
                made.set_digits(4 if most < 1 else 2)
            if most < row.maximum:
                made.set_bounds(least, most, True)

    def _other_seed(self) -> None:
        self._config.set_property("seed", random.randrange(1, 10_000))  # noqa: S311 - no secret

    def _align(self, arguments: list[str]) -> None:
        """One column of labels."""
        group = Gtk.SizeGroup(mode=Gtk.SizeGroupMode.HORIZONTAL)
        for each in self._labels:
            group.add_widget(each)
        for name in arguments:
            made = self._dialog.get_widget(name, GObject.TYPE_NONE)
            if isinstance(made, GimpUi.Labeled):
                group.add_widget(made.get_label())

    # Presets

    def _presets_row(self) -> Gtk.Widget:
        # Not in lines: the dialog is as high as a small screen already.
        area = Gtk.ScrolledWindow(vscrollbar_policy=Gtk.PolicyType.NEVER)
        area.add(self._row)
        self._fill_presets()
        return area

    def _fill_presets(self) -> None:
        """A button for each preset."""
        for child in self._row.get_children():
            child.destroy()
        self._presets = presets(self._kind)
        self._buttons: dict[str, Gtk.ToggleButton] = {}
        for name, preset in self._presets.items():
            made = Gtk.ToggleButton(relief=Gtk.ReliefStyle.NONE, tooltip_text=preset.help)
            made.add(column(_sample(name), Gtk.Label(label=preset.label), gap=2))
            made.connect("toggled", self._chose_preset, preset)
            self._buttons[name] = made
            self._row.pack_start(made, False, False, 0)
        self._row.show_all()
        self._mark_preset()

    def _own(self) -> None:
        try:
            settings = self._settings()
        except DreamError:
            return  # it is told beside the settings what is wrong with them
        OwnPresets(settings, self._preview.picture, self._use, self._fill_presets).run()

    def _chose_preset(self, pressed: Gtk.ToggleButton, preset: Preset) -> None:
        if not self._marking:
            self._use(preset)

    def _use(self, preset: Preset) -> None:
        """Sets what a preset says, and what it does not say to what is usual."""
        wanted = validate(self._kind, preset.params)
        self._writing = True
        for each in self._rows:
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
        if self._config.find_property("preset"):
            self._config.set_property("preset", "")
        if keeps_mask(self._kind):
            self._config.set_property("mask-as", settings.mask)
        if is_sequence(self._kind):
            self._config.set_property(FRAMES.name, settings.frames)
        for name in self._rows:
            self._config.set_property(argument(name), settings.params[name])

    def _settings(self) -> Settings:
        given = {name: self._config.get_property(argument(name)) for name in self._rows}
        mask = self._config.get_property("mask-as") if keeps_mask(self._kind) else next(iter(MASKS))
        frames = self._config.get_property(FRAMES.name) if is_sequence(self._kind) else FRAMES.default
        return Settings.of(given, mask, self._kind, int(frames))

    def _guide(self) -> Pixels | None:
        return guide_pixels(self._config.get_property("guide")) if GUIDE in find_job(self._kind).inputs else None

    def _changed(self, _config: Any = None, changed: Any = None) -> None:
        if self._writing:
            return
        if changed is not None and changed.name == "network" and "layers" in self._rows:
            # A network's layers mean nothing to another one.
            self._config.set_property("layers", "")
        self._refresh(SETTLED)

    def _refresh(self, settled: int = 0) -> None:
        """Shows what the settings are, what is wrong with them, and what they make, once they have `settled`."""
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
        self._preview.show(settings, self._guide(), settled)

    def _changed_layers(self) -> None:
        """The network's layers to choose from, and what is chosen."""
        if "layers" not in self._rows:
            return
        network = self._chosen()
        self._writing = True
        if self._layers.get_name() != network.name:
            self._layers.set_name(network.name)
            self._layers.remove_all()
            for name in network.offers:
                self._layers.append(name, name)
        text = self._config.get_property("layers") or self._usual_layers()
        entry = self._layers.get_child()
        if entry.get_text().strip() != text:
            entry.set_text(text)
        self._writing = False

    def _usual_layers(self) -> str:
        """What no layers stand for."""
        asked = [name for name in ("network", "classes") if name in self._rows]
        try:
            values = validate(self._kind, {name: self._config.get_property(name) for name in asked})
        except DreamError:  # whatever is wrong is told elsewhere
            return ""
        return format_weights(layer_weights(self._kind, values))

    def _chosen(self) -> Network:
        return find_network(self._config.get_property("network"))

    def _chose_layers(self, combo: Gtk.ComboBoxText) -> None:
        if self._writing:
            return
        text = combo.get_child().get_text().strip()
        self._config.set_property("layers", "" if text == self._usual_layers() else text)


def complete(entry: Gtk.Entry) -> None:
    """Offers classes by what of their names is typed, after each + anew."""
    names = Gtk.ListStore(str, str)
    for each in synonyms():
        names.append([each[0], ", ".join(each)])
    completion = Gtk.EntryCompletion(model=names, minimum_key_length=2, text_column=1)
    completion.set_match_func(_matches)
    completion.connect("match-selected", _complete)
    entry.set_completion(completion)
    entry.set_placeholder_text("for instance tabby, or tabby+lemon*0.5")


def _matches(completion: Gtk.EntryCompletion, _key: str, place: Gtk.TreeIter) -> bool:
    typed = completion.get_entry().get_text().rpartition("+")[2].strip().lower()
    name, known = (completion.get_model().get_value(place, each).lower() for each in (0, 1))
    # What is there as a whole needs no offer.
    return bool(typed) and typed != name and all(word in known for word in typed.split())


def _complete(completion: Gtk.EntryCompletion, names: Gtk.TreeModel, place: Gtk.TreeIter) -> bool:
    entry = completion.get_entry()
    before, plus, _ = entry.get_text().rpartition("+")
    entry.set_text(f"{before}{plus}{names.get_value(place, 0)}")
    entry.set_position(-1)
    return True


def _sample(preset: str) -> Gtk.Widget:
    """What a preset makes of a cloud."""
    for file in (PICTURES / f"{preset}.jpg", picture_of(preset)):
        with contextlib.suppress(GLib.Error):  # a picture that is missing is no reason not to dream
            return Gtk.Image.new_from_pixbuf(GdkPixbuf.Pixbuf.new_from_file_at_scale(str(file), 96, 72, True))
    return Gtk.Label()

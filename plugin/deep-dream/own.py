"""Presets of the user's own: the window in which settings are kept by a name, or sent as a line of text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gi

gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
gi.require_version("GdkPixbuf", "2.0")
from gi.repository import GdkPixbuf, GimpUi, GLib, Gtk

from dreamwire import paths
from dreamwire.errors import DreamError
from dreamwire.presets import Preset, drop_preset, keep_preset, own_presets, parse_preset
from settings import Settings
from windows import GAP, button, column, copy, label, row

#: Pixels of a preset's picture.
WIDTH, HEIGHT = 160, 120


def picture_of(preset: str) -> Path:
    """Where the picture of a preset of the user's own lies."""
    return paths.config_dir() / "presets" / f"{preset}.png"


class OwnPresets:
    """Keeps `settings` by a name, with a picture of what they make; `use` takes the settings of a line.

    `changed` is told that there are others than before.
    """

    def __init__(
        self,
        settings: Settings,
        picture: GdkPixbuf.Pixbuf | None,
        use: Callable[[Preset], None],
        changed: Callable[[], None],
    ) -> None:
        self._settings, self._picture, self._use, self._changed = settings, picture, use, changed
        self._dialog = GimpUi.Dialog(title="Presets of Your Own", role="deep-dream-presets", resizable=False)
        self._name = Gtk.Entry(hexpand=True, width_chars=24, placeholder_text="a name")
        self._line = Gtk.Entry(hexpand=True, width_chars=60)
        self._said = label("")
        self._list = column(gap=6)
        with contextlib.suppress(DreamError):
            self._line.set_text(settings.as_preset("Mine").line)
        content = column(
            label("Keep the settings as they are now:"),
            row(self._name, button("_Keep", self._keep), gap=6),
            label("Or send them to somebody as a line of text, or paste here what somebody sent:"),
            row(self._line, button("C_opy", self._copy), button("_Use", self._paste), gap=6),
            self._list,
            self._said,
        )
        content.set_border_width(GAP)
        self._dialog.get_content_area().pack_start(content, True, True, 0)
        self._dialog.add_button("_Close", Gtk.ResponseType.CLOSE)

    def run(self) -> None:
        """Shows the window until it is closed."""
        self._refresh()
        self._dialog.show_all()
        self._dialog.run()
        self._dialog.destroy()

    def _refresh(self) -> None:
        for child in self._list.get_children():
            child.destroy()
        for preset in own_presets().values():
            name = label(preset.label, width=30)
            line = row(name, button("_Remove", partial(self._remove, preset)), gap=6)
            line.set_child_packing(name, True, True, 0, Gtk.PackType.START)
            self._list.pack_start(line, False, False, 0)
        self._list.show_all()

    def _keep(self) -> None:
        self._try(lambda: self._kept(self._settings.as_preset(self._name.get_text())))

    def _kept(self, preset: Preset) -> None:
        keep_preset(preset)
        with contextlib.suppress(OSError, GLib.Error):  # without its picture it is a preset still
            if self._picture is not None:
                picture_of(preset.name).parent.mkdir(exist_ok=True)
                small = self._picture.scale_simple(WIDTH, HEIGHT, GdkPixbuf.InterpType.BILINEAR)
                small.savev(str(picture_of(preset.name)), "png", [], [])
        self._said.set_text(f"{preset.label} is kept.")
        self._changed()

    def _copy(self) -> None:
        copy(self._line.get_text())
        self._said.set_text("Copied.")

    def _paste(self) -> None:
        self._try(lambda: self._pasted(parse_preset(self._line.get_text())))

    def _pasted(self, preset: Preset) -> None:
        if preset.kind != self._settings.kind:
            raise DreamError("bad_params", f"{preset.label} is a preset of {preset.kind}; open that entry first.")
        self._use(preset)
        self._settings = Settings.of(dict(self._settings.params) | dict(preset.params), kind=preset.kind)
        self._name.set_text(preset.label)
        self._said.set_text(f"{preset.label} is set. Keep it by its name, if you like it.")

    def _remove(self, preset: Preset) -> None:
        self._try(lambda: drop_preset(preset.name))
        self._changed()

    def _try(self, what: Callable[[], None]) -> None:
        try:
            what()
        except (DreamError, OSError) as error:
            self._said.set_text(str(error))
        self._refresh()

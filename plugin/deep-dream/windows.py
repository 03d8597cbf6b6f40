"""The plug-in's small windows: a dream that runs, messages, networks, about and diagnostics."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("GimpUi", "3.0")
gi.require_version("Gtk", "3.0")
gi.require_version("Gdk", "3.0")
from gi.repository import Gdk, Gimp, GimpUi, Gtk

from dreamwire import __version__, paths
from dreamwire.client import Client
from dreamwire.messages import Pulling
from loop import Loop
from session import Session, advice
from settings import choose_endpoint, chosen_endpoint

GAP = 12


def init() -> None:
    """Before any window."""
    GimpUi.init("deep-dream")


def label(text: str, *, selectable: bool = False, width: int = 60) -> Gtk.Label:
    """A paragraph."""
    made = Gtk.Label(label=text, xalign=0.0, wrap=True, max_width_chars=width, selectable=selectable)
    made.set_can_focus(False)
    return made


def column(*widgets: Gtk.Widget, gap: int = GAP) -> Gtk.Box:
    """Widgets one below another."""
    box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=gap)
    for widget in widgets:
        box.pack_start(widget, False, False, 0)
    return box


def row(*widgets: Gtk.Widget, gap: int = GAP) -> Gtk.Box:
    """Widgets one beside another."""
    box = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=gap)
    for widget in widgets:
        box.pack_start(widget, False, False, 0)
    return box


def button(text: str, clicked: Callable[[], None], hint: str = "") -> Gtk.Button:
    """A button."""
    made = Gtk.Button.new_with_mnemonic(text)
    made.connect("clicked", lambda _: clicked())
    if hint:
        made.set_tooltip_text(hint)
    return made


def copy(text: str) -> None:
    """Puts text on the clipboard, where it stays when the plug-in has ended."""
    clipboard = Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD)
    clipboard.set_text(text, -1)
    clipboard.store()


def explain(message: str, command: str = "") -> None:
    """Says what went wrong, with the command that mends it, to be copied."""
    init()
    dialog = GimpUi.Dialog(title="Deep Dream", role="deep-dream-message", resizable=False)
    content = column(label(message, selectable=True))
    content.set_border_width(GAP)
    if command:
        entry = Gtk.Entry(text=command, editable=False, hexpand=True, width_chars=min(70, len(command) + 2))
        line = row(entry, button("C_opy", lambda: copy(command)))
        line.set_child_packing(entry, True, True, 0, Gtk.PackType.START)
        content.pack_start(label("Type this into a terminal:"), False, False, 0)
        content.pack_start(line, False, False, 0)
    dialog.get_content_area().pack_start(content, True, True, 0)
    dialog.add_button("_Close", Gtk.ResponseType.CLOSE)
    dialog.show_all()
    dialog.run()
    dialog.destroy()


def problem(error: Exception) -> None:
    """Says what an exception says."""
    explain(advice(error), getattr(error, "command", ""))


class RunWindow:
    """Beside a dream that runs: how far it is, Stop and keep, Cancel. Closing the window keeps what there is."""

    def __init__(self, doing: str, title: str, stop: Callable[[], None], cancel: Callable[[], None]) -> None:
        init()
        self._stop = stop
        self._window = Gtk.Window(title=doing, resizable=False, type_hint=Gdk.WindowTypeHint.DIALOG)
        self._window.set_role("deep-dream-run")
        GimpUi.window_set_transient(self._window)
        # It must not take the keyboard away from the image, nor lie on what is being dreamt.
        self._window.set_focus_on_map(False)
        self._window.connect("delete-event", self._closed)
        self._bar = Gtk.ProgressBar(show_text=True, width_request=340)
        self._keep = button("_Stop and keep", self._keeping, "Ends the dream and keeps the layer as it is now.")
        self._keep.set_sensitive(False)
        self._cancel = button("_Cancel", lambda: self._cancelling(cancel), "Ends the dream and removes its layer.")
        buttons = row(self._keep, self._cancel, gap=6)
        buttons.set_halign(Gtk.Align.END)
        content = column(label(title), self._bar, buttons)
        content.set_border_width(GAP)
        self._window.add(content)
        self._window.show_all()
        self._aside()

    def _aside(self) -> None:
        """Into the corner of the screen, out of the picture's way, where windows may choose their place."""
        area = Gdk.Display.get_default().get_monitor_at_window(self._window.get_window()).get_workarea()
        width, height = self._window.get_size()
        self._window.move(area.x + area.width - width - 4 * GAP, area.y + area.height - height - 8 * GAP)

    def show_progress(self, text: str, fraction: float) -> None:
        """Says how far the dream is."""
        self._bar.set_text(text[:1].upper() + text[1:])
        self._bar.set_fraction(min(1.0, max(0.0, fraction)))

    def can_stop(self) -> None:
        """From now on there is something to keep."""
        self._keep.set_sensitive(self._cancel.get_sensitive())

    def destroy(self) -> None:
        self._window.destroy()

    def _keeping(self) -> None:
        self._keep.set_sensitive(False)
        self._stop()

    def _cancelling(self, cancel: Callable[[], None]) -> None:
        self._keep.set_sensitive(False)
        self._cancel.set_sensitive(False)
        cancel()

    def _closed(self, *_: object) -> bool:
        self._keeping()
        return True  # it closes when the dream has ended


class Talking:
    """A window that asks the daemon things and shows the answers."""

    title = ""
    role = ""

    def __init__(self) -> None:
        init()
        self._loop = Loop()
        self._session = Session(self._loop.post, self.say)
        self._window = Gtk.Window(title=self.title, type_hint=Gdk.WindowTypeHint.DIALOG)
        self._window.set_role(self.role)
        GimpUi.window_set_transient(self._window)
        self._window.connect("destroy", lambda _: self._loop.quit())
        self._window.connect("key-press-event", self._pressed)
        self._said = label("")
        content = column(self.content(), self._said)
        content.set_border_width(GAP)
        self._window.add(content)

    def content(self) -> Gtk.Widget:
        """What the window holds."""
        raise NotImplementedError

    def refresh(self) -> None:
        """Asks for what is shown."""
        raise NotImplementedError

    def run(self) -> None:
        """Shows the window until it is closed."""
        self._window.show_all()
        self.refresh()
        try:
            self._loop.run()
        finally:
            self._session.close()

    def close(self) -> None:
        self._window.destroy()

    def _pressed(self, _window: Gtk.Window, event: Gdk.EventKey) -> bool:
        if event.keyval == Gdk.KEY_Escape:
            self.close()
        return False

    def say(self, text: str) -> None:
        """A line at the window's foot."""
        self._said.set_text(text)

    def failed(self, error: Exception) -> None:
        """Says what went wrong, and the command that mends it."""
        command = getattr(error, "command", "")
        self.say(f"{error}\n{command}".strip())


class NetworksWindow(Talking):
    """Networks...: which are here and loaded; fetches them, with progress, and frees their memory."""

    title = "Deep Dream: Networks"
    role = "deep-dream-networks"

    def content(self) -> Gtk.Widget:
        self._grid = Gtk.Grid(column_spacing=GAP, row_spacing=6)
        area = Gtk.ScrolledWindow(hscrollbar_policy=Gtk.PolicyType.NEVER)
        area.set_min_content_height(380)
        area.set_min_content_width(680)
        area.add(self._grid)
        self._bar = Gtk.ProgressBar(show_text=True, no_show_all=True)
        free = button(
            "_Free the memory", self._free, "Takes every network out of the card's memory, or the computer's."
        )
        close = button("_Close", self.close)
        buttons = row(free, close, gap=6)
        buttons.set_halign(Gtk.Align.END)
        box = column(
            label("What dreams: each network has seen a million photographs and knows its own shapes."), area
        )
        box.pack_start(self._bar, False, False, 0)
        box.pack_start(self._daemon(), False, False, 0)
        box.pack_start(buttons, False, False, 0)
        return box

    def _daemon(self) -> Gtk.Widget:
        """Where the daemon is: a setting for all of GIMP."""
        hint = "tcp://HOST:PORT of a daemon on another computer; nothing for this computer's own."
        self._endpoint = Gtk.Entry(
            text=chosen_endpoint() or "", placeholder_text="on this computer", hexpand=True, tooltip_text=hint
        )
        self._endpoint.connect("activate", lambda _: self._choose())
        name = Gtk.Label.new_with_mnemonic("The _daemon:")
        name.set_mnemonic_widget(self._endpoint)
        line = row(name, self._endpoint, button("_Use", self._choose, hint), gap=6)
        line.set_child_packing(self._endpoint, True, True, 0, Gtk.PackType.START)
        if os.environ.get("DEEPDREAM_ENDPOINT"):  # which decides
            line.set_sensitive(False)
        return line

    def _choose(self) -> None:
        endpoint = self._endpoint.get_text().strip()
        try:
            choose_endpoint(endpoint)
        except (ValueError, OSError) as error:
            self.failed(error)
            return
        self.say("Asking the daemon" + (f" at {endpoint}..." if endpoint else "..."))
        for child in self._grid.get_children():  # another daemon's
            child.destroy()
        self._session.reconnect()
        self.refresh()

    def refresh(self) -> None:
        self._session.ask(lambda client: client.networks(), self._show, self.failed)

    def _show(self, networks: tuple[dict[str, Any], ...]) -> None:
        for child in self._grid.get_children():
            child.destroy()
        for line, network in enumerate(networks):
            name = label(network["label"])
            name.set_width_chars(19)
            name.set_tooltip_text(network["name"])
            self._grid.attach(name, 0, line, 1, 1)
            words = label(network["help"])
            words.set_hexpand(True)
            words.set_width_chars(46)
            self._grid.attach(words, 1, line, 1, 1)
            size = f"{network['megabytes']:.0f} MB"
            if network["loaded"]:
                last: Gtk.Widget = label("Loaded", width=14)
            elif network["here"]:
                last = label("Here", width=14)
            else:
                last = button(f"Fetch {size}", partial(self._pull, network))
            self._grid.attach(last, 2, line, 1, 1)
        self._grid.show_all()
        loaded = [network["label"] for network in networks if network["loaded"]]
        self.say(f"In memory: {', '.join(loaded)}." if loaded else "No network is in memory.")

    def _pull(self, network: Mapping[str, Any]) -> None:
        self._grid.set_sensitive(False)
        self._bar.set_fraction(0.0)
        self._bar.set_text(f"{network['label']}: connecting")
        self._bar.show()

        def pull(client: Client) -> None:
            for event in client.pull(network["name"]):
                self._loop.post(partial(self._pulling, network["label"], event))

        self._session.ask(pull, lambda _: self._pulled(None), self._pulled)

    def _pulling(self, name: str, event: Pulling) -> None:
        if event.total:
            self._bar.set_fraction(event.bytes / event.total)
        self._bar.set_text(
            f"{name}: {event.bytes / 1e6:.0f} MB" + (f" of {event.total / 1e6:.0f}" if event.total else "")
        )

    def _pulled(self, error: Exception | None) -> None:
        self._bar.hide()
        self._grid.set_sensitive(True)
        if error is None:
            self.refresh()
        else:
            self.failed(error)

    def _free(self) -> None:
        self._session.ask(lambda client: client.unload(), lambda _: self.refresh(), self.failed)


class AboutWindow(Talking):
    """About and Diagnostics...: versions and the daemon's state, as text to be copied."""

    title = "Deep Dream: About and Diagnostics"
    role = "deep-dream-about"

    def content(self) -> Gtk.Widget:
        self._text = Gtk.TextView(editable=False, monospace=True, cursor_visible=False)
        area = Gtk.ScrolledWindow()
        area.set_min_content_height(320)
        area.set_min_content_width(620)
        area.add(self._text)
        buttons = row(
            button("Copy _diagnostics", lambda: copy(self.diagnostics)),
            button("_Refresh", self.refresh),
            button("_Close", self.close),
            gap=6,
        )
        buttons.set_halign(Gtk.Align.END)
        words = (
            f"Deep Dream {__version__}. A convnet looks at the region, and the picture is changed so that it sees"
            " more of what it believes to see there. After Mordvintsev, Olah and Tyka, “Inceptionism” (2015), and"
            " Brian Hayes, “Computer Vision and Computer Hallucinations” (2015)."
        )
        return column(label(words, width=80), area, buttons)

    def refresh(self) -> None:
        self._write({})
        self._session.ask(lambda client: client.status(), self._answered, self._unanswered)

    def _answered(self, status: dict[str, Any]) -> None:
        self.say("The daemon answers.")
        self._write(status)

    def _unanswered(self, error: Exception) -> None:
        self.failed(error)
        self._write({"daemon": str(error)})

    def _write(self, status: Mapping[str, Any]) -> None:
        facts = {
            "plug-in": __version__,
            "GIMP": Gimp.version(),
            "Python": sys.version.split()[0],
            "transport": transport(),
            "log": str(paths.log_dir() / "daemon.log"),
        }
        self.diagnostics = "\n".join([*lines(facts), "", "daemon", *lines(status, "  ")]) + "\n"
        self._text.get_buffer().set_text(self.diagnostics)


def lines(facts: Mapping[str, Any], indent: str = "") -> list[str]:
    """Facts as text, one a line, lists and maps below their names."""
    told = []
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            told += [f"{indent}{name}:", *lines(value, indent + "  ")]
        elif isinstance(value, (list, tuple)) and value:
            told.append(f"{indent}{name}:")
            for each in value:
                told += lines(each, indent + "  ") if isinstance(each, Mapping) else [f"{indent}  {each}"]
        elif value not in ("", [], (), {}, None):
            told.append(f"{indent}{name}: {value}")
    return told


def transport() -> str:
    """How this Python speaks ZeroMQ."""
    try:
        return f"pyzmq {importlib.metadata.version('pyzmq')}"
    except importlib.metadata.PackageNotFoundError:
        return "built in"

"""Stands for GTK, GLib, GdkPixbuf and GimpUi, as small as `dialog.py` and `loop.py` need them.

Widgets keep what they are given, and tell those who are connected; nothing is laid out or drawn. Timers are
driven by hand: `pass_time`. That the real ones do what is believed here, tests/gimp/test_window.py shows: without
a screen there is nothing to hold this against.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import Any

import numpy as np

import fake_gegl

# GLib


class Error(Exception):
    pass


class Bytes:
    new = staticmethod(bytes)


@dataclass
class Timer:
    due: int
    call: Callable[..., bool]
    arguments: tuple[Any, ...]


_numbers = count(1)
_now = 0
timers: dict[int, Timer] = {}


def timeout_add(milliseconds: int, call: Callable[..., bool], *arguments: Any) -> int:
    number = next(_numbers)
    timers[number] = Timer(_now + milliseconds, call, arguments)
    return number


def source_remove(number: int) -> None:
    """As GLib does, it complains of what is not there."""
    del timers[number]


def pass_time(milliseconds: int) -> None:
    """Calls what is due by then."""
    global _now  # noqa: PLW0603
    _now += milliseconds
    for number, timer in list(timers.items()):
        if timer.due <= _now:
            del timers[number]
            assert not timer.call(*timer.arguments), "timers that repeat are not known here"


_idle: deque[tuple[Callable[..., bool], tuple[Any, ...]]] = deque()


def idle_add(call: Callable[..., bool], *arguments: Any) -> None:
    _idle.append((call, arguments))


class MainLoop:
    """Makes the calls that wait, and those that they add, until it is told to quit."""

    def run(self) -> None:
        self._runs = True
        while self._runs:
            assert _idle, "nothing more would ever happen"
            call, arguments = _idle.popleft()
            assert not call(*arguments), "calls that repeat are not known here"

    def quit(self) -> None:
        self._runs = False


# GObject, GdkPixbuf

TYPE_NONE = None
Colorspace = Enum("Colorspace", "RGB")


@dataclass
class Pixbuf:
    """8-bit RGBA, `(height, width, 4)`."""

    pixels: np.ndarray[Any, np.dtype[np.uint8]]

    @classmethod
    def new_from_bytes(
        cls, data: bytes, _space: Colorspace, _alpha: bool, _bits: int, width: int, height: int, _stride: int
    ) -> Pixbuf:
        return cls(np.frombuffer(data, np.uint8).reshape(height, width, 4).copy())

    @classmethod
    def new_from_file_at_scale(cls, _path: str, width: int, height: int, _keeps_ratio: bool) -> Pixbuf:
        return cls(np.zeros((height, width, 4), np.uint8))

    def copy(self) -> Pixbuf:
        return Pixbuf(self.pixels.copy())

    def copy_area(self, left: int, top: int, width: int, height: int, onto: Pixbuf, x: int, y: int) -> None:
        here = onto.pixels[y : y + height, x : x + width]
        assert here.shape[:2] == (height, width), "beyond the picture"
        here[:] = self.pixels[top : top + height, left : left + width]


# Gtk

Align = Enum("Align", "START END")
Orientation = Enum("Orientation", "HORIZONTAL VERTICAL")
PackType = Enum("PackType", "START END")
PolicyType = Enum("PolicyType", "NEVER AUTOMATIC")
ReliefStyle = Enum("ReliefStyle", "NORMAL NONE")
ResponseType = Enum("ResponseType", "OK CANCEL")
SelectionMode = Enum("SelectionMode", "NONE SINGLE")
SizeGroupMode = Enum("SizeGroupMode", "HORIZONTAL VERTICAL")


class Widget:
    """Any widget, with whatever widgets are put into it: `set_x` keeps what `get_x` tells."""

    def __init__(self, **properties: Any) -> None:
        self.properties = properties
        self.children: list[Widget] = []
        self._listeners: list[tuple[str, Callable[..., object], tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        verb, _, what = name.partition("_")
        if verb == "set":
            return lambda *values: self.properties.update({what: values[0] if len(values) == 1 else values})
        if verb == "get":
            return lambda: self.properties.get(what)
        raise AttributeError(name)

    def connect(self, signal: str, listener: Callable[..., object], *data: Any) -> None:
        self._listeners.append((signal, listener, data))

    def emit(self, signal: str, *arguments: Any) -> None:
        for each, listener, data in self._listeners:
            if each == signal:
                listener(self, *arguments, *data)

    def add(self, child: Widget, *_how: object) -> None:
        self.children.append(child)

    pack_start = attach = add

    def get_children(self) -> list[Widget]:
        return list(self.children)

    def set_child_packing(self, *_how: object) -> None:
        pass

    def show_all(self) -> None:
        pass

    def inside(self) -> Iterator[Widget]:
        """This widget and all that it holds."""
        yield self
        for child in self.children:
            yield from child.inside()


class Box(Widget):
    pass


class FlowBox(Widget):
    pass


class ScrolledWindow(Widget):
    pass


class EventBox(Widget):
    pass


class Expander(Widget):
    @classmethod
    def new_with_mnemonic(cls, text: str) -> Expander:
        return cls(label=text)


class SizeGroup(Widget):
    add_widget = Widget.add


class Label(Widget):
    def set_text(self, text: str) -> None:
        self.properties["label"] = text

    def get_text(self) -> str:
        return str(self.properties["label"])


class Image(Widget):
    shown: Pixbuf | None = None

    @classmethod
    def new_from_pixbuf(cls, pixbuf: Pixbuf) -> Image:
        made = cls()
        made.shown = pixbuf
        return made

    def set_from_pixbuf(self, pixbuf: Pixbuf | None) -> None:
        self.shown = pixbuf


class Button(Widget):
    @classmethod
    def new_with_mnemonic(cls, text: str) -> Button:
        return cls(label=text)

    def click(self) -> None:
        self.emit("clicked")


class ToggleButton(Button):
    _active = False

    def get_active(self) -> bool:
        return self._active

    def set_active(self, active: bool) -> None:
        if active != self._active:
            self.click()

    def click(self) -> None:
        self._active = not self._active
        self.emit("toggled")


class CheckButton(ToggleButton):
    pass


class Entry(Widget):
    def get_text(self) -> str:
        return str(self.properties.get("text", ""))

    def set_text(self, text: str) -> None:
        self.properties["text"] = text
        self.emit("changed")

    def set_completion(self, completion: EntryCompletion) -> None:
        self.properties["completion"] = completion
        completion.entry = self


class ListStore(Widget):
    """Rows of text; a place in it is the row itself."""

    def __init__(self, *_kinds: type) -> None:
        super().__init__()
        self.rows: list[list[str]] = []

    def append(self, row: list[str]) -> None:
        self.rows.append(row)

    def get_value(self, row: list[str], column: int) -> str:
        return row[column]


class EntryCompletion(Widget):
    """Offers rows of its model that match what is typed into its entry."""

    entry: Entry

    def get_entry(self) -> Entry:
        return self.entry

    @property
    def offers(self) -> list[list[str]]:
        matches = self.properties["match_func"]
        return [row for row in self.properties["model"].rows if matches(self, self.entry.get_text().lower(), row)]

    def choose(self, row: list[str]) -> None:
        self.emit("match-selected", self.properties["model"], row)


class ComboBoxText(Widget):
    """A list to choose from, and an entry that takes anything."""

    def __init__(self) -> None:
        super().__init__()
        self.entry, self.offers = Entry(), list[str]()
        self.entry.connect("changed", lambda _: self.emit("changed"))

    @classmethod
    def new_with_entry(cls) -> ComboBoxText:
        return cls()

    def get_child(self) -> Entry:
        return self.entry

    def append(self, name: str, _text: str) -> None:
        self.offers.append(name)

    def remove_all(self) -> None:
        self.offers.clear()


# GimpUi


def init(_name: str) -> None:
    """Starts GEGL too."""
    fake_gegl.init(None)


class StringComboBox(Widget):
    """A choice of text for a property, from rows of a list."""


def prop_string_combo_box_new(
    config: object, name: str, model: ListStore, value: int, _label: int
) -> StringComboBox:
    """What is offered is what its model holds."""
    return StringComboBox(config=config, name=name, offers=[row[value] for row in model.rows])


class Labeled(Widget):
    """A widget of one of a procedure's arguments."""


class DrawableChooser(Widget):
    """Of a layer of any image."""


class LabelSpin(Labeled):
    pass


class LabelEntry(Labeled):
    def __init__(self) -> None:
        super().__init__()
        self.add(Entry())

    def get_entry(self) -> Widget:
        return self.children[0]


#: Those that were made.
dialogs: list[ProcedureDialog] = []


class ProcedureDialog(Widget):
    def __init__(self) -> None:
        super().__init__()
        #: What a user does while it is open, and whether OK is pressed in the end.
        self.user: Callable[[], bool] = lambda: False
        self.open = True
        self.sensitive = {ResponseType.OK: True}
        self._made: dict[str, Widget] = {}
        self._area = Box()
        self.add(self._area)

    @classmethod
    def new(cls, _procedure: object, _config: object, _title: str) -> ProcedureDialog:
        dialogs.append(made := cls())
        return made

    def get_content_area(self) -> Box:
        return self._area

    def fill_box(self, _name: str, arguments: list[str]) -> Box:
        box = Box()
        for each in arguments:
            box.add(self.get_widget(each, TYPE_NONE))
        return box

    def get_widget(self, argument: str, kind: type[Widget] | None) -> Widget:
        return self._made.setdefault(argument, (kind or Labeled)())

    def get_scale_entry(self, argument: str, _factor: float) -> Widget:
        return self.get_widget(argument, LabelSpin)

    def set_response_sensitive(self, response: ResponseType, sensitive: bool) -> None:
        self.sensitive[response] = sensitive

    def run(self) -> bool:
        return self.user() and self.sensitive[ResponseType.OK]

    def destroy(self) -> None:
        self.open = False

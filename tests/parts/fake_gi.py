"""The plug-in's modules in this Python, under a GIMP that is none, to be tested in milliseconds."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

#: What stands for each library; no name is in two of those that one module stands for.
STANDS_FOR = {
    "fake_gegl": ("Gegl",),
    "fake_gimp": ("Gimp",),
    "fake_gtk": ("Gdk", "GdkPixbuf", "GimpUi", "GLib", "GObject", "Gtk"),
}
#: What is made on top of them, and imported anew each time.
ABOVE = ("inside_gimp", "canvas", "loop", "windows", "preview", "own", "choosing", "seeing", "dialog", "runs")


@contextmanager
def faked() -> Iterator[SimpleNamespace]:
    """All these modules by their names, with no image open; nobody else sees them, nor later."""
    gi, repository = ModuleType("gi"), ModuleType("gi.repository")
    gi.require_version = lambda *_: None  # type: ignore[attr-defined]
    gi.repository = repository  # type: ignore[attr-defined]
    repository.Gio = None  # type: ignore[attr-defined]
    fresh = ("gi", "gi.repository", *STANDS_FOR, *ABOVE)
    before = {name: sys.modules.pop(name) for name in fresh if name in sys.modules}
    sys.modules |= {"gi": gi, "gi.repository": repository}
    try:
        for name, libraries in STANDS_FOR.items():
            module = importlib.import_module(name)
            for library in libraries:
                setattr(repository, library, module)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in (*STANDS_FOR, *ABOVE)})
    finally:
        for name in fresh:
            sys.modules.pop(name, None)
        sys.modules |= before


class FakeGimp:
    """Runs the Python that a test sends it, as `real_gimp.Gimp` does; within `faked`."""

    def __init__(self, modules: SimpleNamespace) -> None:
        self._space: dict[str, Any] = {"Gegl": modules.fake_gegl, "Gimp": modules.fake_gimp}

    def eval(self, code: str) -> Any:
        self._space.pop("result", None)
        exec(textwrap.dedent(code), self._space)  # noqa: S102 - the test's own
        return json.loads(json.dumps(self._space.get("result")))

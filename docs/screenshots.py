"""Makes the docs' pictures of GIMP, in the newest of the tests' GIMPs: `.venv/bin/python docs/screenshots.py`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "parts"), str(ROOT / "install")]

from dreamd.sample import cloudscape  # noqa: E402
from gimp_desk import AGAIN, DIALOG, DREAM, KEY_OF, KEYS, LOOKING, MAIN, RUNNING, TITLES, Desk  # noqa: E402
from real_daemon import Daemon  # noqa: E402
from real_gimp import Gimp, systems, wait_for  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"


def main() -> None:
    """Opens the sample, selects its cloud, dreams it, and takes pictures on the way."""
    with tempfile.TemporaryDirectory(prefix="dd-") as name:
        folder = Path(name)
        daemon = Daemon(folder / "daemon")
        daemon.folder.mkdir()
        home = folder / "home"
        home.mkdir()
        environment = daemon.environment | {"DEEPDREAM_CONFIG": str(home / "config")}
        gimp = Gimp(systems()[-1], home, environment=environment, shared=(daemon.folder,), window=True, keys=KEYS)
        try:
            daemon.start()
            gimp.add_plugin()
            _take(Desk(gimp.start(), _cloud(home), daemon))
        finally:
            gimp.end()
            daemon.end()


def _cloud(folder: Path) -> Path:
    path = folder / "cloud.png"
    Image.fromarray(cloudscape()[0]).save(path)
    return path


def _take(desk: Desk) -> None:
    desk.open()
    desk.gimp.run("xdotool", "mousemove", "1430", "890")  # where it calls up no hints
    desk.press(DREAM)
    dialog = desk.gimp.window_of(DIALOG)
    wait_for(lambda: desk.done, "the whole preview")
    _save(desk.gimp.shot("dialog", dialog), "dialog.jpg")
    desk.gimp.press("alt+b", window=dialog)
    _still(desk, LOOKING)
    _save(desk.gimp.shot("looking", desk.gimp.window_of(LOOKING)), "looking.jpg")
    desk.gimp.press("Escape", window=desk.gimp.window_of(LOOKING))
    desk.gone(LOOKING)
    desk.gimp.press("Escape", window=dialog)
    desk.gone(DIALOG)
    desk.press(KEY_OF["classify"])
    _still(desk, TITLES["classify"])
    desk.gimp.press("Tab", "space", window=desk.gimp.window_of(TITLES["classify"]))  # the first class
    _still(desk, TITLES["classify"])
    _save(desk.gimp.shot("seeing", desk.gimp.window_of(TITLES["classify"])), "seeing.jpg")
    desk.gimp.press("Escape", window=desk.gimp.window_of(TITLES["classify"]))
    desk.gone(TITLES["classify"])
    desk.remember()
    desk.press(AGAIN)
    desk.dreaming()
    desk.gone(RUNNING)
    desk.gimp.eval("Gimp.Selection.none(image); Gimp.displays_flush()")
    _save(desk.gimp.shot("window", desk.gimp.window_of(MAIN)), "gimp.jpg")


def _still(desk: Desk, title: str) -> None:
    """Waits until a window has not changed for three seconds."""
    desk.gimp.window_of(title)
    last = None
    while last is None or not np.array_equal(last, desk.screen("still", title)):
        last = desk.screen("still", title)
        time.sleep(3)


def _save(shot: Path, name: str) -> None:
    with Image.open(shot) as picture:
        picture.convert("RGB").save(PICTURES / name, quality=88)


if __name__ == "__main__":
    main()

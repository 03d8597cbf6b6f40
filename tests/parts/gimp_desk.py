"""A GIMP window with a picture open: what tests of the window, and the pictures of the docs, are made with."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from dreamwire.params import JOBS
from real_daemon import Daemon
from real_gimp import Gimp, GimpError, wait_for

#: The keys given to the menu's entries.
DREAM, AGAIN, DEEPER, REDREAM, NETWORKS, ABOUT, DOCKS = (f"<Primary><Alt>{key}" for key in "daprnbh")
#: And to those of the other kinds of job.
KEY_OF = {
    kind: f"<Primary><Alt>{key}"
    for kind, key in zip((kind for kind in JOBS if kind != "dream"), "wgkvifzsty", strict=False)
}
KEYS = {
    "plug-in-deep-dream": DREAM,
    "plug-in-deep-dream-again": AGAIN,
    "plug-in-deep-dream-deeper": DEEPER,
    "plug-in-deep-dream-redream": REDREAM,
    **{f"plug-in-deep-dream-{kind}": key for kind, key in KEY_OF.items()},
    "plug-in-deep-dream-networks": NETWORKS,
    "plug-in-deep-dream-about": ABOUT,
    "windows-hide-docks": DOCKS,
}
#: Titles of windows.
MAIN, DIALOG, RUNNING = "GIMP$|^GNU Image", "^Deep Dream$", "^Dreaming$"
LOOKING = "^Choose by Looking$"
#: Of the dialogs of kinds of job.
TITLES = {kind: f"^{re.escape(job.label)}" for kind, job in JOBS.items()}
#: A dream of a second or two, and one that goes on until it is ended.
BRIEF = {"layers": "blocks.4", "octaves": 2, "steps": 3}
ENDLESS = {"layers": "blocks.4", "octaves": 2, "steps": 1000}

#: Inside GIMP: a picture with its great cloud selected, and what a test asks of it.
HELPERS = """
import hashlib

def open_picture(path):
    global image, display
    image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path(path))
    image.select_ellipse(Gimp.ChannelOps.REPLACE, 150, 80, 380, 230)
    Gimp.Selection.feather(image, 20)
    display = Gimp.Display.new(image)
    image.clean_all()
    Gimp.displays_flush()

def close_picture():
    if image.is_valid():
        image.clean_all()
        display.delete()

def displays():
    # GIMP has no list of them.
    found = [Gimp.Display.get_by_id(number) for number in range(1, 1000)]
    return [each for each in found if each is not None and each.is_valid()]

def close_others():
    for each in displays():
        if each.get_id() != display.get_id():
            each.delete()

def pixels(layer):
    place = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    return hashlib.sha256(layer.get_buffer().get(place, 1.0, "R'G'B'A u8", Gegl.AbyssPolicy.NONE)).hexdigest()

def shown():
    copy = image.duplicate()
    seen = pixels(copy.merge_visible_layers(Gimp.MergeType.CLIP_TO_IMAGE))
    copy.delete()
    return seen
"""


class Desk:
    """A GIMP window with a picture open."""

    def __init__(self, gimp: Gimp, picture: Path, daemon: Daemon) -> None:
        self.gimp, self.picture, self.daemon = gimp, picture, daemon
        gimp.eval(HELPERS)

    def open(self) -> None:
        """Opens the picture, with the cloud selected."""
        self.gimp.eval(f"open_picture({str(self.picture)!r})")
        wait_for(lambda: "768x512" in self.title, "the picture", lambda: self.title)
        self.before = self.shown

    def close(self) -> None:
        """Closes the picture and whatever window of ours a test has left."""
        self.gimp.eval("close_picture()")
        wait_for(lambda: "768x512" not in self.title, "a desk without picture", lambda: self.title)
        wait_for(self._closed, "a desk without windows of ours", lambda: self.gimp.words)

    def _closed(self) -> bool:
        titles = RUNNING, LOOKING, *TITLES.values()
        left = [window for title in titles for window in self.gimp.windows(title)]
        for window in left:
            with contextlib.suppress(GimpError):  # it may go by itself just now
                self.gimp.press("Escape", window=window)
        return not left

    @property
    def title(self) -> str:
        return self.gimp.run("xdotool", "getwindowname", self.gimp.window_of(MAIN))

    def press(self, key: str) -> None:
        """Presses a key in GIMP's own window."""
        self.gimp.press(
            key.replace("<Primary>", "ctrl+").replace("<Alt>", "alt+"), window=self.gimp.window_of(MAIN)
        )

    def gone(self, title: str) -> None:
        """Waits until there is no window of that title."""
        wait_for(lambda: not self.gimp.windows(title), f"the end of {title}", lambda: self.gimp.words)

    def remember(self, kind: str = "dream", /, **params: Any) -> None:
        """The settings that were last used for a kind of job."""
        folder = Path(self.gimp.environment["DEEPDREAM_CONFIG"])
        folder.mkdir(exist_ok=True)
        (folder / "gimp.json").write_text(json.dumps({kind: {"params": params, "mask": "layer-mask"}}))

    def ask(self, code: str) -> Any:
        return self.gimp.eval(f"result = {code}")

    @property
    def layers(self) -> list[str]:
        """The names of the picture's layers, the topmost first."""
        names: list[str] = self.ask("[each.get_name() for each in image.get_layers()]")
        return names

    @property
    def shown(self) -> str:
        """What the picture shows, in short."""
        return str(self.ask("shown()"))

    @property
    def jobs(self) -> list[str]:
        """The states of the daemon's jobs that have not ended."""
        with self.daemon.client() as client:
            return [job["state"] for job in client.status()["jobs"] if job["state"] in ("queued", "running")]

    @property
    def done(self) -> int:
        """How many jobs the daemon has done."""
        with self.daemon.client() as client:
            return int(client.status()["counts"].get("done", 0))

    def dreaming(self) -> None:
        """Waits until the dream is on the canvas."""
        wait_for(lambda: len(self.layers) == 2, "a dreamt layer", lambda: self.gimp.words)

    def screen(self, name: str, title: str) -> NDArray[np.int16]:
        """A window as it is on the screen, (H, W, 3)."""
        with Picture.open(self.gimp.shot(name, self.gimp.window_of(title))) as picture:
            return np.asarray(picture.convert("RGB")).astype(np.int16)

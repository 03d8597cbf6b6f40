"""What the plug-in costs beside the dream, in a real GIMP of the tests: `.venv/bin/python -m tests.bench.gimp`.

Times are the least of several, in milliseconds, with a warm daemon. Judges nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image as Picture

from dreamd.sample import cloudscape
from dreamwire.client import Client, Image, JobCancelledError
from dreamwire.messages import Done, Preview, PreviewIs

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "parts"), str(ROOT / "install")]

from gimp_desk import DIALOG, DREAM, KEYS, RUNNING, Desk  # noqa: E402
from real_daemon import Daemon  # noqa: E402
from real_gimp import Gimp, System, systems  # noqa: E402

REPEATS = 5
#: About a megapixel.
SIZE = (1154, 866)
BRIEF = {"layers": "blocks.2", "octaves": 1, "steps": 1}

#: Inside GIMP: a picture of a megapixel, and how long a script's call takes.
CALLS = """
import time
procedure = Gimp.get_pdb().lookup_procedure("plug-in-deep-dream")
large = Gimp.Image.new({width}, {height}, Gimp.ImageBaseType.RGB)
layer = Gimp.Layer.new(large, "large", {width}, {height}, Gimp.ImageType.RGBA_IMAGE, 100.0, Gimp.LayerMode.NORMAL)
large.insert_layer(layer, None, 0)
buffer = layer.get_buffer()
place = Gegl.Rectangle.new(0, 0, {width}, {height})
buffer.set(place, "R'G'B'A u8", bytes([90, 120, 200, 255]) * ({width} * {height}))
buffer.flush()

def call(succeeds, **arguments):
    config = procedure.create_config()
    config.set_property("image", large)
    config.set_core_object_array("drawables", [layer])
    for name, value in arguments.items():
        config.set_property(name, value)
    started = time.perf_counter()
    status = procedure.run(config).index(0)
    taken = 1000 * (time.perf_counter() - started)
    assert (status == Gimp.PDBStatusType.SUCCESS) == succeeds
    return taken
"""


@contextlib.contextmanager
def started(system: System, *, window: bool) -> Iterator[tuple[Gimp, Daemon]]:
    """A GIMP with the plug-in, and a daemon."""
    with tempfile.TemporaryDirectory(prefix="dd-") as name:
        folder = Path(name)
        daemon = Daemon(folder / "d")
        (folder / "d").mkdir()
        (folder / "h").mkdir()
        environment = daemon.environment | {"DEEPDREAM_CONFIG": str(folder / "h" / "config")}
        gimp = Gimp(system, folder / "h", window, environment=environment, shared=(daemon.folder,), keys=KEYS)
        try:
            daemon.start()
            gimp.add_plugin()
            yield gimp.start(), daemon
        finally:
            gimp.end()
            daemon.end()


def overhead(system: System) -> dict[str, float]:
    """What a script's call costs beside the dream, for a region of a megapixel."""
    width, height = SIZE
    with started(system, window=False) as (gimp, daemon), daemon.client() as client:
        gimp.eval(CALLS.format(width=width, height=height))

        def call(succeeds: bool, **arguments: Any) -> float:
            return min(gimp.eval(f"result = call({succeeds}, **{arguments!r})") for _ in range(REPEATS))

        call(True, **BRIEF)
        image = Image(b"\0\0\x80\x3f" * (4 * width * height), (height, width, 4))
        seconds = [_dreamt(client, image).info["seconds"] for _ in range(REPEATS)]
        start = call(False, layers="blocks.99")  # it is refused before anything is read
        whole = call(True, **BRIEF)
        dream = 1000 * min(each["dream"] for each in seconds)
        return {"call": whole, "dream": dream, "plug-in's start": start, "beside both": whole - dream - start}


def _dreamt(client: Client, image: Image) -> Done:
    for event in client.submit("dream", BRIEF | {"edge": "full"}, image=image):
        if isinstance(event, Done):
            return event
    raise AssertionError


def first_frame(system: System) -> dict[str, float]:
    """From OK in the dialog to the first frame on the canvas, and what the daemon alone needs for it."""
    with started(system, window=True) as (gimp, daemon):
        path = gimp.folder / "cloud.png"
        Picture.fromarray(cloudscape()[0]).save(path)
        desk = Desk(gimp, path, daemon)
        desk.remember()
        taken = []
        for _ in range(REPEATS):
            desk.open()
            taken.append(_pressed(desk))
            desk.gone(RUNNING)
            desk.close()
        with daemon.client() as client:
            alone = min(_first_preview(client) for _ in range(REPEATS))
    return {"OK to the first frame": min(taken), "the daemon's first preview": alone}


def _pressed(desk: Desk) -> float:
    """Milliseconds from the key until there is a layer more."""
    desk.press(DREAM)
    dialog = desk.gimp.window_of(DIALOG)
    time.sleep(3)  # the preview has ended, or not: as with a user who looks at it
    seen: list[float] = []
    code = "import time\nwhile len(image.get_layers()) == 1: time.sleep(0.002)\nresult = time.time()"
    watch = threading.Thread(target=lambda: seen.append(desk.gimp.eval(code)))
    watch.start()
    command = f"date +%s.%N; exec xdotool windowfocus --sync {dialog} key Return"
    pressed = float(desk.gimp.run("sh", "-c", command).split()[0])
    watch.join()
    return 1000 * (seen[0] - pressed)


def _first_preview(client: Client) -> float:
    image = Picture.fromarray(cloudscape()[0]).convert("RGBA")
    started = time.perf_counter()
    job = client.submit(
        "dream", {}, image=Image(image.tobytes(), (image.height, image.width, 4), "uint8"), preview=Preview()
    )
    taken = 0.0
    with contextlib.suppress(JobCancelledError):
        for event in job:
            if isinstance(event, PreviewIs) and not taken:
                taken = 1000 * (time.perf_counter() - started)
                job.cancel()
    return taken


def main() -> None:
    """Measures in every GIMP and prints."""
    print(f"load average {os.getloadavg()[0]:.2f}")
    for system in systems():
        for title, figures in (
            (f"a script's call, {SIZE[0]}x{SIZE[1]}", overhead(system)),
            ("a window, 420x270 selected", first_frame(system)),
        ):
            told = ", ".join(f"{name} {value:.0f} ms" for name, value in figures.items())
            print(f"{system.name}, {title}: {told}", flush=True)


if __name__ == "__main__":
    main()

"""How time and memory grow with the region: `.venv/bin/python -m tests.bench.scale`, a quarter of an hour.

A warm daemon dreams noise with the default parameters, whole pictures with fewer steps, since all are alike.
Judges nothing; `docs/chart.py` draws what it has found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from dreamwire.client import Client, Image
from dreamwire.messages import Done

from . import daemon

#: Megapixels of whole pictures.
SIZES = (0.1, 0.3, 1, 3, 10, 30, 100)
#: A picture of 12 megapixels, and the shares of it that square regions in its middle have.
PICTURE = (4000, 3000)
SHARES = (0.1, 0.01)
STEPS = 2
GIGA = 10**9


def main() -> None:
    """Measures, prints tables as it goes, and writes the JSON that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description="Measure how dreams scale.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--largest", type=float, default=SIZES[-1], metavar="MP", help="the largest picture")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help="in each octave; 10 are the default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    wanted = parser.parse_args()
    with daemon.serving(wanted.device) as (client, _):
        report = {
            "steps": wanted.steps,
            "sizes": list(_sizes(client, wanted.largest, wanted.steps)),
            "regions": list(_regions(client, PICTURE)),
        }
    if wanted.json:
        wanted.json.write_text(json.dumps(report, indent=1) + "\n")


def _sizes(client: Client, largest: float, steps: int) -> Iterator[dict[str, Any]]:
    print(f"Whole pictures, {steps} steps in each octave")
    _line("MP", "s", "ns/px a step", "overhead ms", "front GB", "worker GB", "together GB")
    for megapixels in (size for size in SIZES if size <= largest):
        side = round(math.sqrt(megapixels * 1e6))
        with _peaks(client) as peaks:
            # Twice, since libraries prepare themselves for every new size of window; large pictures do not mind.
            times = 2 if megapixels < 10 else 1
            runs = [_dreamt(client, (side, side), None, {"steps": steps}) for _ in range(times)]
            total, done = min(runs, key=itemgetter(0))
        seconds = done.info["seconds"]["dream"]
        row = {"megapixels": megapixels, "total_s": total, "dream_s": seconds} | peaks
        _line(
            f"{megapixels:g}", f"{seconds:.2f}", f"{1e9 * seconds / steps / side**2:.0f}",
            f"{1000 * (total - seconds):.0f}", *(f"{peaks[name]:.2f}" for name in ("front", "worker", "together")),
        )  # fmt: skip
        yield row


def _regions(client: Client, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    print(f"\nA square region of a picture of {size[0]}x{size[1]}, against all of it")
    _line("share", "context", "s", "%")
    _, done = _dreamt(client, size, None, {})
    whole = done.info["seconds"]["dream"]
    for share in SHARES:
        for context in ("exact", "fast"):
            # Twice here, too.
            seconds = min(
                _dreamt(client, size, share, {"context": context})[1].info["seconds"]["dream"] for _ in range(2)
            )
            _line(f"{share:.0%}", context, f"{seconds:.2f}", f"{100 * seconds / whole:.1f}")
            yield {"share": share, "context": context, "dream_s": seconds, "whole_s": whole}


def _dreamt(
    client: Client, size: tuple[int, int], share: float | None, params: dict[str, Any]
) -> tuple[float, Done]:
    """Seconds from submitting to the result, and the result, of noise of a size, or a square share of it."""
    width, height = size
    pixels = np.random.default_rng(0).integers(60, 190, (height, width, 3), np.uint8)
    mask = None
    if share is not None:
        side = round(math.sqrt(share * width * height))
        region = np.zeros((height, width, 1), np.uint8)
        top, left = (height - side) // 2, (width - side) // 2
        region[top : top + side, left : left + side] = 255
        mask = Image(region.tobytes(), region.shape, "uint8")
    image = Image(pixels.tobytes(), pixels.shape, "uint8")
    started = time.perf_counter()
    *_, done = client.submit("dream", params, image=image, mask=mask)
    assert isinstance(done, Done)
    return time.perf_counter() - started, done


@contextlib.contextmanager
def _peaks(client: Client) -> Iterator[dict[str, float]]:
    """The most memory, in GB, that the daemon's processes hold meanwhile."""
    status = client.status()
    processes = {"front": psutil.Process(status["pid"]), "worker": psutil.Process(status["workers"][0]["pid"])}
    peaks = dict.fromkeys([*processes, "together"], 0.0)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            held = {name: process.memory_info().rss / GIGA for name, process in processes.items()}
            for name, amount in (held | {"together": sum(held.values())}).items():
                peaks[name] = max(peaks[name], amount)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        ended.set()
        watcher.join()


def _line(*cells: str) -> None:
    print("".join(f"{cell:>14}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()

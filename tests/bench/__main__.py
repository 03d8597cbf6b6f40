"""How fast it is: `.venv/bin/python -m tests.bench`, from the repository's root, after `./install/test`.

It measures and judges nothing. On Linux and macOS, on the processor or a card. Sizes are WIDTHxHEIGHT. Ratios are
those of minimums, which others on the machine disturb least. This process does without torch, so that its
children's peaks of memory are their own.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from dreamd.sample import cloudscape
from dreamd.supervisor import ENVIRONMENT
from dreamwire.networks import find_network

from . import daemon

ROOT = Path(__file__).resolve().parents[2]

FULL: dict[str, Any] = {
    "networks": [("efficientnet_lite0", "blocks.10"), ("googlenet", "inception4c")],
    "sizes": [(768, 576)],
    "pictures": [(768, 512), (1154, 866)],
    "peer": (768, 431),
    "large": None,
    "sides": (256, 512, 1024, 2048),
    "repeats": 15,
    "rounds": 3,
    "jobs": 3,
}
#: What cards are measured with if nothing else is asked for: 12 megapixels.
LARGE = (4000, 3000)
QUICK = {
    "networks": FULL["networks"][:1],
    "sizes": [(384, 288)],
    "pictures": [(512, 384)],
    "peer": (256, 160),
    "large": None,
    "sides": (128, 256),
    "repeats": 5,
    "rounds": 1,
    "jobs": 1,
}
#: A load average above this means that others use the machine too.
QUIET = 0.5


def main() -> None:
    """Measures, prints tables as it goes, and writes the JSON that was asked for."""
    load = os.getloadavg()[0]  # before we add to it
    wanted, file = _parse()
    report: dict[str, Any] = {"machine": _machine(load, wanted["device"])}
    report["steps"] = _steps(wanted, report["machine"]["precisions"])
    report["dreams"] = [_dream(wanted, precision) for precision in report["machine"]["precisions"]]
    size = wanted["large"] or (LARGE if report["machine"]["device"].startswith("cuda") else None)
    if size:
        report["card"] = [_card(wanted, report["machine"], size, *each) for each in wanted["networks"]]
    report |= _daemon(wanted)
    report["peer"] = _peer(wanted)
    report["machine"]["load_after"] = after = os.getloadavg()[0]
    if after > report["machine"]["threads"] + QUIET:
        print(f"\nWARNING: others used the machine meanwhile (load average {after:.2f}); measure again.")
    if file:
        file.write_text(json.dumps(report, indent=1) + "\n")


def _parse() -> tuple[dict[str, Any], Path | None]:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure how fast dreams are.")
    parser.add_argument("--quick", action="store_true", help="less of everything, in half a minute")
    parser.add_argument("--networks", nargs="+", type=_network, metavar="NAME[:LAYER]")
    parser.add_argument("--sizes", nargs="+", type=_size, metavar="WxH", help="pictures for a network's step")
    parser.add_argument("--pictures", nargs="+", type=_size, metavar="WxH", help="pictures for whole dreams")
    parser.add_argument("--large", type=_size, metavar="WxH", help="a large picture; 4000x3000 on a card")
    parser.add_argument("--repeats", type=int, metavar="N", help="steps to measure of each network")
    parser.add_argument("--rounds", type=int, metavar="N", help="times that each network's steps are measured")
    parser.add_argument("--jobs", type=int, metavar="N", help="times that each whole dream is run")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    file = given.pop("json", None)
    return (QUICK if given.pop("quick") else FULL) | given, file


def _network(text: str) -> tuple[str, str]:
    name, _, layer = text.partition(":")
    return name, layer or find_network(name).default_layer


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def _machine(load: float, device: str) -> dict[str, Any]:
    machine = {"processor": _processor(), "load": load} | _measured("machine", device=device)
    print(
        f"{machine['processor']} ({machine['capability']}), torch {machine['torch']} with {machine['threads']}"
        f" threads, on {machine['device']} ({machine['device_name']}), load average {load:.2f}"
    )
    if load > QUIET:
        print(f"WARNING: others use the machine (load above {QUIET}); times will be too long and unsteady.")
    return machine


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def _steps(wanted: dict[str, Any], precisions: list[str]) -> list[dict[str, Any]]:
    repeats, rounds, device = (wanted[name] for name in ("repeats", "rounds", "device"))
    print(
        f"\nA step: through the network and back to the picture, in ms: median (minimum) of {rounds} x {repeats}"
    )
    print("plain: the whole network with a hook, unfused, contiguous, autograd, float32, the environment as it is")
    _line("network, layer, picture", "", "step", "forward", "step/2 fwd", "plain/step", "peak MB")
    rows = []
    ways = ("plain", *precisions)
    for (network, layer), size in itertools.product(wanted["networks"], wanted["sizes"]):
        asked = {"network": network, "layer": layer, "size": size, "repeats": repeats, "device": device}
        # By turns, so that ways are compared as the machine was for all of them.
        found = [{way: _step(way, asked) for way in ways} for _ in range(rounds)]
        merged = {way: _merged([each[way] for each in found]) for way in ways}
        plain = merged["plain"]["step"]["minimum_ms"]
        for way, measured in merged.items():
            row = {"network": network, "layer": layer, "size": size, "way": way} | measured
            step, forward, ratio = row["step"]["minimum_ms"], "", ""
            if way != "plain":
                row["step_per_2_forward"] = step / 2 / row["forward"]["minimum_ms"]
                forward, ratio = _ms(row["forward"]), f"{row['step_per_2_forward']:.2f}"
            row["plain_per_step"] = plain / step
            speedup = f"{row['plain_per_step']:.2f}"
            name = f"{network} {layer} {_wxh(size)}"
            _line(name, way, _ms(row["step"]), forward, ratio, speedup, row["peak_mb"])
            rows.append(row)
    return rows


def _step(way: str, asked: dict[str, Any]) -> dict[str, Any]:
    return _measured("plain" if way == "plain" else "step", way=way, **asked)


def _merged(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What was measured in several rounds: the least, the median of medians, the largest peak of memory."""
    merged: dict[str, Any] = {"peak_mb": max(each["peak_mb"] for each in rounds)}
    for part in rounds[0].keys() - merged.keys():
        merged[part] = {
            "median_ms": statistics.median(each[part]["median_ms"] for each in rounds),
            "minimum_ms": min(each[part]["minimum_ms"] for each in rounds),
        }
    return merged


def _dream(wanted: dict[str, Any], precision: str) -> dict[str, Any]:
    size = wanted["pictures"][0]
    row = {"size": size} | _measured("dream", size=size, precision=precision, device=wanted["device"])
    print(f"\nWhere a dream's time goes: {_wxh(size)}, {row['network']} {row['layer']}, {row['way']}, defaults")
    for name, percent in row["percent"].items():
        _line(name, f"{percent:.1f} %")
    _line("in all", f"{row['seconds']:.2f} s")
    return row


def _card(
    wanted: dict[str, Any], machine: dict[str, Any], size: tuple[int, int], network: str, layer: str
) -> dict[str, Any]:
    """What the device comes to when it has enough to do."""
    asked = {"network": network, "layer": layer, "device": wanted["device"]}
    row = {"network": network, "layer": layer, "size": size, "device_name": machine["device_name"]}
    row |= _measured("large", **asked, size=size)
    print(f"\n{machine['device_name']}: {_wxh(size)}, {network} {layer}, {row['way']}, 4 octaves of 10 steps")
    _line("the first time, and again", f"{row['first_s']:.2f} s", f"{row['again_s']:.2f} s")
    _line("windows", f"{row['windows_per_s']:.1f} / s")
    _line("of the matrix rate", f"{row['share']:.1%}", f"{row['matrix_tera_per_s']:.2f} T/s")
    row["windows"] = {}
    for side in wanted["sides"]:
        found = _measured("windows", **asked, side=side, repeats=wanted["repeats"])
        row["windows"][side] = found["rates"]
        rates = (f"{rate:.1f} / s {way}" for way, rate in found["rates"].items())
        _line(f"windows of {side}x{side}", ", ".join(rates))
    return row


def _daemon(wanted: dict[str, Any]) -> dict[str, Any]:
    jobs = wanted["jobs"]
    report: dict[str, Any] = {"imports_ms": daemon.imports(jobs)}
    print(f"\nStart-up, with all files in the system's cache; imports from nothing, the least of {jobs}")
    for name, milliseconds in report["imports_ms"].items():
        _line(name, f"{milliseconds:.0f} ms")
    with daemon.serving(wanted["device"]) as (client, report["start_ms"]):
        for name, milliseconds in report["start_ms"].items():
            _line(f"cold daemon to {name}", f"{milliseconds:.0f} ms")
        print(f"\nEnd to end: a warm daemon, default parameters, from submit to done, the median of {jobs}")
        _line("picture", "total s", "dream s", "rest ms", "rest %", "preview ms", "previews")
        report["jobs"] = []
        for size in wanted["pictures"]:
            row = daemon.job(client, size, jobs)
            seconds = f"{row['total_s']:.2f}", f"{row['dream_s']:.2f}"
            rest = f"{row['overhead_ms']:.1f}", f"{row['overhead_percent']:.2f}"
            previews = f"{row['first_preview_ms']:.0f}", f"{row['previews_percent']:+.1f} %"
            _line(_wxh(size), *seconds, *rest, *previews)
            report["jobs"].append(row)
    return report


#: The dream that the quickest public script for PyTorch was measured with.
PEER = {"network": "googlenet", "layers": "inception4c", "octaves": 4, "octave_scale": 1.4, "steps": 10}


def _peer(wanted: dict[str, Any]) -> list[dict[str, Any]]:
    width, height = wanted["peer"]
    network, layer = PEER["network"], PEER["layers"]
    print(f"\nAgainst a plain script, from start to picture: {width}x{height}, {network} {layer}, weights made")
    _line("way", "s", "plain/it", "objective")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights, picture = folder / "weights.pth", folder / "picture.png"
        sha256 = _measured("made", network=network, file=str(weights))["sha256"]
        pixels = cloudscape(width, height)[0]
        Picture.fromarray(pixels).save(picture)
        files = [str(picture), str(weights), str(folder / "plain.png")]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "tests.bench.plain", *files], check=True, cwd=ROOT)
        seconds = {"plain": time.perf_counter() - started}
        with daemon.with_made(network, weights, sha256, wanted["device"]) as client:
            for quality in ("normal", "draft"):
                seconds[quality], done = daemon.timed(
                    client, pixels, PEER | {"quality": quality}, wanted["jobs"] + 1
                )
                made = np.frombuffer(done.frames[0], np.uint8).reshape(pixels.shape)
                Picture.fromarray(made).save(folder / f"{quality}.png")
        files = [str(folder / f"{way}.png") for way in seconds]
        values = _measured("climbed", network=network, layer=layer, file=str(weights), pictures=files)["values"]
    rows = []
    for (way, taken), value in zip(seconds.items(), values, strict=True):
        rows.append({"way": way, "seconds": taken, "ratio": seconds["plain"] / taken, "objective": value})
        _line(way, f"{taken:.2f}", f"{seconds['plain'] / taken:.1f}", f"{value:.4f}")
    return rows


def _measured(kind: str, **arguments: Any) -> dict[str, Any]:
    """What `tests.bench.network` measures, in a process with the worker's environment."""
    # A plain script would not know of these settings.
    environment = ({} if kind == "plain" else ENVIRONMENT) | dict(os.environ)
    command = [sys.executable, "-m", "tests.bench.network", kind, json.dumps(arguments)]
    done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _line(first: str, *cells: object) -> None:
    """A row of a table, shown as soon as it is known."""
    print(f"  {first:<42}", *(f"{cell!s:>12}" for cell in cells), flush=True)


def _wxh(size: tuple[int, int]) -> str:
    return "{}x{}".format(*size)


def _ms(summary: dict[str, float]) -> str:
    return f"{summary['median_ms']:.0f} ({summary['minimum_ms']:.0f})"


if __name__ == "__main__":
    main()

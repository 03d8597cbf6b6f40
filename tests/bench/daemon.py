"""What a person waits for: a real daemon from its cold start to its last job, over its own socket."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamwire.client import Client, Image, JobCancelledError
from dreamwire.messages import Done, Preview, PreviewIs
from dreamwire.networks import find_network

from ..parts.real_daemon import Daemon

#: What each program imports before it can do anything.
IMPORTS = {
    "python alone": "pass",
    "client": "import dreamwire.client",
    "command": "import dreamd.cli",
    "front": "import dreamd.server",
    "worker": "import dreamd.worker",
}
#: Run by every Python of a daemon that is to take made weights for the published ones.
TAKEN = """
from dataclasses import replace
from dreamwire import networks
row = networks.NETWORKS["{network}"]
networks.NETWORKS["{network}"] = replace(row, weights=replace(row.weights, sha256="{sha256}"))
"""
#: The smallest job that shows that a daemon is ready.
SMALLEST = {"octaves": 1, "steps": 1}
#: As the plug-in asks for them while a layer is dreamt.
PREVIEWS = Preview(interval_ms=250, max_side=2048)


def imports(repeats: int) -> dict[str, float]:
    """Milliseconds from nothing to each program's last import, the least of `repeats`."""

    def start(code: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return _ms_since(started)

    return {name: min(start(code) for _ in range(repeats)) for name, code in IMPORTS.items()}


@contextlib.contextmanager
def serving(device: str) -> Iterator[tuple[Client, dict[str, float]]]:
    """A client of a daemon that has just been started, and how many milliseconds that took; ends it."""
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    daemon = Daemon(folder, options=("--device", device))
    try:
        started = time.perf_counter()
        daemon.start()
        taken = {"welcome": _ms_since(started)}
        with daemon.client() as client:
            _finished(client, _noise((64, 64)), SMALLEST)
            taken["first job done"] = _ms_since(started)
            yield client, taken
    finally:
        daemon.end()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def with_made(network: str, weights: Path, sha256: str, device: str) -> Iterator[Client]:
    """A client of a daemon that takes made weights of a network for the published ones; ends it."""
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    daemon = Daemon(folder, options=("--device", device))
    row = find_network(network)
    cache = Path(daemon.environment["DEEPDREAM_DATA"]) / "weights"
    cache.mkdir(parents=True)
    shutil.copy(weights, cache / row.weights.file)
    (folder / "sitecustomize.py").write_text(TAKEN.format(network=network, sha256=sha256))
    daemon.environment["PYTHONPATH"] = str(folder)
    try:
        daemon.start()
        with daemon.client() as client:
            yield client
    finally:
        daemon.end()
        shutil.rmtree(folder, ignore_errors=True)


def timed(
    client: Client, pixels: NDArray[np.uint8], params: Mapping[str, Any], repeats: int
) -> tuple[float, Done]:
    """The least seconds from submitting a dream of a picture to its result, and the result."""
    image = Image(pixels.tobytes(), pixels.shape, "uint8")
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        done = _finished(client, image, params)
        taken.append(_ms_since(started) / 1000)
    return min(taken), done


def job(client: Client, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """A dream of a whole picture with default parameters: the median of `repeats`, by its total.

    `overhead` is what the daemon does not count as dreaming: the wire, the queue, the pixels' way in and out.
    `previews_percent` is how much longer the quickest takes with those that the plug-in asks for.
    """
    image = _noise(size)
    runs, watched = [], []
    for _ in range(repeats):
        started = time.perf_counter()
        done = _finished(client, image)
        runs.append((_ms_since(started) / 1000, done.info["seconds"]["dream"]))
        started = time.perf_counter()
        list(client.submit("dream", image=image, preview=PREVIEWS))
        watched.append(_ms_since(started) / 1000)
    total, dream = sorted(runs)[len(runs) // 2]
    return {
        "size": size,
        "total_s": total,
        "dream_s": dream,
        "overhead_ms": 1000 * (total - dream),
        "overhead_percent": 100 * (total - dream) / total,
        "previews_percent": 100 * (min(watched) / min(runs)[0] - 1),
        "first_preview_ms": statistics.median(_first_preview(client, image) for _ in range(repeats)),
    }


def _noise(size: tuple[int, int]) -> Image:
    """A picture as GIMP's plug-in sends it: R'G'B'A in float32."""
    width, height = size
    pixels = np.random.default_rng(0).random((height, width, 4), np.float32)
    pixels[..., 3] = 1
    return Image(pixels.tobytes(), pixels.shape)


def _finished(client: Client, image: Image, params: Mapping[str, Any] | None = None) -> Done:
    *_, done = client.submit("dream", params, image=image)
    assert isinstance(done, Done)
    return done


def _first_preview(client: Client, image: Image) -> float:
    """Milliseconds from submitting a job to its first preview; the job is then cancelled."""
    started = time.perf_counter()
    submitted = client.submit("dream", image=image, preview=Preview())
    next(event for event in submitted if isinstance(event, PreviewIs))
    taken = _ms_since(started)
    submitted.cancel()
    with contextlib.suppress(JobCancelledError):
        list(submitted)
    return taken


def _ms_since(started: float) -> float:
    return 1000 * (time.perf_counter() - started)

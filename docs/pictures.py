"""Makes every picture of the docs, by the commands a user has: `.venv/bin/python docs/pictures.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dreamd import codec

PICTURES = Path(__file__).parent / "pictures"
#: What four layers of the embedded network see in a cloud.
LAYERS = ("blocks.4", "blocks.7", "blocks.10", "blocks.13")
#: Rows and columns of the sample that show the great cloud.
CLOUD = np.s_[70:350, 60:660]


def deepdream(*arguments: str | Path) -> None:
    """Runs the command."""
    subprocess.run([sys.executable, "-m", "dreamd", *arguments], check=True)


def main() -> None:
    """Draws the sample, dreams it, and lays the pictures out."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cloud, mask, out = folder / "cloud.png", folder / "mask.png", folder / "out.png"
        subprocess.run([sys.executable, "-m", "dreamd.sample", cloud, mask], check=True)
        dream = ("dream", cloud, "--mask", mask, "--output", out)

        deepdream(*dream)
        before, region, after = (codec.read(path).pixels for path in (cloud, mask, out))
        region = np.broadcast_to(region[..., :1], before.shape)
        _save([[before, region, after]], "cloud.jpg", 2)

        strips = []
        for layer in LAYERS:
            deepdream(*dream, "--layers", layer)
            strips.append(codec.read(out).pixels[CLOUD])
        _save([strips[:2], strips[2:]], "layers.jpg", 1)


def _save(rows: Sequence[Sequence[NDArray[np.uint8]]], name: str, reduction: int) -> None:
    """Writes pictures of one size, with a thin white line between them, reduced by a whole number."""
    lines = []
    for row in rows:
        parts = [
            np.pad(_reduced(picture, reduction), ((0, 8), (0, 8), (0, 0)), constant_values=255) for picture in row
        ]
        lines.append(np.concatenate(parts, axis=1))
    sheet = np.concatenate(lines, axis=0)[:-8, :-8]
    for note in codec.write(codec.Picture(np.ascontiguousarray(sheet)), PICTURES / name):
        print(note)


def _reduced(picture: NDArray[np.uint8], by: int) -> NDArray[np.uint8]:
    rows, columns = (side // by for side in picture.shape[:2])
    cells = picture[: rows * by, : columns * by].reshape(rows, by, columns, by, 3)
    return np.round(cells.mean((1, 3))).astype(np.uint8)


if __name__ == "__main__":
    main()

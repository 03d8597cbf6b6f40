"""Draws `docs/pictures/scale.svg`: `python docs/chart.py FILE`, of what `tests.bench.scale --json FILE` wrote."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 400, 64, 24, 20, 48
#: Both axes are logarithmic: megapixels, and seconds.
ACROSS, UP = (0.08, 130.0), (0.04, 150.0)
FONT = 'font-family="sans-serif" font-size="12" fill="#555"'


def main(file: Path) -> None:
    """Draws the seconds that a step in each of four octaves takes, over the region's megapixels."""
    report = json.loads(file.read_text())
    taken = [(row["megapixels"], row["dream_s"] / report["steps"]) for row in report["sizes"]]
    # What the largest takes for each pixel, for all sizes.
    each = taken[-1][1] / taken[-1][0]
    lines = [
        *_grid(),
        _line([(size, each * size) for size in ACROSS], 'stroke="#bbb" stroke-dasharray="5 5"'),
        _line(taken, 'stroke="#06c" stroke-width="2"'),
        *(f'<circle cx="{_x(size):.1f}" cy="{_y(seconds):.1f}" r="4" fill="#06c"/>' for size, seconds in taken),
    ]
    target = Path(__file__).parent / "pictures" / "scale.svg"
    target.write_text("\n".join(_svg(lines)) + "\n", encoding="utf-8")


def _svg(lines: Iterable[str]) -> list[str]:
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    white = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    return [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', white, *lines, "</svg>"]


def _grid() -> list[str]:
    """The axes, with a line and a number for each power of ten."""
    lines = []
    for size in (0.1, 1, 10, 100):
        lines += [
            _line([(size, UP[0]), (size, UP[1])], 'stroke="#ddd"'),
            _text(_x(size), _y(UP[0]) + 18, f"{size:g}"),
        ]
    for seconds in (0.1, 1, 10, 100):
        lines += [_line([(ACROSS[0], seconds), (ACROSS[1], seconds)], 'stroke="#ddd"')]
        lines += [_text(LEFT - 18, _y(seconds) + 4, f"{seconds:g}")]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [
        *lines,
        _text(middle, HEIGHT - 10, "megapixels of the region"),
        _text(middle, TOP - 8, "seconds for a step in each of four octaves; dashed: the same for every pixel"),
    ]


def _line(points: Sequence[tuple[float, float]], style: str) -> str:
    places = " ".join(f"{_x(across):.1f},{_y(up):.1f}" for across, up in points)
    return f'<polyline points="{places}" fill="none" {style}/>'


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" {FONT}>{text}</text>'


def _x(value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * _share(value, ACROSS)


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(value, UP)


def _share(value: float, ends: tuple[float, float]) -> float:
    """Where a value lies between two ends, by its logarithm."""
    return math.log(value / ends[0]) / math.log(ends[1] / ends[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""What a person sees while something takes time."""

from __future__ import annotations

import shutil
import sys

WIDTH = 24


class Bar:
    """A progress bar on standard error, if that is a terminal; nothing otherwise."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._shows = sys.stderr.isatty()
        self._drawn = False

    def show(self, fraction: float, text: str) -> None:
        """Draws the bar at a fraction of 0..1, with what is happening."""
        if self._shows:
            full = round(WIDTH * fraction)
            line = f"{self._label} [{'#' * full}{'-' * (WIDTH - full)}] {fraction:4.0%} {text}"
            print(
                "\r" + line[: shutil.get_terminal_size().columns - 1] + "\033[K",
                end="",
                file=sys.stderr,
                flush=True,
            )
            self._drawn = True

    def clear(self) -> None:
        """Takes the bar away."""
        if self._drawn:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._drawn = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

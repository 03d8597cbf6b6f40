"""What a person sees: tables, and a bar while something takes time."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

#: Characters between the brackets of a bar that has room.
BAR = 24


def table(rows: Sequence[Sequence[str]], align: str = "") -> str:
    """Columns as wide as what they hold, the last one wrapped to the terminal.

    `align` has `<` or `>` for each column but the last, all `<` if left out.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    align = align or "<" * len(widths)
    indent = sum(widths) + 2 * len(widths)
    room = max(20, _columns() - indent)
    lines = []
    for *cells, last in rows:
        padded = (f"{cell:{side}{width}}  " for cell, side, width in zip(cells, align, widths, strict=True))
        # Paths and commands stay whole, so that they can be copied.
        wrapped = textwrap.wrap(last, room, break_long_words=False, break_on_hyphens=False)
        lines.append(("".join(padded) + f"\n{'':{indent}}".join(wrapped)).rstrip())
    return "\n".join(lines)


def bar(share: float) -> str:
    """A share of 0..1 as a bar, as long as that of a job that is done if it is 1; of # where nothing finer is."""
    eighths = round(8 * BAR * share)
    fine = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
    try:
        fine.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#" * round(BAR * share)
    return fine


class Bar:
    """A progress bar on standard error if that is a terminal; nothing otherwise."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._shows = sys.stderr.isatty()
        self._fraction = 0.0

    def show(self, text: str, fraction: float | None = None) -> None:
        """Draws the bar with what is happening, at a fraction of 0..1, or where it was."""
        if fraction is not None:
            self._fraction = fraction
        if self._shows:
            before, after = f"{self._label} ", f" {self._fraction:4.0%} {text}"
            # The words matter more than the bar, and a line that wraps could not be drawn over.
            columns = _columns() - 1
            room = max(0, min(BAR, columns - len(before) - len(after) - 2))
            full = round(room * self._fraction)
            line = f"{before}[{'#' * full}{'-' * (room - full)}]{after}"
            self._write(line[:columns])

    def _write(self, line: str) -> None:
        print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shows:
            self._write("")


def _columns() -> int:
    return shutil.get_terminal_size().columns

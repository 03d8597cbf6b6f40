"""Sheets: many small pictures on white, each with its name below it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

#: Pixels between pictures and around all of them, and the height of a line of text.
GAP, LINE = 8, 18
#: How dark the letters are.
INK = 40


def sheet(cells: Sequence[tuple[str, Pixels]], columns: int) -> Pixels:
    """Named pictures of one size `(h, w, C)` as one `(H, W, C)`, in rows of so many, with a label under each."""
    height, width, channels = cells[0][1].shape
    down, across = height + LINE + GAP, width + GAP
    rows = -(-len(cells) // columns)
    page = np.full((GAP + rows * down, GAP + min(columns, len(cells)) * across, channels), 255, np.uint8)
    for number, (name, pixels) in enumerate(cells):
        top, left = GAP + number // columns * down, GAP + number % columns * across
        page[top : top + height, left : left + width] = pixels
        page[top + height : top + height + LINE, left : left + width] = label(name, width)
    return page


def label(text: str, width: int) -> Pixels:
    """A line of text on white `(LINE, width, 1)`, smaller where it would not fit.

    Pillow has a font of its own, so that it looks the same on every computer, also on one without fonts.
    """
    size = 13.0
    while size > 5 and ImageFont.load_default(size).getlength(text) > width:
        size -= 1
    image = Image.new("L", (width, LINE), 255)
    ImageDraw.Draw(image).text((0, LINE - 5), text, INK, ImageFont.load_default(size), anchor="ls")
    return np.asarray(image)[..., None]

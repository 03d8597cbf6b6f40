"""Which part of a picture has to travel: the region, with as much around it as the network looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .params import Value, context_pixels, enlargement, find_job, surroundings

#: Top, left, height, width.
Box = tuple[int, int, int, int]
#: How many pixels around a region reach into it, or it into them, when a picture is enlarged: three by Lanczos,
#: and six steps of less than two pixels where it is looked at how plain it is.
RESAMPLED = 15


def crop(kind: str, region: Box, size: tuple[int, int], values: Mapping[str, Value]) -> Box:
    """The part of a picture of `size` (height, width) that a job with these validated parameters looks at.

    Sending this part, with the mask's same part, gives what the whole picture gives, to the bit.
    """
    top, left, height, width = region
    context = 0
    if find_job(kind).sees == "field":
        context = context_pixels(kind, values)
    elif find_job(kind).sees == "surroundings":
        context = surroundings(values, height, width)
    scale = enlargement(values)
    if scale != 1:
        context = math.ceil(context / scale) + RESAMPLED
    bottom, right = min(top + height + context, size[0]), min(left + width + context, size[1])
    # Where it begins is a whole pixel of the enlarged picture too.
    grid = scale.denominator
    top, left = max(0, top - context) // grid * grid, max(0, left - context) // grid * grid
    return top, left, bottom - top, right - left

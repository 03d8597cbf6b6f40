"""A cloudscape to dream on, drawn by numpy alone: "Do you see yonder cloud that's almost in shape of a camel?"

A cloud is a volume: balls melted into a body, roughened by billows of ever smaller size, lit by carrying the
sunlight row by row down through it, and seen by summing along each pixel's line of sight, as clouds are rendered
in films (Wrenninge, "Oz: the great and volumetric", 2013, for the cheap multiple scattering).

Places are (x, y, z) with the picture's height as the unit: x to the right of the middle, y down from the top,
z towards the viewer. Light is linear until the last step.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ball = tuple[float, float, float, float]  # x, y, z, radius

#: The camel: belly, hump, neck and head, and the base that all of it stands on.
CAMEL: Final[tuple[Ball, ...]] = (
    (-0.30, 0.585, 0.00, 0.085),
    (-0.17, 0.560, 0.02, 0.120),
    (-0.02, 0.550, 0.03, 0.140),
    (0.14, 0.560, 0.02, 0.125),
    (0.28, 0.585, 0.00, 0.090),
    (0.38, 0.610, 0.00, 0.060),
    (0.03, 0.430, 0.00, 0.135),
    (0.08, 0.335, 0.00, 0.100),
    (-0.06, 0.400, 0.00, 0.090),
    (0.17, 0.450, 0.00, 0.090),
    (-0.33, 0.500, 0.00, 0.080),
    (-0.36, 0.420, 0.00, 0.070),
    (-0.425, 0.390, 0.00, 0.055),
)
CAMEL_BASE: Final = 0.655
HORIZON: Final = 1.0

#: The sky's colours (sRGB, 0..255) at heights from the picture's top, 0, to its bottom, 1.
SKY: Final = (
    (0.00, (30, 78, 146)),
    (0.35, (62, 122, 188)),
    (0.62, (116, 168, 214)),
    (0.82, (176, 204, 222)),
    (0.93, (214, 220, 216)),
    (1.00, (226, 218, 204)),
)


@dataclass(frozen=True)
class _Cloud:
    """A cloud as seen: the sunlight and the skylight that reach the eye, and how much is covered; all (H, W).

    `left` and `top` are its place in the picture, in pixels.
    """

    left: int
    top: int
    sun: Floats
    sky: Floats
    cover: Floats


def cloudscape(width: int = 768, height: int = 512) -> tuple[NDArray[np.uint8], Floats]:
    """The picture, uint8 (height, width, 3) in sRGB, and the mask of its great cloud, float32 (height, width), 0..1.

    The same size gives the same picture on the same machine, other sizes the same scene.
    Raises ValueError for sides below 64 or above 2048 pixels.
    """
    if not (64 <= width <= 2048 and 64 <= height <= 2048):
        raise ValueError(f"a cloudscape has 64 to 2048 pixels a side, not {width}×{height}")
    rng = np.random.default_rng(1601)
    scale = min(height, width / 1.5)
    picture = _sky(rng, width, height, scale)
    haze = _linear((206, 214, 216))

    def show(cloud: _Cloud, distance: float) -> Floats:
        """Lay a cloud over the picture, the air before it included; returns its cover of the whole picture."""
        whole = np.zeros((height, width), np.float32)
        top, left = max(cloud.top, 0), max(cloud.left, 0)
        there = np.s_[top : cloud.top + cloud.cover.shape[0], left : cloud.left + cloud.cover.shape[1]]
        rows, columns = whole[there].shape
        here = np.s_[top - cloud.top :, left - cloud.left :]
        sun, sky, cover = (a[here][:rows, :columns, None] for a in (cloud.sun, cloud.sky, cloud.cover))
        light = sun * SUNLIGHT + sky * SKYLIGHT
        clear = np.exp(-distance)
        picture[there] += light * clear + cover * haze * (1 - clear) - cover * picture[there]
        whole[there] = cover[..., 0]
        return whole

    for balls, base, size in _far(rng):
        show(_cumulus(rng, balls, base, size, (width, height, scale), depth=14), 0.09 / (HORIZON - base))
    cover = show(_cumulus(rng, CAMEL, CAMEL_BASE, 1.0, (width, height, scale), depth=36), 0.0)
    mask = _smoothstep(0.08, 0.92, _blurred(cover, 0.011 * scale))
    return _developed(rng, picture), mask

"""A cloudscape to dream on, drawn by numpy alone: "Do you see yonder cloud that's almost in shape of a camel?"

A cloud is a volume: balls melted into a body, roughened by billows of ever smaller size, lit by carrying sunlight
through it row by row, and seen by adding up what each pixel's line of sight meets. That light is scattered many
times is approximated as in films: by adding dimmer light that the cloud absorbs less (Wrenninge et al., "Oz: The
Great and Volumetric", 2013).

Places are (x, y, z) in picture heights: x to the right of the middle, y down from the top, z towards the viewer.
Colours are linear light until they are developed at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Ball = tuple[float, float, float, float]  # x, y, z, radius

#: Belly, hump, neck and head, on a flat base as cumulus has it.
CAMEL: Final[tuple[Ball, ...]] = (
    (-0.290, 0.590, 0.00, 0.080),
    (-0.160, 0.575, 0.02, 0.105),
    (-0.020, 0.555, 0.03, 0.130),
    (0.140, 0.560, 0.02, 0.125),
    (0.280, 0.590, 0.00, 0.085),
    (0.370, 0.615, 0.00, 0.055),
    (0.040, 0.440, 0.00, 0.125),
    (0.080, 0.345, 0.00, 0.095),
    (-0.060, 0.430, 0.00, 0.085),
    (0.180, 0.450, 0.00, 0.090),
    (-0.330, 0.505, 0.00, 0.072),
    (-0.355, 0.425, 0.00, 0.066),
    (-0.425, 0.385, 0.00, 0.058),
    (-0.485, 0.405, 0.00, 0.035),
)
CAMEL_BASE: Final = 0.655

#: Of the sky, the far clouds, the camel and the film's grain: chosen by eye.
SEEDS: Final = (1614, 1620, 1603, 1601)

#: The sunlight's way: for one step down, so many to the right and so many away from the viewer.
SUN_RIGHT, SUN_AWAY = 0.90, 0.34


def cloudscape(width: int = 768, height: int = 512) -> tuple[NDArray[np.uint8], Floats]:
    """A picture, uint8 (height, width, 3) in sRGB, and the mask of its great cloud, float32 (height, width), 0..1.

    One size is always the same picture, and all sizes show the same great cloud.
    Raises ValueError for sides below 64 or above 2048 pixels.
    """
    if not (64 <= width <= 2048 and 64 <= height <= 2048):
        raise ValueError(f"a cloudscape has 64 to 2048 pixels a side, not {width}×{height}")
    view = _View(width, height, min(height, width / 1.5))
    sky_seed, far_seed, camel_seed, grain_seed = SEEDS
    sky = _sky(np.random.default_rng(sky_seed), view)
    picture = sky.copy()
    for i, (balls, base, size) in enumerate(_far_clouds(np.random.default_rng(far_seed))):
        cloud = _cumulus(np.random.default_rng((far_seed, i)), view, balls, base, size, depth=14)
        _lay(picture, cloud, distance=0.055 / (1 - base))
    veil = 0.65 * _smoothstep(0.78, 1.0, np.linspace(0, 1, height, dtype=np.float32))[:, None, None]
    picture += veil * (sky - picture)
    camel = _cumulus(np.random.default_rng(camel_seed), view, CAMEL, CAMEL_BASE, size=1.0, depth=36)
    cover = _lay(picture, camel, distance=0.0)
    mask = _smoothstep(0.08, 0.92, _blurred(cover, 0.013 * view.scale))
    return _developed(np.random.default_rng(grain_seed), picture), mask


@dataclass(frozen=True)
class _View:
    """The picture's sides in pixels, and how many of them a picture height of the scene takes."""

    width: int
    height: int
    scale: float


@dataclass(frozen=True)
class _Cloud:
    """A cloud as seen: the sunlight and the skylight that come from it, and how much it covers, all (H, W), 0..1.

    `left` and `top` say where in the picture that is, in pixels; parts may lie outside.
    """

    left: int
    top: int
    sun: Floats
    sky: Floats
    cover: Floats


def _sky(rng: np.random.Generator, view: _View) -> Floats:
    """The sky (H, W, 3): deep above, hazy and warm below, brighter towards the sun, with some cirrus."""
    down = np.linspace(0, 1, view.height, dtype=np.float32)[:, None]
    right = np.linspace(0, 1, view.width, dtype=np.float32)
    heights = (0, 0.35, 0.62, 0.82, 0.93, 1)
    colours = _linear(
        [(30, 78, 146), (62, 122, 188), (116, 168, 214), (178, 206, 224), (212, 221, 220), (229, 225, 215)]
    )
    sky = np.stack([np.interp(down, heights, channel) for channel in colours.T], axis=-1).astype(np.float32)
    sky = sky * (1 + 0.2 * (0.5 - right) * (1 - down))[..., None]

    return sky + _cirrus(rng, view, down)[..., None] * (_linear((246, 248, 250)) - sky)


def _cirrus(rng: np.random.Generator, view: _View, down: Floats) -> Floats:
    """What ice crystals cover (H, W), 0..1: waves long across and short down, as wind has drawn them out."""
    shape, sides = (view.height, view.width), (view.height / view.scale, view.width / view.scale)
    streaks = np.zeros(shape, np.float32)
    for octave in range(6):
        cells = (10 * 1.9**octave * sides[0], 1.4 * 1.9**octave * sides[1])
        streaks += 0.6**octave * _noise(rng, shape, cells)
    slant = np.linspace(0, 0.16 * view.width, view.width, dtype=np.float32)
    rows, columns = np.arange(view.height)[:, None] + slant.astype(int), np.arange(view.width)
    upper, lower = (streaks[(rows + i) % view.height, columns] for i in (0, 1))
    streaks = upper + slant % 1 * (lower - upper)
    patches = _noise(rng, shape, (2.2 * sides[0], 1.4 * sides[1]))
    return 0.5 * _smoothstep(0.1, 2.6, streaks + patches) * (1 - _smoothstep(0.25, 0.62, down))


def _far_clouds(rng: np.random.Generator) -> Iterator[tuple[list[Ball], float, float]]:
    """Heaps of balls, their base and size, the farthest first, and smaller the nearer to the horizon."""
    for base, places in (
        (0.945, (-0.70, -0.50, -0.27, -0.06, 0.15, 0.36, 0.58, 0.74)),
        (0.915, (-0.62, -0.18, 0.30, 0.52)),
        (0.880, (-0.50, 0.14)),
        (0.850, (0.60,)),
    ):
        for place in places:
            x = place + rng.uniform(-0.03, 0.03)
            size = 1.7 * (1 - base) * rng.uniform(0.8, 1.25)
            balls = []
            for u in np.linspace(-1, 1, 9).tolist():
                r = size * (0.05 + 0.10 * (1 - u * u)) * rng.uniform(0.7, 1.3)
                balls.append((x + 0.42 * size * u, base - 0.6 * r, 0.0, r))
                if abs(u) < 0.6:
                    r *= rng.uniform(0.6, 0.9)
                    balls.append((x + 0.4 * size * u, base - r * rng.uniform(1.2, 2.0), 0.0, r))
            yield balls, base, size


def _cumulus(
    rng: np.random.Generator, view: _View, balls: Sequence[Ball], base: float, size: float, depth: int
) -> _Cloud:
    """The cloud that grows out of the balls and stands on the height `base`.

    `size`, about its width, sets the size of its billows; `depth` is the number of layers it is made of, which
    reach from before the balls to somewhat behind their middle: nobody sees farther in.
    """
    margin = 0.17 * size
    front = max(z + r for x, y, z, r in balls) + margin
    left = min(x - r for x, y, z, r in balls) - margin
    right = max(x + r for x, y, z, r in balls) + margin
    top = min(y - r for x, y, z, r in balls) - margin
    bottom = base + 0.05 * size
    ends = ((front, -0.35 * front), (top, bottom), (left, right))  # z, y, x: the order in all volumes
    sides = tuple(abs(high - low) for low, high in ends)
    shape = (depth, round(sides[1] * view.scale), round(sides[2] * view.scale))

    surface = _spread(_melted(balls, ends, size), shape)
    billows = _billows(rng, shape, sides, size, finest=1.7 / view.scale)
    surface += billows
    _, down, across = (
        np.linspace(*side, count, dtype=np.float32) for side, count in zip(ends, shape, strict=True)
    )
    room = np.minimum(np.minimum(base - down, down - top)[:, None], np.minimum(across - left, right - across))
    np.minimum(surface, np.float32(1.2) * room + np.float32(0.35) * billows, out=surface)
    density = _smoothstep(0, 0.03 * size, surface) * np.float32(60 / size)

    sun, sky = _lit(density, step=1 / view.scale, layer=sides[0] / depth)
    passed = np.exp(-np.cumsum(density, axis=0) * np.float32(sides[0] / depth))
    seen = -np.diff(passed, axis=0, prepend=np.float32(1))
    return _Cloud(
        left=round(left * view.scale + view.width / 2),
        top=round((top - 0.5) * view.scale + view.height / 2),
        sun=np.einsum("zyx,zyx->yx", seen, sun),
        sky=np.einsum("zyx,zyx->yx", seen, sky),
        cover=1 - passed[-1],
    )


def _melted(balls: Sequence[Ball], ends: Sequence[tuple[float, float]], size: float) -> Floats:
    """How deep places (Z, Y, X) between `ends` lie below the surface of balls run together, negative outside.

    Few places, because it is smooth: forty to a length of `size`.
    """
    counts = [max(8, round(40 * abs(high - low) / size)) for low, high in ends]
    zs, ys, xs = (np.linspace(*side, count, dtype=np.float32) for side, count in zip(ends, counts, strict=True))
    sharpness = np.float32(26 / size)
    near = np.float32(1e-12)
    for x, y, z, r in np.array(balls, np.float32):
        distance = np.sqrt(((zs - z) ** 2)[:, None, None] + ((ys - y) ** 2)[:, None] + (xs - x) ** 2)
        near = near + np.exp(sharpness * (r - distance))
    depths: Floats = np.log(near) / sharpness
    return depths


def _billows(
    rng: np.random.Generator, shape: tuple[int, ...], sides: Sequence[float], size: float, finest: float
) -> Floats:
    """What billows add to the surface: the absolute value of noise, round and creased as cauliflower is."""
    billows = np.zeros(shape, np.float32)
    cell, height = 0.125 * size, 0.042 * size
    while cell > finest:
        octave = np.abs(_noise(rng, shape, [side / cell for side in sides]))
        billows += (octave - np.float32(0.8)) * np.float32(height)
        cell, height = 0.48 * cell, 0.53 * height
    return billows


def _lit(density: Floats, step: float, layer: float) -> tuple[Floats, Floats]:
    """How much sunlight and how much skylight reach each place of a volume (Z, Y, X), 0..1.

    `step` is the size of a row and of a column, `layer` that of a layer.
    """
    half_a_step = np.float32(0.5 * step * np.sqrt(1 + SUN_RIGHT**2 + SUN_AWAY**2))
    crossed = np.empty_like(density)
    beam = np.zeros_like(density[:, 0])
    for row in range(density.shape[1]):
        beam = _moved(_moved(beam, SUN_RIGHT, axis=1), SUN_AWAY * step / layer, axis=0)
        crossing = density[:, row] * half_a_step
        crossed[:, row] = beam + crossing
        beam = crossed[:, row] + crossing
    faint = np.exp(crossed * np.float32(-0.09))
    medium = faint**3
    sun = 0.13 * faint + 0.27 * medium + 0.60 * medium**3
    sky = np.exp(np.cumsum(density, axis=1) * np.float32(-0.22 * step))
    return sun, 0.3 + 0.7 * sky


def _moved(field: Floats, by: float, axis: int) -> Floats:
    """A field (Z, X) moved along an axis by so many places, whole or not; zeros move in."""
    whole = int(by)
    moved = np.zeros_like(field)
    for places, weight in ((whole, 1 - by + whole), (whole + 1, by - whole)):
        kept = field.shape[axis] - places
        target, source = (np.s_[:, places:], np.s_[:, :kept]) if axis else (np.s_[places:], np.s_[:kept])
        moved[target] += np.float32(weight) * field[source]
    return moved


def _lay(picture: Floats, cloud: _Cloud, distance: float) -> Floats:
    """Lay the cloud over the picture, dimmed by the air before it; returns what it covers of it (H, W), 0..1."""
    top, left = max(cloud.top, 0), max(cloud.left, 0)
    inside = np.s_[top - cloud.top :, left - cloud.left :]
    sun, sky, cover = (field[inside][..., None] for field in (cloud.sun, cloud.sky, cloud.cover))
    part = picture[top : top + cover.shape[0], left : left + cover.shape[1]]
    sun, sky, cover = (field[: part.shape[0], : part.shape[1]] for field in (sun, sky, cover))
    light = sun * (1.15 * _linear((255, 247, 232))) + sky * (0.60 * _linear((120, 152, 200)))
    clear = np.float32(np.exp(-distance))
    part += light * clear + cover * ((1 - clear) * _linear((217, 222, 222)) - part)
    covered = np.zeros(picture.shape[:2], np.float32)
    covered[top : top + part.shape[0], left : left + part.shape[1]] = cover[..., 0]
    return covered


def _developed(rng: np.random.Generator, light: Floats) -> NDArray[np.uint8]:
    """sRGB of linear light, highlights rolled off as on film; its grain also hides the steps of 8 bits."""
    light = np.where(light > 0.75, 1 - 0.25 * np.exp(3 - 4 * light), light)
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)
    gray = rng.standard_normal((*light.shape[:2], 1), np.float32)
    coloured = rng.standard_normal(light.shape, np.float32)
    pixels: NDArray[np.uint8] = np.rint(np.clip(255 * srgb + 1.1 * gray + 0.5 * coloured, 0, 255)).astype(np.uint8)
    return pixels


def _linear(srgb: ArrayLike) -> Floats:
    """Linear light, 0..1, of sRGB colours in 0..255."""
    value = np.asarray(srgb, np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _smoothstep(low: float, high: float, x: Floats) -> Floats:
    t: Floats = np.clip((x - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], cells: Sequence[float]) -> Floats:
    """Smooth noise of mean 0 and deviation of about 1; `cells` of it per axis, not always whole ones."""
    lattice = rng.standard_normal([int(np.ceil(n)) + 3 for n in cells], np.float32)
    return _spread(lattice * np.float32(1.55 ** len(shape)), shape, cells)


def _spread(lattice: Floats, shape: tuple[int, ...], cells: Sequence[float] | None = None) -> Floats:
    """The cubic B-spline over a lattice of any dimension, at evenly spaced places, `shape` of them.

    They span `cells` of it, or all; a node beyond each end is used too.
    """
    for axis, count in enumerate(shape):
        nodes = lattice.shape[axis]
        places = np.linspace(1, 1 + (cells[axis] if cells else nodes - 3), count, dtype=np.float32)
        t = np.abs(places[:, None] - np.arange(nodes, dtype=np.float32))
        weights = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6).astype(np.float32)
        lattice = np.moveaxis(np.tensordot(weights, lattice, (1, axis)), 0, axis)
    return lattice


def _blurred(field: Floats, sigma: float) -> Floats:
    """The field (H, W) blurred by a Gaussian of `sigma` pixels, its border repeated."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis, count in enumerate(field.shape):
        wide = np.pad(field, [(reach, reach) if a == axis else (0, 0) for a in range(2)], mode="edge")
        field = sum(weight * np.take(wide, range(k, k + count), axis) for k, weight in enumerate(kernel))
    return field


def main() -> None:
    """`python -m dreamd.sample OUT.png [MASK.png]`."""
    from dreamwire.errors import DreamError  # noqa: PLC0415 - the scene itself needs numpy alone

    from .codec import Picture, write  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m dreamd.sample", description="Draw a cloudscape and its mask.")
    parser.add_argument("out", help="file of the picture")
    parser.add_argument("mask", nargs="?", help="file of the great cloud's mask")
    parser.add_argument("--size", nargs=2, type=int, default=(768, 512), metavar=("WIDTH", "HEIGHT"))
    arguments = parser.parse_args()
    try:
        pixels, mask = cloudscape(*arguments.size)
        write(Picture(pixels), arguments.out)
        if arguments.mask:
            write(Picture(np.rint(255 * mask[..., None]).astype(np.uint8)), arguments.mask)
    except (DreamError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()

"""Stands for GEGL, as small as `canvas.py` needs it: buffers of pixels, and graphs of five operations.

Pixels are kept in 8 bit or in float, of sRGB alone, and computed in double precision. Reduced, they are the plain
averages of what they cover: GEGL is a little off that where values change quickly, as at a layer's border. Beyond
a buffer there is nothing (`AbyssPolicy.NONE`), whatever is asked for. `tests/gimp/test_fake.py` holds all this
against the real one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Pixels of any format as they are computed here: `(height, width, 4)`, R'G'B' and alpha.
Pixels: TypeAlias = NDArray[np.float64]

AbyssPolicy = Enum("AbyssPolicy", "NONE CLAMP")
#: How much of each primary is in luminance; babl adapts sRGB to D50.
LUMINANCE = np.array([0.222491, 0.716888, 0.060621])
COLOURS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "red": (1.0, 0.0, 0.0)}

_started = False


def init(_arguments: object) -> None:
    """Before anything is computed: without it the real GEGL makes reduced pixels black."""
    global _started  # noqa: PLW0603
    _started = True


def light(values: Pixels) -> Pixels:
    """Light from what sRGB encodes."""
    size = np.abs(values)
    return np.sign(values) * np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)


def encoded(values: Pixels) -> Pixels:
    """The inverse of `light`."""
    size = np.abs(values)
    return np.sign(values) * np.where(size <= 0.0031308, size * 12.92, 1.055 * size ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class Format:
    """How pixels are kept, by babl's name: components, encoded if there is a prime, and their type."""

    name: str

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype({"u8": np.uint8, "float": np.float32}[self.name.split()[1]])

    @property
    def components(self) -> str:
        """RGBA, RGB, YA, Y or A."""
        return self.name.split()[0].replace("'", "")

    def read(self, kept: NDArray[Any]) -> Pixels:
        values = kept / 255 if self.dtype == np.uint8 else kept.astype(np.float64)
        pixels = np.ones((*kept.shape[:2], 4))
        if colours := len(self.components.rstrip("A")):
            pixels[..., :3] = values[..., :colours] if "'" in self.name else encoded(values[..., :colours])
        if self.components.endswith("A"):
            pixels[..., 3] = values[..., -1]
        return pixels

    def keep(self, pixels: Pixels) -> NDArray[Any]:
        colours, alpha = pixels[..., :3], pixels[..., 3:]
        if self.components.startswith("Y"):
            colours = encoded(light(colours) @ LUMINANCE)[..., None]
        parts = [] if self.components == "A" else [colours if "'" in self.name else light(colours)]
        values = np.concatenate([*parts, *([alpha] if self.components.endswith("A") else [])], axis=2)
        if self.dtype == np.uint8:
            values = np.floor(np.clip(values, 0, 1) * 255 + 0.5)
        return values.astype(self.dtype)


@dataclass
class Rectangle:
    x: int
    y: int
    width: int
    height: int

    @classmethod
    def new(cls, x: int, y: int, width: int, height: int) -> Rectangle:
        return cls(x, y, width, height)


@dataclass
class Color:
    name: str

    @classmethod
    def new(cls, name: str) -> Color:
        return cls(name)


class Buffer:
    """Pixels of a rectangle; made from another one, the same pixels at another place."""

    def __init__(self, *, source: Buffer, shift_x: int = 0, shift_y: int = 0) -> None:
        self.format, self.kept = source.format, source.kept
        self.left, self.top = source.left - shift_x, source.top - shift_y

    @classmethod
    def new(cls, form: str, left: int, top: int, width: int, height: int) -> Buffer:
        made = cls.__new__(cls)
        made.format, made.left, made.top = Format(form), left, top
        made.kept = np.zeros((height, width, len(made.format.components)), made.format.dtype)
        return made

    def pixels(self, at: Rectangle, scale: float = 1.0) -> Pixels:
        """At a place after scaling."""
        assert scale == 1 or _started, "GEGL was not started: what it reads would be black"
        height, width = self.kept.shape[:2]
        rows = _shares(at.y, at.height, self.top, height, scale)
        columns = _shares(at.x, at.width, self.left, width, scale)
        return _mixed(self.format.read(self.kept), rows, columns)

    def get(self, at: Rectangle, scale: float, form: str | None, _abyss: object) -> bytes:
        return (Format(form) if form else self.format).keep(self.pixels(at, scale)).tobytes()

    def set(self, at: Rectangle, form: str, frame: bytes) -> None:
        given = Format(form)
        shape = at.height, at.width, len(given.components)
        self._set(at, given.read(np.frombuffer(frame, given.dtype).reshape(shape)))

    def set_color(self, at: Rectangle, colour: Color) -> None:
        self._set(at, np.broadcast_to([*COLOURS[colour.name], 1.0], (at.height, at.width, 4)))

    def flush(self) -> None:
        """Nothing is kept back here."""

    def _set(self, at: Rectangle, pixels: Pixels) -> None:
        top, left = at.y - self.top, at.x - self.left
        height, width = self.kept.shape[:2]
        inside = 0 <= top <= height - at.height and 0 <= left <= width - at.width
        assert inside, f"{at} lies beyond a buffer of {width}x{height} at {self.left}, {self.top}"
        self.kept[top : top + at.height, left : left + at.width] = self.format.keep(pixels)


class Node:
    """An operation of a graph, or the graph itself; computes what it is asked for, each time anew."""

    def __init__(self, graph: Node | None = None, operation: str = "") -> None:
        assert _started, "GEGL was not started: it knows no operations"
        self._graph, self._compute = graph, OPERATIONS[operation] if operation else None
        self.properties: dict[str, Any] = {}
        self.inputs: dict[str, Node] = {}

    def create_child(self, operation: str) -> Node:
        return Node(self, operation)

    def get_parent(self) -> Node | None:
        return self._graph

    def set_property(self, name: str, value: object) -> None:
        self.properties[name] = value

    def link(self, sink: Node) -> None:
        self.connect_to("output", sink, "input")

    def connect_to(self, _output: str, sink: Node, pad: str) -> None:
        sink.inputs[pad] = self

    def pixels(self, at: Rectangle) -> Pixels:
        assert self._compute is not None
        return self._compute(self, at)

    def process(self) -> None:
        """Writes into the buffer of a write-buffer."""
        into: Buffer = self.properties["buffer"]
        height, width = into.kept.shape[:2]
        into._set(at := Rectangle(into.left, into.top, width, height), self.inputs["input"].pixels(at))


def _source(node: Node, at: Rectangle) -> Pixels:
    buffer: Buffer = node.properties["buffer"]
    return buffer.pixels(at)


def _opacity(node: Node, at: Rectangle) -> Pixels:
    pixels = node.inputs["input"].pixels(at)
    if "aux" in node.inputs:
        pixels[..., 3:] *= light(node.inputs["aux"].pixels(at)[..., :1])
    return pixels


def _over(node: Node, at: Rectangle) -> Pixels:
    assert node.properties["srgb"], "only of encoded values"
    below, above = (_premultiplied(node.inputs[pad].pixels(at)) for pad in ("input", "aux"))
    return _divided(above + below * (1 - above[..., 3:]))


def _multiply(node: Node, at: Rectangle) -> Pixels:
    pixels = node.inputs["input"].pixels(at)
    pixels[..., :3] = encoded(light(pixels[..., :3]) * light(node.inputs["aux"].pixels(at)[..., :3]))
    return pixels


def _scale_ratio(node: Node, at: Rectangle) -> Pixels:
    """Of a buffer at 0, 0: between four of its pixels, and beyond their centres the outermost ones."""
    assert node.properties["abyss-policy"] is AbyssPolicy.CLAMP
    buffer: Buffer = node.inputs["input"].properties["buffer"]
    height, width = buffer.kept.shape[:2]

    def shares(start: int, count: int, size: int, ratio: float) -> Pixels:
        centres = np.clip((start + np.arange(count) + 0.5) / ratio - 0.5, 0, size - 1)
        return np.clip(1 - np.abs(centres[:, None] - np.arange(size)), 0, None)

    rows = shares(at.y, at.height, height, node.properties["y"])
    columns = shares(at.x, at.width, width, node.properties["x"])
    pixels = buffer.format.read(buffer.kept)
    pixels[..., :3] = light(pixels[..., :3])
    pixels = _divided(_mixed(_premultiplied(pixels), rows, columns))
    pixels[..., :3] = encoded(pixels[..., :3])
    return pixels


OPERATIONS = {
    "gegl:buffer-source": _source,
    "gegl:opacity": _opacity,
    "gegl:over": _over,
    "gegl:multiply": _multiply,
    "gegl:scale-ratio": _scale_ratio,
    "gegl:write-buffer": None,
}


def _shares(start: int, count: int, origin: int, size: int, scale: float) -> Pixels:
    """How much of each of `size` pixels, the first at `origin`, is in each of `count` pixels after scaling."""
    edges = (start + np.arange(count + 1)) / scale - origin
    pixels = np.arange(size)
    common = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(common, 0, None) * scale


def _mixed(pixels: Pixels, rows: Pixels, columns: Pixels) -> Pixels:
    return np.moveaxis(np.tensordot(columns, np.tensordot(rows, pixels, 1), (1, 1)), 0, 1)


def _premultiplied(pixels: Pixels) -> Pixels:
    return np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], axis=2)


def _divided(pixels: Pixels) -> Pixels:
    """The inverse of `_premultiplied`."""
    alpha = pixels[..., 3:]
    return np.concatenate([pixels[..., :3] / np.where(alpha == 0, 1, alpha), alpha], axis=2)

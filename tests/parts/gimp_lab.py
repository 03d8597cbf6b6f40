"""What tests in GIMP are made with: scripts that know `inside_gimp.py`, pixels as arrays, the daemon's word."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dreamwire.client import Client, Image
from dreamwire.crop import Box, crop
from dreamwire.messages import Done
from dreamwire.params import validate
from real_gimp import Gimp

INSIDE = Path(__file__).with_name("inside_gimp.py")
#: As `BRIEF` in `inside_gimp.py`. In float32 the dreams of pictures that differ by a rounding hardly differ.
BRIEF = {"layers": "blocks.2", "octaves": 1, "steps": 1, "jitter": 4, "precision": "float32"}

#: How much pixels of 8 bit differ from what they should be: they are rounded twice.
STEP = 1.1 / 255
#: Less of a mask than this is nothing to 8 bit.
FAINT = 0.5 / 255
MASK_STEP = 1e-6

Floats: TypeAlias = "NDArray[np.float32]"


@dataclass
class Lab:
    """A GIMP to be asked, and the daemon that it dreams with."""

    gimp: Gimp
    client: Client | None = None

    def __post_init__(self) -> None:
        self.gimp.eval(INSIDE.read_text())

    def __call__(self, code: str) -> Any:
        """Runs Python inside GIMP; what it gives to `result`, with pixels as arrays."""
        return _unpacked(self.gimp.eval(code))

    def dreamt(self, picture: Floats, mask: Floats, **params: Any) -> Floats:
        """A picture with its region dreamt by the daemon itself, which is sent no more than it needs."""
        assert self.client is not None
        values = validate("dream", BRIEF | params)
        height, width = picture.shape[:2]
        here = _slices(crop("dream", bounds(mask), (height, width), values))
        *_, done = self.client.submit("dream", values, image=_image(picture[here]), mask=_image(mask[here]))
        assert isinstance(done, Done)
        dream = picture.copy()
        part = np.frombuffer(done.frames[0], np.float32).reshape(done.outputs[0].shape)
        dream[here][_slices(done.box)] = part
        return dream

    def check(
        self, found: dict[str, Any], tolerance: float = STEP, *, gray: bool = False, light: bool = False
    ) -> None:
        """What must hold whenever a layer was dreamt by `watched`.

        Its pixels are all opaque or all transparent, and nothing lies upon it. They may differ by `tolerance`, in
        encoded values or in `light`.
        """

        def near(one: Floats, other: Floats) -> bool:
            if light:
                one, other = linear(one), linear(other)
            return bool(np.abs(one - other).max() <= tolerance)

        assert found["untouched"], "the source was changed"
        assert found["hidden"], "without the new layer the picture is not what it was"
        channels = [0, 3] if gray else [0, 1, 2, 3]
        canvas = (0, 0, *found["before"].shape[:2])
        place, box = tuple(found["place"]), tuple(found["box"])
        source = np.ascontiguousarray(found["source"][..., channels])
        mask = self.region(found)
        seen = bounds(mask >= FAINT)
        assert box == (seen[0] + place[0], seen[1] + place[1], *seen[2:])
        mask = moved(moved(mask, place, box), box, place)
        if found["mask"] is None:
            assert (mask == 1).all()
        else:
            assert np.abs(found["mask"] - moved(mask, place, box)).max() <= MASK_STEP
        full = moved(self.dreamt(source, mask, edge="full"), place, box)
        assert near(found["pixels"][..., channels], full)
        assert np.abs(full - moved(source, place, box)).max() > 0.01, "nothing was dreamt"
        shown = moved(source, place, canvas)[..., -1:] > 0
        blended = moved(self.dreamt(source, mask), place, canvas)
        own = found["own_mask"]
        if own is not None:
            shown &= moved(own, place, canvas) > 0
        assert near(found["after"][..., channels], np.where(shown, blended, found["before"][..., channels]))

    @staticmethod
    def region(found: dict[str, Any]) -> Floats:
        """What was to be dreamt of a layer: its pixels that are selected and that its own mask shows."""
        place = tuple(found["place"])
        mask = np.ones((*place[2:], 1), np.float32)
        if found["selection"] is not None:
            mask = moved(found["selection"], (0, 0, *found["selection"].shape[:2]), place)
        return mask if found["own_mask"] is None else mask * found["own_mask"]


def bounds(mask: Floats | NDArray[np.bool_]) -> Box:
    """The box around all of a mask `(height, width, 1)` that is not 0."""
    rows, columns = np.flatnonzero(mask.any((1, 2))), np.flatnonzero(mask.any((0, 2)))
    top, left = int(rows[0]), int(columns[0])
    return top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left


def moved(pixels: Floats, box: Box, onto: Box) -> Floats:
    """The pixels that a box holds as they lie in another, with 0 where there are none."""
    top, left = box[0] - onto[0], box[1] - onto[1]
    there = np.zeros((*onto[2:], pixels.shape[2]), np.float32)
    rows = slice(max(0, top), max(0, min(onto[2], top + box[2])))
    columns = slice(max(0, left), max(0, min(onto[3], left + box[3])))
    there[rows, columns] = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return there


def linear(values: Floats) -> Floats:
    """Light from what sRGB encodes."""
    size = np.abs(values)
    light = np.where(size <= 0.04045, size / 12.92, ((size + 0.055) / 1.055) ** 2.4)
    return (np.sign(values) * light).astype(np.float32)


def _slices(box: Box) -> tuple[slice, slice]:
    top, left, height, width = box
    return slice(top, top + height), slice(left, left + width)


def _image(pixels: Floats) -> Image:
    height, width, channels = pixels.shape
    return Image(pixels.tobytes(), (height, width, channels))


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(each) for each in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"pixels", "shape"}:
        return np.frombuffer(base64.b64decode(value["pixels"]), np.float32).reshape(value["shape"])
    return {name: _unpacked(each) for name, each in value.items()}

"""Image files of any content: read, or refused with what to do, and what was read can be written."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import numpy as np

from dreamd import codec, exif
from dreamwire.errors import DreamError

#: The most pixels that are decoded here.
PIXELS = 100_000

_folder = Path(tempfile.mkdtemp(prefix="dd-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


def refused(error: DreamError, source: Path) -> str:
    assert error.code == "bad_input"
    assert str(source) in error.message
    return error.code


def check_data(data: bytes) -> str:
    """`bad_input` for data that is refused, else the type of its pixels. Whatever else comes of it is raised."""
    block = exif.from_tiff(data)
    assert exif.from_tiff(block) == block
    source, copy = _folder / "source", _folder / "copy.tif"
    source.write_bytes(data)
    try:
        picture = codec.read(source, limit=PIXELS)
    except DreamError as error:
        return refused(error, source)
    codec.write(picture, copy)
    assert np.array_equal(codec.read(copy).pixels, picture.pixels, equal_nan=picture.pixels.dtype.kind == "f")
    return str(picture.pixels.dtype)

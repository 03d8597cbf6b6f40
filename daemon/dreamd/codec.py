"""Image files to arrays and back, for the command line.

libvips does the reading and writing. Pixels keep the encoded values that the file holds, in its own colour
profile, because dreams work on encoded values; profile, EXIF, XMP and resolution travel beside them unread.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyvips
from numpy.typing import NDArray

from dreamwire.errors import DreamError

from . import exif

Array = NDArray[Any]
StrPath = str | os.PathLike[str]

#: The most pixels that `read` decodes unless told otherwise: 400 megapixels, 4.8 GB as float32 RGB.
PIXEL_LIMIT: Final = 400_000_000

#: What a picture goes on to say when its pixels have changed; Photoshop's block, say, shows it as it was.
_KEPT: Final = re.compile(r"icc-profile-data|exif-data|xmp-data|iptc-data|resolution-unit|png-comment-.*")

#: Of each pixel type: libvips's name, and its names of the colours for 1 or 2 channels and for 3 or 4.
_KINDS: Final = {
    "uint8": ("uchar", "b-w", "srgb"),
    "uint16": ("ushort", "grey16", "rgb16"),
    "float32": ("float", "b-w", "scrgb"),
}
_FORMATS_READ: Final = {kind for kind, _, _ in _KINDS.values()}
_COLOURS_READ: Final = {"b-w", "grey16", "srgb", "rgb16", "scrgb", "rgb", "multiband", "histogram"}


@dataclass(frozen=True)
class Metadata:
    """What a file says besides its pixels: handed from `read` to `write`, not meant to be looked into.

    `fields` are libvips's, by its names; `resolution` is (x, y) in pixels per millimetre.
    """

    fields: Mapping[str, bytes | str] = field(default_factory=dict)
    resolution: tuple[float, float] = (72 / 25.4, 72 / 25.4)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in memory, upright.

    `pixels` is (H, W, C) of uint8, uint16 or float32, C being gray, gray and alpha, RGB, or RGB and alpha.
    Integers span their whole range; float means 0..1, and values outside survive. Alpha is not premultiplied.
    """

    pixels: Array
    metadata: Metadata = Metadata()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or not 1 <= self.pixels.shape[2] <= 4 or self.pixels.size == 0:
            raise ValueError(f"pixels are (H, W, 1..4), not {self.pixels.shape}")
        if self.pixels.dtype.name not in _KINDS:
            raise ValueError(f"pixels are {', '.join(_KINDS)}, not {self.pixels.dtype}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class Format:
    """What a file format can hold, and how libvips is asked to write it.

    `dtypes` are the pixel types it keeps; another one becomes the last of them. `side` is the longest side.
    """

    name: str
    dtypes: tuple[str, ...]
    side: int
    options: Mapping[str, object]
    alpha: bool = True


_PNG = Format("PNG", ("uint8", "uint16"), 1_000_000, {"filter": "all"})
# Quality 95 with the colours in full resolution: dreams are made of fine colour, which 4:2:0 would smear.
_JPEG = Format("JPEG", ("uint8",), 65_500, {"Q": 95, "subsample_mode": "off"}, alpha=False)
_TIFF = Format("TIFF", ("uint8", "uint16", "float32"), 2**31 - 1, {"compression": "deflate"})
# Lossless, because lossy WebP halves the colours' resolution at any quality.
# `exact` keeps the colours under transparent pixels too.
_WEBP = Format("WebP", ("uint8",), 16_383, {"lossless": True, "exact": True})

#: The format of each suffix that `write` takes.
FORMATS: Mapping[str, Format] = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": _WEBP,
}


def read(path: StrPath, *, limit: int = PIXEL_LIMIT) -> Picture:
    """The picture in a PNG, JPEG, TIFF, WebP, GIF, AVIF or SVG file; its first page or frame.

    It is turned upright as its EXIF says. Palettes and single bits become 8 bits a channel; CMYK becomes sRGB.
    Raises DreamError bad_input for what cannot be read, and for more than `limit` pixels, undecoded.
    """
    path = Path(path)
    _check_is_file(path)
    try:
        # A source knows the format by its content; in a plain name libvips would look for options in brackets.
        source = pyvips.Source.new_from_file(os.fsencode(path))
        image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error")
        if image.width * image.height > limit:
            size = _size(image.height, image.width)
            raise _unreadable(path, f"{size} is more than {limit / 1e6:g} megapixels", "scale it down or crop it")
        if image.interpretation == "cmyk":
            depth = 16 if image.format == "ushort" else 8
            image = image.icc_transform("srgb", embedded=True, input_profile="cmyk", depth=depth)
        if image.interpretation not in _COLOURS_READ or image.bands > 4:
            what = f"{image.bands} channels of {image.interpretation}"
            raise _unreadable(path, f"it has {what}", "save it as gray or RGB, with or without alpha")
        if image.format not in _FORMATS_READ:
            raise _unreadable(path, f"its values are {image.format}", "save it with 8 or 16 bits or as float")
        image = _upright(image)
        pixels = image.numpy().reshape(image.height, image.width, image.bands)
    except pyvips.Error as error:
        if "not in a known format" in error.detail:
            raise _unreadable(path, "it is no image of a known format", "name a PNG, JPEG, TIFF or WebP") from None
        raise _unreadable(
            path, f"it is damaged or incomplete{_reason(error)}", "copy or export it again"
        ) from error
    return Picture(pixels, _metadata(image, path))


def blank(height: int, width: int) -> Picture:
    """A picture of nothing: middle gray, RGB in 8 bit. Raises DreamError bad_input beyond `PIXEL_LIMIT`."""
    if height * width > PIXEL_LIMIT:
        raise DreamError(
            "bad_input",
            f"{_size(height, width)} is more than {PIXEL_LIMIT / 1e6:g} megapixels; ask for a smaller picture.",
        )
    return Picture(np.full((height, width, 3), 128, np.uint8))


def read_mask(path: StrPath, size: tuple[int, int], *, threshold: bool = False) -> Array:
    """The mask in an image file: float32 (H, W), 0..1.

    It is the alpha channel where that varies, else the gray value. `size` is the (H, W) that it must have;
    `threshold` makes it 0 or 1, split at a half. Raises DreamError bad_input as `read` does, and for other sizes.
    """
    picture = read(path)
    if picture.size != size:
        raise DreamError(
            "bad_input",
            f"The mask {path} does not fit: it has {_size(*picture.size)} pixels, the picture {_size(*size)}."
            " Make both the same size.",
        )
    values = convert(picture.pixels, "float32")
    mask: Array
    channels = values.shape[2]
    alpha = values[..., -1]
    if channels in (2, 4) and alpha.min() < alpha.max():
        mask = alpha
    elif channels >= 3:
        mask = values[..., :3] @ np.array([0.2126, 0.7152, 0.0722], np.float32)  # luma, Rec. 709
    else:
        mask = values[..., 0]
    mask = np.clip(np.nan_to_num(mask), np.float32(0), np.float32(1))
    return (mask >= 0.5).astype(np.float32) if threshold else mask


def check_output(path: StrPath, size: tuple[int, int] | None = None) -> None:
    """Refuse early what `write` would refuse after the work, as far as that can be known.

    Raises DreamError bad_input for an unknown suffix, a folder that is missing or not writable, a file that is
    write-protected, and, where the (H, W) `size` is given, a picture too large for the format.
    """
    path = Path(path)
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise _unwritable(path, f"{path.suffix or 'no suffix'!r} names no format", f"use {', '.join(FORMATS)}")
    if size and max(size) > form.side:
        raise _unwritable(path, f"{form.name} holds {form.side} pixels a side, not {_size(*size)}", "use .tif")
    try:
        target = path.resolve()
        if target.is_dir():
            raise _unwritable(path, "it is a folder", "name a file in it")
        if not target.parent.is_dir():
            raise _unwritable(path, f"there is no folder {target.parent}", "make it or name another")
        writable = os.access(target.parent, os.W_OK | os.X_OK) and (
            os.access(target, os.W_OK) or not target.exists()
        )
    except OSError as error:  # a folder on the way that may not be entered, a name too long
        raise _unwritable(path, f"{error.strerror}", "use another name or folder") from error
    if not writable:
        raise _unwritable(path, "permission denied", "use another folder or change its permissions")


def write(picture: Picture, path: StrPath) -> list[str]:
    """Write the picture in the format of the suffix; returns one line for each thing the format could not keep.

    PNG and TIFF keep 8 and 16 bits, TIFF float too; float becomes 16 bits in PNG, and everything 8 in JPEG and
    WebP. JPEG is of quality 95 in 4:4:4 and lays transparency on white; the others lose nothing. The file appears
    whole or not at all: when anything fails, one that was there before stays as it was.
    Raises DreamError bad_input as `check_output` does, and when the disk is full.
    """
    path = Path(path)
    check_output(path, picture.size)
    form = FORMATS[path.suffix.lower()]
    pixels, notes = picture.pixels, []
    dtype = pixels.dtype.name
    if dtype not in form.dtypes:
        notes.append(f"{form.name} holds {form.dtypes[-1]}: the {dtype} values were rounded")
        if dtype == "float32" and not (pixels.min() >= 0 and pixels.max() <= 1):
            notes.append(f"{form.name} holds 0..1: values outside were cut off")
        pixels = convert(pixels, form.dtypes[-1])
    image = _image(replace(picture, pixels=pixels))
    if image.hasalpha() and not form.alpha:
        notes.append(f"{form.name} has no transparency: it was laid on white")
        image = image.flatten(background=255)
    options = dict(form.options)
    if form is _TIFF:
        options["predictor"] = "none" if pixels.dtype == np.float32 else "horizontal"  # few readers know float's
        options["bigtiff"] = pixels.nbytes > 4_000_000_000
    try:
        data = image.write_to_buffer(path.suffix.lower(), **options)
    except pyvips.Error as error:
        raise _unwritable(path, f"{form.name} cannot be made{_reason(error)}", "use another format") from error
    block = picture.metadata.fields.get("exif-data")
    if form is _TIFF and isinstance(block, bytes):
        data = exif.into_tiff(data, block)
    _put(path, data)
    return notes


def paste(picture: Picture, box: tuple[int, int, int, int], pixels: Array) -> Picture:
    """A copy with the region (y, x, height, width) replaced.

    `pixels` is (height, width, C) with the picture's channels; another type is converted as by `convert`.
    Raises ValueError where box, pixels and picture do not fit together.
    """
    y, x, height, width = box
    rows, columns = picture.size
    if not (0 <= y <= y + height <= rows and 0 <= x <= x + width <= columns):
        raise ValueError(f"the box {box} reaches outside of {_size(rows, columns)} pixels")
    if pixels.shape != (height, width, picture.pixels.shape[2]):
        raise ValueError(f"pixels {pixels.shape} for a box {box} of {picture.pixels.shape[2]} channels")
    result = picture.pixels.copy()
    result[y : y + height, x : x + width] = convert(pixels, picture.pixels.dtype.name)
    return replace(picture, pixels=result)


def reduced(picture: Picture, side: int) -> Picture:
    """The picture with no side longer than `side`, in 8 bit; transparency is laid on white."""
    image = _image(replace(picture, pixels=convert(picture.pixels, "uint8")))
    if image.hasalpha():
        image = image.flatten(background=255)
    if (scale := side / max(picture.size)) < 1:
        sizes = (max(1, round(extent * scale)) / extent for extent in (image.width, image.height))
        horizontal, vertical = sizes
        image = image.resize(horizontal, vscale=vertical)
    return replace(picture, pixels=image.numpy().reshape(image.height, image.width, image.bands))


def convert(pixels: Array, dtype: str) -> Array:
    """The same values as uint8, uint16 or float32; integers span their whole range, float is 0..1.

    Integers to float32 and back are exact. Floats outside 0..1 are cut off on their way to integers, NaN is 0.
    Pixels that are of the type already are returned as they are, not copied.
    """
    if pixels.dtype.name == dtype:
        return pixels
    unit = pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        unit /= np.float32(np.iinfo(pixels.dtype).max)
    if dtype == "float32":
        return unit
    unit = np.clip(np.nan_to_num(unit, copy=False), 0, 1)
    whole: Array = np.rint(unit * np.float32(np.iinfo(dtype).max)).astype(dtype)
    return whole


def _check_is_file(path: Path) -> None:
    """Refuse in plain words what cannot be opened, rather than in libvips's."""
    try:
        if not path.is_file() and path.exists():  # opening a pipe could wait for ever
            raise _unreadable(path, "it is a folder or a device", "name an image file")
        with path.open("rb") as file:
            if not file.read(1):
                raise _unreadable(path, "the file is empty", "copy or export it again")
    except FileNotFoundError:
        raise _unreadable(path, "there is no such file", "check the name and the folder") from None
    except PermissionError:
        raise _unreadable(path, "permission denied", "change its permissions or copy it") from None
    except OSError as error:
        raise _unreadable(path, f"{error.strerror}", "check the name and the disk") from error


def _upright(image: pyvips.Image) -> pyvips.Image:
    """The image turned and mirrored as its EXIF says, and nothing left in EXIF or XMP that says so."""
    if image.get_typeof("orientation") and image.get("orientation") != 1:
        image = image.copy_memory()  # sequential access cannot turn
    return image.autorot()


def _metadata(image: pyvips.Image, path: Path) -> Metadata:
    fields = {name: image.get(name) for name in image.get_fields() if _KEPT.fullmatch(name)}
    if image.get("vips-loader").startswith("tiff"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tiff:
            if block := exif.from_tiff(tiff):
                fields["exif-data"] = block
    if "xmp-data" in fields:
        # Viewers that find no orientation in EXIF look for this one.
        fields["xmp-data"] = re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8]", rb"\g<1>1", fields["xmp-data"])
    if (image.xres, image.yres) == (1, 1):  # what libvips says of TIFF and WebP without one
        return Metadata(fields)
    return Metadata(fields, (image.xres, image.yres))


def _image(picture: Picture) -> pyvips.Image:
    """libvips's view of a picture, metadata included."""
    height, width, channels = picture.pixels.shape
    kind, gray, colour = _KINDS[picture.pixels.dtype.name]
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(picture.pixels), width, height, channels, kind)
    xres, yres = picture.metadata.resolution
    image = image.copy(interpretation=gray if channels <= 2 else colour, xres=xres, yres=yres)
    for name, value in picture.metadata.fields.items():
        image.set_type(pyvips.GValue.gstr_type if isinstance(value, str) else pyvips.GValue.blob_type, name, value)
    # Setting EXIF has set what it says: a thumbnail of the picture as it was, and how it had to be turned.
    image.remove("jpeg-thumbnail-data")
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)
    return image


def _put(path: Path, data: bytes) -> None:
    """Make `data` the content of the file at once: written beside it, then renamed. Keeps its permissions."""
    target = path.resolve()  # a link goes on pointing to the file
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = f"free {len(data) / 1e6:.1f} MB or use another folder" if full else "use another folder"
        raise _unwritable(path, f"{error.strerror}", remedy) from error
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: pyvips.Error) -> str:
    """The last line of libvips's account, in brackets; sometimes it gives none."""
    lines = error.detail.split("\n")
    return next((f" ({line.strip()})" for line in reversed(lines) if line.strip()), "")


def _unreadable(path: Path, why: str, remedy: str) -> DreamError:
    return DreamError("bad_input", f"{path} cannot be read: {why}. {_sentence(remedy)}")


def _unwritable(path: Path, why: str, remedy: str) -> DreamError:
    return DreamError("bad_input", f"{path} cannot be written: {why}. {_sentence(remedy)}")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _size(height: int, width: int) -> str:
    return f"{width}×{height}"

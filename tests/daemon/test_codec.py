"""Image files through `dreamd.codec`: what comes back is what was there, and what is refused says why."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import subprocess
import tempfile
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from dreamd import codec
from dreamd.codec import Metadata, Picture
from dreamwire.errors import DreamError

HEIGHT, WIDTH = 19, 31
ARTIST, ORIENTATION, EXPOSURE, DATE_TAKEN, TIFF_XMP = 0x013B, 0x0112, 0x8769, 0x9003, 700
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'

as_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can mount a small disk")
posix = pytest.mark.skipif(os.name == "nt", reason="permissions and limits of POSIX")


def noise(channels: int, dtype: str, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Pixels with the extremes of their type among them; floats reach beyond 0..1."""
    unit = np.random.default_rng(channels).random((height, width, channels))
    unit.flat[:2] = 0, 1
    return (unit * 3 - 1).astype(dtype) if dtype == "float32" else codec.convert(unit.astype("float32"), dtype)


def with_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ARTIST] = "Hamlet"
    exif[ORIENTATION] = orientation
    exif.get_ifd(EXPOSURE)[DATE_TAKEN] = "1601:07:26 12:00:00"
    exif[EXPOSURE] = exif.get_ifd(EXPOSURE)
    return exif


def photograph(path: Path, *, orientation: int = 1) -> np.ndarray:
    """A file as a camera or an editor writes it, made without libvips; returns the pixels as they lie in it."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), "uint8")
    pixels[:8, :8] = 200, 60, 30  # a corner that shows how the picture is turned
    image = Image.fromarray(pixels)
    exif = with_exif(orientation)
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    if path.suffix == ".tif":
        exif[TIFF_XMP] = XMP
    image.save(path, exif=exif, dpi=(300, 300), icc_profile=SRGB, xmp=XMP, pnginfo=text, quality=95)
    return pixels


def xmp_in(image: Image.Image) -> bytes:
    found: bytes = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
    return found


def refused(call: object, *words: str) -> str:
    """The message of the DreamError bad_input that the call raises: one line with these words in it."""
    with pytest.raises(DreamError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.code == "bad_input"
    message = caught.value.message
    assert "\n" not in message
    assert re.search(r": .+\. [A-Z].+\.$", message)  # what: why. What to do.
    assert [word for word in words if word not in message] == []
    return message


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may do everything: give its rights up for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are private to the one who runs it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


# Round trips

LOSSLESS = [
    (suffix, dtype, channels)
    for suffix, dtypes in {
        ".png": ["uint8", "uint16"],
        ".tif": ["uint8", "uint16", "float32"],
        ".TIFF": ["uint8"],
        ".webp": ["uint8"],
    }.items()
    for dtype in dtypes
    for channels in (1, 2, 3, 4)
    if suffix != ".webp" or channels >= 3
]


@pytest.mark.parametrize(("suffix", "dtype", "channels"), LOSSLESS)
def test_lossless_formats_keep_every_bit(tmp_path: Path, suffix: str, dtype: str, channels: int) -> None:
    pixels = noise(channels, dtype)
    assert codec.write(Picture(pixels), tmp_path / f"out{suffix}") == []
    result = codec.read(tmp_path / f"out{suffix}").pixels
    assert result.dtype == pixels.dtype
    np.testing.assert_array_equal(result, pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_stays_close(tmp_path: Path, channels: int) -> None:
    row = np.linspace(0, 255, 64)
    pixels = np.stack([np.add.outer(row, row * (c - 1)) / 2 % 256 for c in range(channels)], axis=-1)
    pixels = np.abs(pixels - 128).astype("uint8")
    assert codec.write(Picture(pixels), tmp_path / "out.jpeg") == []
    result = codec.read(tmp_path / "out.jpeg").pixels
    assert np.abs(result.astype(int) - pixels).mean() < 1.5


def test_jpeg_keeps_fine_colour(tmp_path: Path) -> None:
    """Columns of pure colour one pixel wide would come out gray if the colours' resolution were halved."""
    pixels = np.zeros((32, 32, 3), "uint8")
    pixels[:, ::2, 0] = pixels[:, 1::2, 2] = 255
    codec.write(Picture(pixels), tmp_path / "out.jpg")
    result = codec.read(tmp_path / "out.jpg").pixels.astype(int)
    assert np.abs(result - pixels).max() < 40


@pytest.mark.parametrize("channels", [1, 2])
def test_webp_makes_gray_rgb(tmp_path: Path, channels: int) -> None:
    pixels = noise(channels, "uint8")
    codec.write(Picture(pixels), tmp_path / "out.webp")
    result = codec.read(tmp_path / "out.webp").pixels
    np.testing.assert_array_equal(result[..., :3], np.repeat(pixels[..., :1], 3, axis=2))
    np.testing.assert_array_equal(result[..., 3:], pixels[..., 1:])


@pytest.mark.parametrize(
    ("suffix", "dtype", "kept_as"),
    [
        (".png", "float32", "uint16"),
        (".jpg", "uint16", "uint8"),
        (".jpg", "float32", "uint8"),
        (".webp", "uint16", "uint8"),
        (".webp", "float32", "uint8"),
    ],
)
def test_what_a_format_cannot_hold_is_rounded_and_said(
    tmp_path: Path, suffix: str, dtype: str, kept_as: str
) -> None:
    pixels = np.full((16, 16, 3), 0.3, "float32")
    pixels = codec.convert(pixels, dtype)
    [note] = codec.write(Picture(pixels), tmp_path / f"out{suffix}")
    assert f"{kept_as}: the {dtype} values were rounded" in note
    result = codec.read(tmp_path / f"out{suffix}").pixels
    assert result.dtype == kept_as
    assert result[0, 0, 0] == round(0.3 * np.iinfo(kept_as).max)


def test_floats_outside_are_cut_off_and_said(tmp_path: Path) -> None:
    pixels = np.array([[[-0.5], [0.5], [1.5], [np.nan]]], "float32")
    notes = codec.write(Picture(pixels), tmp_path / "out.png")
    assert "outside" in notes[1]
    assert codec.read(tmp_path / "out.png").pixels[0, :, 0].tolist() == [0, 32768, 65535, 0]


def test_jpeg_lays_transparency_on_white_and_says_so(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), "uint8")
    pixels[:, 8:, 3] = 255
    [note] = codec.write(Picture(pixels), tmp_path / "out.jpg")
    assert "laid on white" in note
    result = codec.read(tmp_path / "out.jpg").pixels
    assert result.shape == (16, 16, 3)
    assert result[0, 0].min() > 250
    assert result[0, 15].max() < 5


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("source", ["png", "jpg", "tif", "webp"])
def test_profile_exif_xmp_and_resolution_travel(tmp_path: Path, source: str, suffix: str) -> None:
    """Read back by Pillow, which shares nothing with libvips."""
    photograph(tmp_path / f"in.{source}")
    picture = codec.read(tmp_path / f"in.{source}")
    codec.write(picture, tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        exif = image.getexif()
        assert exif[ARTIST] == "Hamlet"
        assert exif.get_ifd(EXPOSURE)[DATE_TAKEN] == "1601:07:26 12:00:00"
        assert image.info["icc_profile"] == SRGB
        if source != "webp" and suffix != ".webp":  # WebP itself has no resolution
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert b"<x:xmpmeta" in xmp_in(image)


@pytest.mark.parametrize("source", ["png", "jpg", "tif", "webp"])
def test_without_a_resolution_72_dpi_are_written(tmp_path: Path, source: str) -> None:
    """Rather than libvips's 25.4, at which a photograph would be printed some metres wide."""
    Image.new("RGB", (8, 8)).save(tmp_path / f"in.{source}")
    codec.write(codec.read(tmp_path / f"in.{source}"), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["dpi"] == pytest.approx((72, 72), abs=0.02)


def test_profile_that_no_longer_fits_is_left_out(tmp_path: Path) -> None:
    picture = Picture(noise(1, "uint8"), Metadata({"icc-profile-data": SRGB}))
    codec.write(picture, tmp_path / "out.png")
    assert "icc-profile-data" not in codec.read(tmp_path / "out.png").metadata.fields


def test_thumbnail_of_the_old_picture_goes(tmp_path: Path) -> None:
    thumbnail = tmp_path / "thumbnail.jpg"
    Image.new("RGB", (16, 8), (0, 0, 255)).save(thumbnail)
    small = thumbnail.read_bytes()
    first = struct.pack("<HHHII", 1, ARTIST, 2, 4, int.from_bytes(b"Ann\0", "little"))
    entries = struct.pack("<HHIIHHIIHHII", 0x103, 3, 1, 6, 0x201, 4, 1, 68, 0x202, 4, 1, len(small))
    exif = b"II*\0\x08\0\0\0" + first + struct.pack("<IH", 26, 3) + entries + bytes(4) + small
    Image.new("RGB", (32, 16)).save(tmp_path / "in.jpg", exif=b"Exif\0\0" + exif)
    assert small in (tmp_path / "in.jpg").read_bytes()
    codec.write(codec.read(tmp_path / "in.jpg"), tmp_path / "out.jpg")
    assert small not in (tmp_path / "out.jpg").read_bytes()
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif()[ARTIST] == "Ann"


def test_png_of_16_bits_by_an_independent_reader(tmp_path: Path) -> None:
    pixels = noise(3, "uint16")
    codec.write(Picture(pixels), tmp_path / "out.png")
    data = (tmp_path / "out.png").read_bytes()
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunks[kind] = chunks.get(kind, b"") + data[at + 8 : at + 8 + length]
        at += 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), "uint8").reshape(HEIGHT, 1 + WIDTH * 6)
    assert unfiltered(lines).view(">u2").tolist() == pixels.reshape(HEIGHT, -1).tolist()


def unfiltered(lines: np.ndarray, step: int = 6) -> np.ndarray:
    """PNG's five line filters undone, byte by byte as the standard has them."""
    result = np.zeros((len(lines) + 1, lines.shape[1] - 1 + step), int)  # a row above and a pixel to the left of 0
    for y, (kind, *line) in enumerate(lines.tolist(), start=1):
        for x, value in enumerate(line, start=step):
            left, up, corner = result[y, x - step], result[y - 1, x], result[y - 1, x - step]
            guess = left + up - corner
            paeth = min((abs(guess - near), i, near) for i, near in enumerate((left, up, corner)))[2]
            result[y, x] = (value + (0, left, up, (left + up) // 2, paeth)[kind]) % 256
    return np.ascontiguousarray(result[1:, step:].astype("uint8"))


# What files hold

TURNS = {  # EXIF's orientation -> how the stored pixels are brought upright
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("source", ["png", "jpg", "tif", "webp"])
def test_pictures_are_turned_upright_once(tmp_path: Path, source: str, orientation: int) -> None:
    stored = photograph(tmp_path / f"in.{source}", orientation=orientation)
    picture = codec.read(tmp_path / f"in.{source}")
    upright = TURNS[orientation](stored)
    assert picture.size == upright.shape[:2]
    assert np.abs(picture.pixels.astype(int) - upright).max() < 100  # a corner elsewhere would differ by 200
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        codec.write(picture, tmp_path / f"out{suffix}")
        with Image.open(tmp_path / f"out{suffix}") as image:
            assert image.getexif().get(ORIENTATION, 1) == 1
            assert b'tiff:Orientation="1"' in xmp_in(image)
        again = codec.read(tmp_path / f"out{suffix}")
        assert again.size == picture.size


@pytest.mark.parametrize(
    ("mode", "suffix", "channels", "dtype"),
    [
        ("1", ".png", 1, "uint8"),
        ("1", ".tif", 1, "uint8"),
        ("P", ".png", 3, "uint8"),
        ("P", ".tif", 3, "uint8"),
        ("P", ".gif", 3, "uint8"),
        ("I;16", ".png", 1, "uint16"),
        ("I;16", ".tif", 1, "uint16"),
        ("F", ".tif", 1, "float32"),
        ("CMYK", ".jpg", 3, "uint8"),
        ("CMYK", ".tif", 3, "uint8"),
    ],
)
def test_other_kinds_become_gray_or_rgb(tmp_path: Path, mode: str, suffix: str, channels: int, dtype: str) -> None:
    gray = Image.linear_gradient("L").resize((64, 48))
    source = (
        gray.convert("RGB").convert(mode) if mode != "I;16" else Image.fromarray(np.array(gray) * np.uint16(257))
    )
    source.save(tmp_path / f"in{suffix}")
    picture = codec.read(tmp_path / f"in{suffix}")
    assert picture.pixels.shape == (48, 64, channels)
    assert picture.pixels.dtype == dtype
    top, bottom = picture.pixels[0, 0, 0], picture.pixels[-1, 0, 0]
    black, white = {"uint8": (60, 195), "uint16": (9000, 56000), "float32": (20, 235)}[dtype]
    assert top < black
    assert bottom > white


def test_cmyk_gets_the_profile_of_its_new_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "in.jpg")
    picture = codec.read(tmp_path / "in.jpg")
    red, green, blue = picture.pixels[4, 4].tolist()
    assert red > 150
    assert max(green, blue) < 80
    assert picture.metadata.fields["icc-profile-data"][16:20] == b"RGB "


def test_first_page_of_many(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for name in ("in.tif", "in.gif", "in.webp"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], lossless=True)
        picture = codec.read(tmp_path / name)
        assert picture.size == (8, 8)
        assert picture.pixels[0, 0, :3].tolist() == [255, 0, 0]


@pytest.mark.parametrize("name", ["a[1].png", "a.png[page=1]", "ü ☁.png", "%s.png", "in.text"])
def test_any_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    assert codec.read(tmp_path / name).size == (8, 8)


# Masks


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        pytest.param([[[0], [51], [255]]], [0, 0.2, 1], id="gray"),
        pytest.param([[[0, 0, 0], [51, 51, 51], [255, 255, 255]]], [0, 0.2, 1], id="rgb"),
        pytest.param([[[9, 9, 9, 0], [9, 9, 9, 51], [0, 0, 0, 255]]], [0, 0.2, 1], id="alpha that varies"),
        pytest.param([[[7, 0], [7, 51], [7, 255]]], [0, 0.2, 1], id="gray with alpha that varies"),
        pytest.param([[[0, 255], [51, 255], [255, 255]]], [0, 0.2, 1], id="alpha that does not"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_mask(tmp_path: Path, pixels: list[object], expected: list[float], dtype: str) -> None:
    codec.write(Picture(codec.convert(np.array(pixels, "uint8"), dtype)), tmp_path / "mask.tif")
    mask = codec.read_mask(tmp_path / "mask.tif", (1, 3))
    assert mask.dtype == np.float32
    np.testing.assert_allclose(mask, [expected], atol=1e-6)
    assert codec.read_mask(tmp_path / "mask.tif", (1, 3), threshold=True).tolist() == [[0, 0, 1]]


def test_mask_of_floats_stays_within_0_and_1(tmp_path: Path) -> None:
    codec.write(Picture(np.array([[[-1], [np.nan], [7]]], "float32")), tmp_path / "mask.tif")
    assert codec.read_mask(tmp_path / "mask.tif", (1, 3)).tolist() == [[0, 0, 1]]


def test_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    codec.write(Picture(noise(1, "uint8")), tmp_path / "mask.png")
    refused(lambda: codec.read_mask(tmp_path / "mask.png", (30, 40)), f"{WIDTH}×{HEIGHT}", "40×30", "mask.png")


# Refusals


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    codec.write(Picture(noise(3, "uint8", height=64, width=64)), tmp_path / f"whole{suffix}")
    data = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"part{suffix}").write_bytes(data[: int(len(data) * share)])
    refused(lambda: codec.read(tmp_path / f"part{suffix}"), f"part{suffix}")


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("Methinks it is like a weasel.\n" * 9)
    (tmp_path / "table.csv").write_text("1,2\n3,4\n")
    refused(lambda: codec.read(tmp_path / "empty.png"), "empty")
    refused(lambda: codec.read(tmp_path / "text.png"), "no image", "PNG, JPEG, TIFF or WebP")
    refused(lambda: codec.read(tmp_path / "table.csv"), "no image")
    refused(lambda: codec.read(tmp_path), "folder")
    refused(lambda: codec.read(tmp_path / "gone.png"), "no such file")
    refused(lambda: codec.read(tmp_path / "gone" / "gone.png"), "no such file")
    refused(lambda: codec.read(tmp_path / "text.png" / "in.png"), "cannot be read")
    refused(lambda: codec.read(tmp_path / ("long" * 99)), "cannot be read")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        refused(lambda: codec.read(tmp_path / "pipe.png"), "device")


def test_numbers_that_are_no_colours_are_refused(tmp_path: Path) -> None:
    Image.new("I", (8, 8)).save(tmp_path / "in.tif")
    refused(lambda: codec.read(tmp_path / "in.tif"), "int", "8 or 16 bits")


@posix
def test_reading_without_permission_is_refused(open_folder: Path) -> None:
    path = open_folder / "in.png"
    Image.new("RGB", (8, 8)).save(path)
    path.chmod(0)
    with as_nobody():
        refused(lambda: codec.read(path), "permission denied")


@pytest.mark.parametrize("side", [20_001, 1_000_000, 2**31 - 1])
def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    tracemalloc.start()
    try:
        message = refused(lambda: codec.read(tmp_path / "huge.png"), "huge.png")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    if side <= 1_000_000:  # above, libpng refuses by itself
        assert f"{side}×{side} is more than 400 megapixels" in message


def test_limit_can_be_given(tmp_path: Path) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "in.png")
    assert codec.read(tmp_path / "in.png", limit=10_000).size == (100, 100)
    refused(lambda: codec.read(tmp_path / "in.png", limit=9_999), "100×100")


def test_outputs_that_cannot_be_are_refused_early(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    refused(lambda: codec.check_output(tmp_path / "out.bmp"), "'.bmp'", ".png, .jpg, .jpeg, .tif, .tiff, .webp")
    refused(lambda: codec.check_output(tmp_path / "out"), "no suffix")
    refused(lambda: codec.check_output(tmp_path / "gone" / "out.png"), "no folder")
    refused(lambda: codec.check_output(tmp_path / "folder.png"), "it is a folder")
    refused(lambda: codec.check_output(tmp_path / ("long" * 99 + ".png")), "cannot be written")
    refused(lambda: codec.check_output(tmp_path / "out.webp", (10, 16_384)), "16383", "16384×10")
    codec.check_output(tmp_path / "out.webp", (10, 16_383))
    codec.check_output(tmp_path / "folder.png" / "out.PNG")
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder.png"]


@posix
def test_outputs_without_permission_are_refused_early(open_folder: Path) -> None:
    picture = Picture(noise(3, "uint8"))
    codec.write(picture, open_folder / "out.png")
    before = (open_folder / "out.png").read_bytes()
    with as_nobody():
        if os.geteuid() != open_folder.stat().st_uid:
            refused(lambda: codec.check_output(open_folder / "new.png"), "permission")
    open_folder.chmod(0o777)
    (open_folder / "out.png").chmod(0o444)
    with as_nobody():
        codec.check_output(open_folder / "new.png")
        refused(lambda: codec.write(picture, open_folder / "out.png"), "permission")
    open_folder.chmod(0o700)
    assert (open_folder / "out.png").read_bytes() == before


# Files appear whole or not at all


@posix
@pytest.mark.parametrize("existing", [False, True])
def test_failed_write_leaves_things_as_they_were(tmp_path: Path, existing: bool) -> None:
    import resource  # noqa: PLC0415 - not on Windows

    path = tmp_path / "out.tif"
    if existing:
        path.write_bytes(b"as it was")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        refused(lambda: codec.write(Picture(noise(3, "uint16", height=200)), path), "out.tif", "Free 0.0 MB")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == (
        [("out.tif", b"as it was")] if existing else []
    )


@as_root
def test_full_disk(tmp_path: Path) -> None:
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"no small disk could be mounted: {mount.stderr.strip()}")
    try:
        (tmp_path / "out.png").write_bytes(b"as it was")
        refused(
            lambda: codec.write(Picture(noise(3, "uint16", height=2000)), tmp_path / "out.png"), "No space", "MB"
        )
        assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"as it was"]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@posix
def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    picture = Picture(noise(3, "uint8"))
    mask = os.umask(0o027)
    try:
        codec.write(picture, tmp_path / "new.png")
    finally:
        os.umask(mask)
    assert (tmp_path / "new.png").stat().st_mode & 0o777 == 0o640
    (tmp_path / "new.png").chmod(0o604)
    (tmp_path / "link.png").symlink_to("new.png")
    codec.write(picture, tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "new.png").stat().st_mode & 0o777 == 0o604


# Pixels


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_to_float_and_back_are_exact(dtype: str) -> None:
    every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(-1, 1, 1)
    unit = codec.convert(every, "float32")
    assert (unit.min(), unit.max()) == (0, 1)
    np.testing.assert_array_equal(codec.convert(unit, dtype), every)
    np.testing.assert_array_equal(codec.convert(codec.convert(every, "uint16"), dtype), every)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_paste_replaces_the_region_of_a_copy(dtype: str) -> None:
    picture = Picture(noise(3, dtype), Metadata({"xmp-data": XMP}))
    before = picture.pixels.copy()
    region = np.full((4, 6, 3), 0.5, "float32")
    result = codec.paste(picture, (5, 7, 4, 6), region)
    np.testing.assert_array_equal(picture.pixels, before)
    changed = (result.pixels != before).any(axis=2)
    assert np.argwhere(changed).min(axis=0).tolist() == [5, 7]
    assert np.argwhere(changed).max(axis=0).tolist() == [8, 12]
    assert (result.pixels[5:9, 7:13] == codec.convert(region, dtype)).all()
    assert result.metadata is picture.metadata


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        ((0, 0, HEIGHT + 1, 1), (HEIGHT + 1, 1, 3)),
        ((-1, 0, 2, 2), (2, 2, 3)),
        ((0, 0, 2, 2), (2, 3, 3)),
        ((0, 0, 2, 2), (2, 2, 4)),
    ],
)
def test_paste_that_does_not_fit(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"box|pixels"):
        codec.paste(Picture(noise(3, "uint8")), box, np.zeros(shape, "uint8"))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2), "uint8"), np.zeros((2, 2, 5), "uint8"), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), "uint8")],
)
def test_a_picture_is_what_it_says(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=re.escape("pixels are")):
        Picture(pixels)
    assert replace(Picture(noise(1, "uint8")), metadata=Metadata()).size == (HEIGHT, WIDTH)

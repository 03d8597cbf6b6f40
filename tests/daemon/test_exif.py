"""EXIF in TIFF files: Pillow writes and reads them, `dreamd.exif` copies in between."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dreamd import exif

PLACE, EXPOSURE, MAKER_NOTE, WIDTH_SEEN = 0x8825, 0x8769, 0x927C, 0xA002
ABOUT = {0x010E: "camel", 0x0131: "Deep Dream", 0x013B: "Hamlet"}
DETAILS = {0x829A: IFDRational(1, 250), 0x8827: 400, 0x9003: "1601:07:26 12:00:00", 0x9204: IFDRational(-1, 3)}
COORDINATES = {1: "N", 2: (IFDRational(56), IFDRational(2), IFDRational(21, 10))}


def block(endian: str = "<") -> bytes:
    """An EXIF block as a camera writes it."""
    tags = Image.Exif()
    tags.endian = endian
    tags.update(ABOUT)
    tags[0x0112] = 6
    tags[EXPOSURE] = DETAILS | {MAKER_NOTE: b"secrets", WIDTH_SEEN: 99}
    tags[PLACE] = COORDINATES
    return tags.tobytes()


def tiff(**options: object) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((15, 7)).save(file, "TIFF", **options)
    return file.getvalue()


def check(tags: Image.Exif) -> None:
    assert {tag: tags[tag] for tag in ABOUT} == ABOUT
    assert tags.get_ifd(EXPOSURE) == DETAILS
    assert tags.get_ifd(PLACE) == COORDINATES
    assert tags.get(0x0112, 1) == 1


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("compression", ["raw", "tiff_adobe_deflate"])
def test_into_tiff_and_back(endian: str, compression: str) -> None:
    plain = tiff(compression=compression)
    result = exif.into_tiff(plain, block(endian))
    with Image.open(io.BytesIO(plain)) as before, Image.open(io.BytesIO(result)) as after:
        assert after.tobytes() == before.tobytes()
        check(after.getexif())
    tags = Image.Exif()
    tags.load(exif.from_tiff(result))
    check(tags)


def test_tiffs_own_tags_win() -> None:
    named = tiff(artist="Polonius")
    with Image.open(io.BytesIO(exif.into_tiff(named, block()))) as image:
        assert image.getexif()[0x013B] == "Polonius"
        assert image.getexif()[0x010E] == "camel"


def test_nothing_to_copy() -> None:
    plain = tiff()
    assert exif.from_tiff(plain) == b""
    assert exif.into_tiff(plain, b"") == plain
    assert exif.into_tiff(b"II+\0 a BigTIFF", block()) == b"II+\0 a BigTIFF"
    assert exif.from_tiff(b"") == b""


@given(at=st.integers(0, 400), value=st.binary(min_size=1, max_size=4), end=st.integers(0, 600))
def test_damaged_directories_do_no_harm(at: int, value: bytes, end: int) -> None:
    good = block().removeprefix(b"Exif\0\0")
    bad = (good[:at] + value + good[at + len(value) :])[:end]
    assert len(exif.from_tiff(bad)) <= 70_000

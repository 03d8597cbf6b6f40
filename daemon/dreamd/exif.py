"""EXIF of TIFF files, which libvips neither reads nor writes; it does both in the other formats.

EXIF is itself a little TIFF file without pixels (EXIF 2.32, TIFF 6.0), so either way directories are copied from
one file to the other. Left out are maker notes, whose offsets hold only in the file they came from, and what
speaks of the pixels' layout.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import Final

#: Tags of a TIFF's first directory that EXIF has too: description, maker, model, software, date, artist, rights.
_ABOUT: Final = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298}
#: Tags that point to a directory: of the exposure and of the place.
_DIRECTORIES: Final = {0x8769, 0x8825}
#: Tags not to copy: maker notes, the picture's width and height, another directory.
_UNFIT: Final = {0x927C, 0xA002, 0xA003, 0xA005}
#: What one value of each TIFF type is made of, as `struct` writes it.
_TYPES: Final = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 7: "B", 9: "I", 10: "II"}
#: The longest value to copy, in bytes: all of a JPEG's EXIF must fit into 64 KiB.
_LONGEST: Final = 8192


@dataclass(frozen=True)
class _Value:
    """One entry of a directory: `count` values of a TIFF type, little-endian."""

    kind: int
    count: int
    data: bytes


_Directory = Mapping[int, "_Value | _Directory"]


def from_tiff(tiff: bytes | mmap) -> bytes:
    """The EXIF block of a TIFF file (or of another EXIF block), little-endian; empty where it has none."""
    directory = _read(tiff)
    return b"II*\0" + struct.pack("<I", 8) + _packed(directory, 8) if directory else b""


def into_tiff(tiff: bytes, exif: bytes) -> bytes:
    """The TIFF file with the EXIF block added to its first directory.

    Where `tiff` is big-endian or a BigTIFF, or `exif` holds nothing, `tiff` itself comes back.
    """
    directory = _read(exif.removeprefix(b"Exif\0\0"))
    if tiff[:4] != b"II*\0" or not directory:
        return tiff
    (start,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, start)
    own = (tiff[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count))
    entries = {struct.unpack_from("<H", entry)[0]: entry for entry in own}
    at = len(tiff) + len(tiff) % 2
    head, gap = tiff[:4] + struct.pack("<I", at), bytes(at - len(tiff))
    return b"".join((head, tiff[8:], gap, _packed(directory, at, entries)))


def _read(data: bytes | mmap) -> _Directory:
    """The first directory and those it points to, as far as they are worth copying; empty where damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return {}
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        first = _read_directory(data, order, start)
        found: dict[int, _Value | _Directory] = {tag: value for tag, value in first.items() if tag in _ABOUT}
        for tag in _DIRECTORIES & first.keys():
            nested = _read_directory(data, order, *struct.unpack("<I", first[tag].data))
            found[tag] = {key: value for key, value in nested.items() if key not in _UNFIT | _DIRECTORIES}
    except struct.error:
        return {}
    return found


def _read_directory(data: bytes | mmap, order: str, start: int) -> dict[int, _Value]:
    """The directory at an offset; raises struct.error where it reaches beyond the data."""
    entries: dict[int, _Value] = {}
    (length,) = struct.unpack_from(f"{order}H", data, start)
    for at in range(start + 2, start + 2 + 12 * length, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, at)
        parts = _TYPES.get(kind, "")
        size = struct.calcsize(f"={parts}") * count
        if not 0 < size <= _LONGEST:
            continue
        layout = f"{len(parts) * count}{parts[0]}"
        offset = at + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
        values = struct.unpack_from(order + layout, data, offset)
        entries[tag] = _Value(kind, count, struct.pack(f"<{layout}", *values))
    return entries


def _packed(directory: _Directory, at: int, ready: Mapping[int, bytes] | None = None) -> bytes:
    """The directory as it lies at offset `at`, its values behind it; `ready` entries keep their 12 bytes."""
    entries = dict(ready or {})
    new = sorted(directory.keys() - entries.keys())
    behind = at + 2 + 12 * (len(entries) + len(new)) + 4
    values = b""
    for tag in new:
        value = directory[tag]
        if isinstance(value, _Value):
            kind, count, data = value.kind, value.count, value.data
        else:
            kind, count, data = 4, 1, _packed(value, behind + len(values))
        if isinstance(value, _Value) and len(data) <= 4:
            entries[tag] = struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0")
        else:
            entries[tag] = struct.pack("<HHII", tag, kind, count, behind + len(values))
            values += data + b"\0" * (len(data) % 2)
    return struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4) + values

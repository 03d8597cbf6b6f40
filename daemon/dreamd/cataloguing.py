"""`deepdream catalogue`: what every layer, or every channel of a layer, makes of a picture, side by side."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dreamwire import catalogue
from dreamwire.catalogue import Entry
from dreamwire.errors import DreamError
from dreamwire.params import CATALOGUES

from . import codec
from .call import OK, Call
from .dreaming import Interruption, Stopwatch, make_folder, mask_bounds, read_mask, slices, to_image
from .sheet import sheet
from .terminal import Bar

CANCELLED = "Cancelled. The thumbnails made so far are remembered: the same command goes on after them."


def run(call: Call) -> int:
    """Reads, has every thumbnail dreamt, writes them as a sheet or into a folder."""
    arguments, watch = call.arguments, Stopwatch()
    entries = wanted_entries(arguments)
    picture = codec.read(arguments.image)
    box = mask_bounds(read_mask(arguments.mask, picture), picture.size)
    # Of what the file says besides its pixels, a thumbnail needs the profile of its colours alone.
    profile = {name: each for name, each in picture.metadata.fields.items() if name == "icc-profile-data"}
    small = codec.reduced(codec.Picture(picture.pixels[slices(box)], codec.Metadata(profile)), arguments.side)
    files = check_output(arguments.output, entries)
    with call.client() as client, Bar("Cataloguing") as bar, Interruption() as interruption:
        shown: dict[str, NDArray[Any]] = {}
        for entry, pixels in catalogue.thumbnails(
            client, to_image(small.pixels), entries, wanted=lambda: not interruption.wanted
        ):
            shown[entry.name] = np.frombuffer(pixels, np.uint8).reshape(small.pixels.shape)
            bar.show(entry.name, len(shown) / len(entries))
    if len(shown) < len(entries):
        raise KeyboardInterrupt(CANCELLED)
    cells = [(entry.name, shown[entry.name]) for entry in entries]
    if files:
        for file, (_, thumbnail) in zip(files, cells, strict=True):
            codec.write(replace(small, pixels=thumbnail), file)
    else:
        codec.write(replace(small, pixels=sheet(cells, arguments.columns)), arguments.output)
    watch.lap("all")
    height, width = small.size
    value = {
        "output": arguments.output,
        "files": [str(file) for file in files],
        "thumbnails": [{"name": entry.name, "params": entry.params} for entry in entries],
        "seconds": watch.seconds["all"],
    }
    call.result(
        value,
        f"{len(entries)} pictures of {width}x{height} pixels in {watch.seconds['all']:.1f} s: {arguments.output}",
    )
    return OK


def wanted_entries(arguments: argparse.Namespace) -> list[Entry]:
    """The thumbnails that the arguments ask for."""
    kind = arguments.kind
    given = {name: getattr(arguments, name) for rows in CATALOGUES.values() for name in rows if name in arguments}
    for name in given:
        if name not in CATALOGUES[kind]:
            raise DreamError("bad_params", f"There is no {name} in a catalogue of the kind {kind}; leave it away.")
    if arguments.channels_of:
        return catalogue.channels(given, arguments.channels_of, arguments.channels, kind)
    if arguments.channels:
        raise DreamError("bad_params", "channels are those of a layer; name it with --channels-of.")
    return catalogue.layers(given, kind)


def check_output(name: str, entries: Sequence[Entry]) -> list[Path]:
    """The file of each entry if `name` is a folder, which is made; none if it is that of a sheet.

    Raises `DreamError` bad_input for what cannot be written.
    """
    folder = Path(name)
    if not name.endswith(("/", os.sep)) and not folder.is_dir():
        codec.check_output(folder)
        return []
    make_folder(folder)
    files = [folder / f"{entry.name.replace(' ', '-')}.png" for entry in entries]
    codec.check_output(files[0])
    return files

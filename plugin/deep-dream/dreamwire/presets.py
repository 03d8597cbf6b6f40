"""PRESETS: looks found by eye, one row of plain data each; the first of a kind is the default one.

To add one, add a row and run `docs/pictures.py presets` and `docs/generate.py`: the first makes its picture,
`pictures/NAME.jpg` in the plug-in's folder.

Users have presets of their own in a file of lines, as in `Wool = dream --layers blocks.8 --channels 36`: a label,
and what one would type after `deepdream`. Such a line can be sent to somebody else.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import paths
from .errors import DreamError
from .params import PARAMS, Value, find_job, validate
from .words import nearest

#: The file of the user's own presets, in the folder of settings.
FILE = "presets.txt"


@dataclass(frozen=True)
class Preset:
    """A look: its name for programs, its label for people, what it makes of a picture, and how.

    `params` are those of a job of its `kind` that differ from their defaults, and go before `validate` like any
    others.
    """

    name: str
    label: str
    help: str
    params: Mapping[str, Value]
    kind: str = "dream"

    @property
    def flags(self) -> str:
        """The same as flags of the command, to begin one's own experiments with."""
        return " ".join(f"{PARAMS[name].flag} {shlex.quote(str(value))}" for name, value in self.params.items())

    @property
    def line(self) -> str:
        """The same as a line of a user's file."""
        return f"{self.label} = {self.kind} {self.flags}".rstrip()


def _table(*rows: Preset) -> dict[str, Preset]:
    return {row.name: row for row in rows}


PRESETS: Mapping[str, Preset] = _table(
    Preset("creatures", "Creatures", "Furry animals with too many eyes grow out of everything.", {}),
    Preset(
        "strokes", "Strokes", "Broad strokes follow every form, as in a woodcut; the colours stay true. Quick.",
        # Few bands and small steps: of so low a layer more would burn out light and shade.
        {"layers": "blocks.1", "levels": 1, "step_size": 0.006, "colour": 0.3},
    ),
    Preset(
        "swirls", "Swirls", "Spirals, rings and rows of beads, carved into every surface.",
        {"layers": "blocks.7", "levels": 1, "octave_scale": 1.6, "colour": 0.6},
    ),
    # A channel of a low layer draws two patterns, where it is high and where it is low. Octaves far apart keep
    # the large forms, which more octaves in between would fill with small ones.
    Preset(
        "braids", "Braids", "Thick braids of wool, and froth that glows between them.",
        {"layers": "blocks.8", "channels": "36", "octave_scale": 1.7},
    ),
    Preset(
        "plumes", "Plumes", "Long silky plumes over a mosaic of small square tiles.",
        {"layers": "blocks.9", "channels": "85", "octave_scale": 1.6},
    ),
    # Channels of a high layer are of things. These were picked from one dream of each.
    Preset(
        "corals", "Corals", "Corals, sea urchins and berries crowd together.",
        {"layers": "blocks.11", "channels": "10,27,36,103,106,177"},
    ),
    Preset(
        "garden", "Garden", "Ribbed leaves, petals and raspberries unfold.",
        {"layers": "blocks.12", "channels": "29,42,129,139,140,151,187"},
    ),
    Preset(
        "temples", "Temples", "Temples, arches and towers among wooded hills. Takes the longest.",
        {"layers": "blocks.12", "channels": "60,63,77,91,178", "octaves": 6, "steps": 12},
    ),
    # Classes, with as much of a layer as gives them forms.
    Preset(
        "cats", "Cats", "Striped fur, ears and the eyes of tabbies.",
        {"classes": "tabby", "layers": "blocks.10*0.5", "colour": 0.3},
    ),
    Preset(
        "strawberries", "Strawberries", "Strawberries, and the leaves that they hide under.",
        {"classes": "strawberry", "layers": "blocks.12*0.5", "colour": 0.4},
    ),
    # From nothing. All names are of one table, whatever their kind.
    Preset("beasts", "Beasts", "What the network's middle has in mind: dogs and their eyes.", {}, "visualise"),
    Preset("dalmatian", "Dalmatian", "A spotted dog's head.", {"classes": "dalmatian"}, "visualise"),
    Preset("flamingos", "Flamingos", "Two flamingos and their water.", {"classes": "flamingo"}, "visualise"),
    Preset(
        "shoal", "Shoal", "Goldfish all over the region.", {"classes": "goldfish", "thing_size": 0.5}, "visualise"
    ),
    Preset(
        "knits", "Knits", "Braids of wool and lights between them, from one channel.",
        {"layers": "blocks.8", "channels": "36"}, "visualise",
    ),
)  # fmt: skip


def presets(kind: str = "") -> dict[str, Preset]:
    """Those of a kind of job, or all, by their names: those that come with the program, then the user's own."""
    rows = {**PRESETS, **own_presets()}
    return {name: row for name, row in rows.items() if kind in ("", row.kind)}


def find_preset(name: str, kind: str = "") -> Preset:
    """A preset by its name, or a `DreamError` bad_params that offers the nearest names."""
    known = presets(kind)
    if name not in known:
        there_is = f"; there is {', '.join(known)}." if known else "."
        raise DreamError("bad_params", f"There is no preset called {name!r:.60}{nearest(name, known, there_is)}")
    return known[name]


def preset_of(kind: str, values: Mapping[str, Value], leave: tuple[str, ...] = ()) -> Preset | None:
    """The preset that validated parameters are, whatever those are that it is to `leave`."""
    for row in presets(kind).values():
        wanted = validate(kind, row.params)
        if all(values[name] == value for name, value in wanted.items() if name not in leave):
            return row
    return None


def parse_preset(line: str) -> Preset:
    """A preset from its `line`; raises `DreamError` bad_params, which says what is wrong."""
    label, equals, rest = (part.strip() for part in line.partition("="))
    name = "-".join(re.findall(r"\w+", label.lower()))
    try:
        kind, *words = shlex.split(rest)
    except ValueError as error:
        raise _no_preset(line) from error
    if not name or not equals or len(label) > 40 or len(words) % 2:
        raise _no_preset(line)
    rows = {row.flag: row for row in find_job(kind).params.values()}
    params: dict[str, Value] = {}
    for flag, text in zip(words[::2], words[1::2], strict=True):
        if flag not in rows:
            raise DreamError("bad_params", f"{kind} has no parameter {flag!r:.60}{nearest(flag, rows)}")
        params[rows[flag].name] = rows[flag].parse(text)
    validate(kind, params)
    return Preset(name, label, "One of your own.", params, kind)


def _no_preset(line: str) -> DreamError:
    return DreamError(
        "bad_params",
        f"{line!r:.80} is no preset. One is a label, = and what one would type after `deepdream`, as in"
        " Wool = dream --layers blocks.8 --channels 36",
    )


def own_presets() -> dict[str, Preset]:
    """The user's own, by name; lines that this version cannot read are passed over."""
    found: dict[str, Preset] = {}
    for line in _lines():
        with contextlib.suppress(DreamError):
            preset = parse_preset(line)
            if preset.name not in PRESETS:
                found[preset.name] = preset
    return found


def keep_preset(preset: Preset) -> None:
    """Puts a preset into the user's file, in place of one of the same name. Raises `DreamError`, `OSError`."""
    if preset.name in PRESETS:
        raise DreamError(
            "conflict", f"A preset called {preset.label} comes with the program; choose another name."
        )
    _write([*_without(preset.name), preset.line])


def drop_preset(name: str) -> None:
    """Takes a preset out of the user's file. Raises `DreamError` bad_params if it is not there, `OSError`."""
    own = own_presets()
    if name not in own:
        there_is = f"; yours are {', '.join(own)}." if own else "; you have none."
        raise DreamError("bad_params", f"You have no preset called {name!r:.60}{nearest(name, own, there_is)}")
    _write(_without(name))


def _without(name: str) -> list[str]:
    """The file's lines but those of a preset; what cannot be read stays."""
    lines = []
    for line in _lines():
        try:
            keep = parse_preset(line).name != name
        except DreamError:
            keep = True
        if keep:
            lines.append(line)
    return lines


def _lines() -> list[str]:
    try:
        text = (paths.config_dir() / FILE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    return [line for line in text.splitlines() if line.strip()]


def _write(lines: list[str]) -> None:
    folder = paths.config_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
    Path(file.name).replace(folder / FILE)


def markdown(kind: str) -> str:
    """The presets of a kind of job as a Markdown table for the docs."""
    lines = ["| preset | what one sees | its parameters |", "|---|---|---|"]
    for row in (row for row in PRESETS.values() if row.kind == kind):
        lines.append(f"| `{row.name}` | {row.help} | {f'`{row.flags}`' if row.flags else 'the defaults'} |")
    return "\n".join(lines) + "\n"

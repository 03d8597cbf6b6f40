"""PRESETS: looks found by eye, one row of plain data each; the first is the default one.

To add one, add a row and run `docs/pictures.py presets` and `docs/generate.py`: the first makes its picture,
`pictures/NAME.jpg` in the plug-in's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import DreamError
from .params import PARAMS, Value
from .words import nearest


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
        return " ".join(f"{PARAMS[name].flag} {value}" for name, value in self.params.items())


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
)  # fmt: skip


def find_preset(name: str) -> Preset:
    """A preset by its name, or a `DreamError` bad_params that offers the nearest names."""
    if name not in PRESETS:
        hint = nearest(name, PRESETS, f"; there is {', '.join(PRESETS)}.")
        raise DreamError("bad_params", f"There is no preset called {name!r:.60}{hint}")
    return PRESETS[name]


def markdown() -> str:
    """The presets as a Markdown table for the docs."""
    lines = ["| preset | what one sees | its parameters |", "|---|---|---|"]
    for row in PRESETS.values():
        lines.append(f"| `{row.name}` | {row.help} | {f'`{row.flags}`' if row.flags else 'the defaults'} |")
    return "\n".join(lines) + "\n"

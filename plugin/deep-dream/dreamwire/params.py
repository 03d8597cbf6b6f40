"""PARAMS: every parameter of every job, declared once.

The wire's validation, the command's flags, GIMP's arguments and dialog, and the tables of the docs are
all made from the rows below. To add a parameter, add a row and name it in `JOBS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .errors import DreamError
from .networks import find_network
from .words import nearest

Kind = Literal["int", "float", "choice", "network", "layers", "channels"]
Value = int | float | str

#: Characters of a text; all of a job's parameters travel in one header, there and back.
LONGEST = 4000
#: How much less or more than 1 a layer's weight may be; far beyond, the arithmetic of a dream breaks down.
WEIGHTS = 0.001, 1000.0


@dataclass(frozen=True)
class Param:
    """One parameter: what may be given for it, and how a person is told about it.

    Numbers lie in `minimum..maximum` (inclusive, in `unit`), seldom above `usual`, where sliders end; a `choice`
    is one of `choices` (value -> help);
    `network`, `layers` and `channels` are text, see `NETWORKS`, `parse_layers` and `parse_channels`.
    """

    name: str
    kind: Kind
    default: Value
    label: str
    help: str
    minimum: float = -math.inf
    maximum: float = math.inf
    unit: str = ""
    choices: Mapping[str, str] | None = None
    advanced: bool = False
    usual: float = math.inf

    @property
    def flag(self) -> str:
        """The command's flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def range(self) -> str:
        """What may be given, as text for messages, help and docs."""
        if self.kind in ("int", "float"):
            unit = f" {self.unit}" if self.unit else ""
            return f"{self.minimum:.10g} to {self.maximum:.10g}{unit}"
        if self.choices is not None:
            return ", ".join(self.choices)
        return {
            "network": "a name from `deepdream networks`",
            "layers": "names with weights, joined by +, or empty for the network's default",
            "channels": "numbers and ranges such as 3,17,40-47, or empty for all",
        }[self.kind]

    def check(self, value: object) -> Value:
        """The value in its own type, or a `DreamError` bad_params that names the range."""
        if self.kind == "int":
            return self._check_number(value, (int,), "a whole number")
        if self.kind == "float":
            return float(self._check_number(value, (int, float), "a number"))
        return self._check_text(value)

    def _check_number(self, value: object, kinds: tuple[type[float], ...], what: str) -> float:
        # To Python a bool is an int. NaN lies in no range.
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.minimum <= value <= self.maximum:
            raise self.refuse(value, f"{what} from {self.range}")
        return value

    def _check_text(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value, f"text: {self.range}")
        if len(value) > LONGEST:
            raise self.refuse(value, f"at most {LONGEST} characters")
        if self.choices is not None and value not in self.choices:
            raise self.refuse(value, f"one of {self.range}")
        if self.kind == "network":
            find_network(value)
        elif self.kind == "layers":
            parse_layers(value)
        elif self.kind == "channels":
            parse_channels(value)
        return value

    def parse(self, text: str) -> Value:
        """The value written as `text` on a command line; errors as in `check`."""
        try:
            value: object = {"int": int, "float": float}.get(self.kind, str)(text)
        except ValueError:
            value = text
        return self.check(value)

    def refuse(self, value: object, expected: str) -> DreamError:
        """The error for a value that cannot be taken."""
        return DreamError("bad_params", f"{self.name} is {value!r:.60}, but must be {expected}.")


def _table(*rows: Param) -> dict[str, Param]:
    return {row.name: row for row in rows}


PARAMS: Mapping[str, Param] = _table(
    Param(
        "network", "network", "efficientnet_lite0", "Network",
        "The convnet that dreams. The default comes with the program; others are fetched by `deepdream pull`.",
    ),
    Param(
        "layers", "layers", "", "Layers",
        "What to enhance: layers of the network with weights, as in `blocks.8*0.5+blocks.10`. Low layers give"
        " strokes and textures, high ones animals and things. Empty: the network's default layer.",
    ),
    Param(
        "channels", "channels", "", "Channels",
        "Only these feature maps of every layer named, as in `3,17,40-47`. Empty: all of them.",
        advanced=True,
    ),
    Param(
        "octaves", "int", 4, "Octaves",
        "Scales of the image pyramid, dreamt from coarse to fine. More octaves make larger creatures.",
        minimum=1, maximum=12, usual=8,
    ),
    Param(
        "octave_scale", "float", 1.4, "Octave scale",
        "How much larger each octave is than the one before.",
        minimum=1.1, maximum=3.0, unit="x", advanced=True,
    ),
    Param(
        "steps", "int", 10, "Steps",
        "Steps of gradient ascent in each octave. More steps dream deeper and take longer.",
        minimum=1, maximum=1000, usual=40,
    ),
    Param(
        "step_size", "float", 0.015, "Step size",
        "How far one step changes the pixels on average (root mean square), where black is 0 and white is 1.",
        minimum=0.0001, maximum=0.5, advanced=True, usual=0.1,
    ),
    Param(
        "jitter", "int", 32, "Jitter",
        "The network's grid slides by up to this much between steps, so that it leaves no pattern of its own.",
        minimum=0, maximum=512, unit="px", advanced=True, usual=64,
    ),
    Param(
        "smoothing", "choice", "laplacian", "Smoothing",
        "How the gradient is normalised before each step.",
        choices={
            "laplacian": "each band of a Laplacian pyramid for itself: soft, true colours",
            "plain": "as a whole: crisp, noisier",
        },
        advanced=True,
    ),
    Param(
        "levels", "int", 4, "Laplacian levels",
        "Bands of the Laplacian pyramid. More bands make broader, softer changes of light and colour.",
        minimum=1, maximum=8, advanced=True,
    ),
    Param(
        "colour", "float", 0.5, "Colour",
        "How freely the dream changes hues: 0 changes light and shade alone, 1 takes the network's own colours,"
        " which are those of neon signs.",
        minimum=0.0, maximum=1.0,
    ),
    Param(
        "seed", "int", 0, "Seed",
        "The same seed, picture and settings give the same dream.",
        minimum=0, maximum=2**31 - 1,
    ),
    Param(
        "strength", "float", 1.0, "Strength",
        "How much of the dream is laid over the picture: 0 is none, 1 all of it, above 1 exaggerates.",
        minimum=0.0, maximum=4.0, usual=2.0,
    ),
    Param(
        "edge", "choice", "blended", "Soft edge",
        "What the result is where the mask is between 0 and 1. Editors that lay a mask over a layer want `full`.",
        choices={
            "blended": "picture and dream, mixed by the mask",
            "full": "the dream in full wherever the mask is above 0",
            "alpha": "the dream in full, its alpha multiplied by the mask: a cut-out; the picture needs an alpha",
        },
        advanced=True,
    ),
    Param(
        "precision", "choice", "auto", "Precision",
        "The arithmetic inside the network; the picture itself is always kept in float32.",
        choices={
            "auto": "float32 on a processor, bfloat16 on a card that has it",
            "float32": "exact to 1e-4",
            "bfloat16": "quicker where the device has it, a little different",
        },
        advanced=True,
    ),
    Param(
        "context", "choice", "exact", "Context",
        "How many of the real pixels around the region the network sees.",
        choices={
            "exact": "all that a layer can see",
            "fast": "the half that matters most: quicker on small regions, slightly different at their edge",
        },
        advanced=True,
    ),
    Param(
        "window", "int", 0, "Window",
        "The side of the largest piece shown to the network at once: less takes less memory, more is quicker."
        " 0 chooses for the device.",
        minimum=0, maximum=8192, unit="px", advanced=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """Pixels that a job takes: an `image` of 1 to 4 channels or a `mask` of one."""

    name: str
    help: str
    required: bool = True


@dataclass(frozen=True)
class Job:
    """One kind of job: which rows of PARAMS it takes, and which pixels."""

    kind: str
    help: str
    params: tuple[str, ...]
    inputs: tuple[Input, ...]


IMAGE = Input("image", "the picture: gray, RGB, or either with alpha, R'G'B' as sRGB encodes it")
MASK = Input("mask", "the region: 0 is left alone, 1 dreamt in full; the whole picture if absent", required=False)

JOBS: Mapping[str, Job] = {
    job.kind: job
    for job in (
        Job("dream", "Let the network enhance what it sees in the region.", tuple(PARAMS), (IMAGE, MASK)),
    )
}  # fmt: skip


def find_job(kind: str) -> Job:
    """The row of a kind of job, or a `DreamError` bad_params."""
    if kind not in JOBS:
        raise DreamError("bad_params", f"There is no job called {kind!r:.60}; there is {', '.join(JOBS)}.")
    return JOBS[kind]


def defaults(kind: str) -> dict[str, Value]:
    """Every parameter of a kind of job at its default."""
    return {name: PARAMS[name].default for name in find_job(kind).params}


def validate(kind: str, given: Mapping[str, object]) -> dict[str, Value]:
    """All parameters of a job: those given, checked, and the defaults of the rest.

    Layers and channels are checked against the network too, so that what comes back can be run as it is.
    Raises `DreamError` unknown_network or bad_params with the range in its message.
    """
    names = find_job(kind).params
    for name in given:
        if name not in names:
            raise DreamError("bad_params", f"There is no parameter {name!r:.60}{nearest(str(name), names)}")
    values = defaults(kind) | {name: PARAMS[name].check(value) for name, value in given.items()}
    if "layers" in values:
        _check_layers(values)
    return values


def _check_layers(values: Mapping[str, Value]) -> None:
    network = find_network(str(values["network"]))
    chosen = parse_channels(str(values.get("channels", "")))
    for name in layer_weights(values):
        layer = network.layers.get(name)
        if layer is None:
            raise DreamError(
                "bad_params",
                f"{network.name} has no layer {name!r:.60}{nearest(name, network.layers)}"
                f" `deepdream layers {network.name}` lists them.",
            )
        if chosen and chosen[-1] >= layer.channels:
            raise DreamError(
                "bad_params",
                f"channels go up to {chosen[-1]}, but {name} of {network.name} has 0 to {layer.channels - 1}.",
            )


_TERM = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(?:\*\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))?\s*")


def parse_layers(text: str) -> dict[str, float]:
    """`"blocks.8*0.5+blocks.10"` -> `{"blocks.8": 0.5, "blocks.10": 1.0}`; empty text -> `{}`.

    Weights lie in `WEIGHTS` or, to suppress a layer, in their negative. At most 16 layers, each once.
    """
    layers: dict[str, float] = {}
    if not text.strip():
        return layers
    position = 0
    while True:
        match = _TERM.match(text, position)
        if match is None:
            break
        name, weight = match[1], float(match[2] or 1)
        if name in layers or not WEIGHTS[0] <= abs(weight) <= WEIGHTS[1] or len(layers) == 16:
            break
        layers[name] = weight
        if match.end() == len(text):
            return layers
        if text[match.end()] != "+":
            break
        position = match.end() + 1
    raise DreamError(
        "bad_params",
        f"layers is {text!r:.80}, but must be at most 16 different layers, such as blocks.8*0.5+blocks.10, with"
        f" weights from {WEIGHTS[0]:g} to {WEIGHTS[1]:g}, or negative ones.",
    )


def format_layers(layers: Mapping[str, float]) -> str:
    """The inverse of `parse_layers`."""
    return "+".join(name if weight == 1 else f"{name}*{weight:g}" for name, weight in layers.items())


def layer_weights(values: Mapping[str, Value]) -> dict[str, float]:
    """The layers of validated parameters and their weights, the network's default layer if none is named."""
    return parse_layers(str(values["layers"])) or {find_network(str(values["network"])).default_layer: 1.0}


def context_share(values: Mapping[str, Value]) -> float:
    """The share of what a layer sees that windows show, 0 to 1."""
    return 0.5 if values["context"] == "fast" else 1.0


def context_pixels(values: Mapping[str, Value]) -> int:
    """How many pixels around a region a job with these validated parameters looks at, at the picture's own size.

    A client may send this much around the region instead of the whole picture, and gets the same dream to the
    bit. At the coarsest octave a layer sees furthest; jitter and the network's grid, which windows are snapped
    to, come on top.
    """
    layers = [find_network(str(values["network"])).layers[name] for name in layer_weights(values)]
    sees = max(max(layer.before, layer.after) for layer in layers) * context_share(values)
    grid = math.lcm(*(layer.stride for layer in layers))
    scale = float(values["octave_scale"]) ** (int(values["octaves"]) - 1)
    return math.ceil((sees + 2 * grid + int(values["jitter"])) * scale)


_RANGE = re.compile(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?")


def parse_channels(text: str) -> tuple[int, ...]:
    """`"3,17,40-42"` -> `(3, 17, 40, 41, 42)`, ascending and each once; empty text -> `()`, all channels."""
    spans = []
    for part in text.split(",") if text.strip() else ():
        match = _RANGE.fullmatch(part)
        first = int(match[1]) if match else 1
        last = int(match[2] or match[1]) if match else 0
        if last < first:
            raise DreamError(
                "bad_params", f"channels is {text!r:.80}, but must be numbers and ranges such as 3,17,40-47."
            )
        spans.append((first, last))
    channels: list[int] = []
    for first, last in sorted(spans):
        channels += range(max(first, channels[-1] + 1) if channels else first, last + 1)
    return tuple(channels)


def markdown(kind: str) -> str:
    """The parameters of a kind of job as a Markdown table for the docs."""
    lines = ["| parameter | default | range | meaning |", "|---|---|---|---|"]
    for name in find_job(kind).params:
        row = PARAMS[name]
        default = f"`{row.default}`" if row.default != "" else "(empty)"
        meaning = row.help
        if row.choices is not None:
            meaning += " " + "; ".join(f"`{choice}`: {text}" for choice, text in row.choices.items()) + "."
        lines.append(f"| `{name}` | {default} | {row.range.replace('|', chr(92) + '|')} | {meaning} |")
    return "\n".join(lines) + "\n"

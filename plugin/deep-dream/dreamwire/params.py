"""PARAMS: every parameter of every job, declared once.

The wire's validation, the command's flags, GIMP's arguments and dialog, and the tables of the docs are
all made from the rows below. To add a parameter, add a row and name it in `JOBS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from .errors import DreamError
from .networks import CLASSES, Layer, Network, find_network, networks
from .texts import LONGEST, Ranked, format_classes, format_weights, parse_channels, parse_classes, parse_layers
from .words import nearest

Kind = Literal["int", "float", "choice", "network", "layers", "channels", "classes"]
Value = int | float | str
#: What a job looks at besides its region: all that its layers see, what is shown of the region's surroundings when
#: it is classified, or nothing.
Sees = Literal["field", "surroundings", "nothing"]
#: What comes of a job: the picture with the region changed; a gray map, black outside the region; or nothing but
#: what its report tells.
Gives = Literal["picture", "map", "report"]
#: How much is shown around a region that is classified, in pixels at the size at which the network sees it.
SURROUNDINGS = 56
#: The weight of the network's default layer in a dream when classes are named but no layer. Scores alone, from the
#: network's end, ask for noise that hardly holds together; the middle of the network gives it eyes, fur and walls.
BESIDE_CLASSES = 0.25
#: The layers of a network, and their weights, that are meant when none is named; with classes named, or without.
Unnamed = Callable[[Network, bool], Mapping[str, float]]


def default_layer(network: Network, classes: bool) -> Mapping[str, float]:
    """The network's default layer, or a little of it beside classes."""
    return {network.default_layer: BESIDE_CLASSES if classes else 1.0}


def no_layer_beside_classes(network: Network, classes: bool) -> Mapping[str, float]:
    """The network's default layer unless there are classes."""
    return {} if classes else default_layer(network, classes)


def detail_layer(network: Network, _classes: bool) -> Mapping[str, float]:
    """The layer that draws fine detail."""
    return {network.detail_layer: 1.0}


@dataclass(frozen=True)
class Param:
    """One parameter: what may be given for it, and how a person is told about it.

    Numbers lie in `minimum..maximum` (inclusive, in `unit`), seldom above `usual`, where sliders end; a `choice`
    is one of `choices` (value -> help); `network` is a name of `NETWORKS`, other kinds are texts of `texts.py`.
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
            "channels": "numbers and ranges such as 3,17,40-47, or as in strongest 5, or empty for all",
            "classes": "names with weights, joined by +, as `deepdream classes` finds them, or empty",
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
        if self.kind in _TEXTS and value != self.default:
            _TEXTS[self.kind](value)
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


_TEXTS: Mapping[str, Callable[[str], object]] = {
    "network": find_network,
    "layers": parse_layers,
    "channels": parse_channels,
    "classes": parse_classes,
}


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
        " strokes and textures, high ones animals and things. Empty: the network's default layer, a quarter of it"
        " beside classes.",
    ),
    Param(
        "channels", "channels", "", "Channels",
        "Only these feature maps of every layer named, as in `3,17,40-47`, or those that the region excites most"
        " at the start, as in `strongest 5` (or `weakest`, or `average`). Empty: all of them.",
        advanced=True,
    ),
    Param(
        "classes", "classes", "", "Classes",
        "What to see in the region: classes with weights, as in `tabby+lemon*0.5`. A negative weight makes the"
        " network see less of something. They add to the layers.",
    ),
    Param(
        "guide_match", "choice", "similar", "Match the guide",
        "How the layers become like those of a guide, if one is given.",
        choices={
            "similar": "each place like the place of the guide that it is most like",
            "statistics": "all of it with as much of each channel as the guide has",
        },
        advanced=True,
    ),
    Param(
        "guide_weight", "float", 1.0, "Guide's weight",
        "How much of what the layers enhance comes from the guide, if one is given: 0 is none of it, 1 all.",
        minimum=0.0, maximum=1.0, advanced=True,
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
        "quality", "choice", "normal", "Quality",
        "What time is spent on: fewer and larger steps are quicker, more and smaller ones softer.",
        choices={
            "draft": "a third of the time: grainy, with similar forms",
            "normal": "as many steps as are asked for",
            "fine": "twice the time: soft fur, gentle colours",
        },
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
            "auto": "bfloat16 where it is the quicker, else float32",
            "float32": "exact to 1e-4",
            "bfloat16": "half the time where the device has it, and a picture as good",
        },
        advanced=True,
    ),
    Param(
        "context", "choice", "exact", "Context",
        "How many of the real pixels around the region the network sees.",
        choices={
            "exact": "all that a layer can see",
            "fast": "what matters most of it: quicker on small regions, slightly different at their edge",
        },
        advanced=True,
    ),
    Param(
        "window", "int", 0, "Window",
        "The side of the largest piece shown to the network at once: less takes less memory, more is quicker."
        " 0 chooses for the device.",
        minimum=0, maximum=8192, unit="px", advanced=True,
    ),
    Param(
        "scale", "float", 2.0, "Scale",
        "How many times as large the picture becomes each way, to the nearest simple fraction.",
        minimum=1.1, maximum=8.0, unit="x", usual=4.0,
    ),
    Param(
        "top", "int", 5, "Top",
        "How many classes to name, the most probable first.",
        minimum=1, maximum=100, usual=10,
    ),
    Param(
        "method", "choice", "cam", "Method",
        "How to find where the network sees it.",
        choices={
            "cam": "where the class has a score above 0 (class-activation map): soft, best to select by",
            "smooth": "which parts matter, in noisy copies (SmoothGrad): finer, with some speckle",
            "gradient": "which pixels matter (Simonyan's gradient): quick, and grainy",
        },
    ),
    Param(
        "samples", "int", 16, "Samples",
        "How many maps the result is the mean of: of noisy copies for `smooth`, of slides of the network's grid"
        " for `cam`. More are smoother and take longer; `gradient` has one.",
        minimum=1, maximum=400, advanced=True, usual=64,
    ),
    Param(
        "epsilon", "int", 8, "Epsilon",
        "How much any value may change at most, where white is 255; where the mask is soft, as much less.",
        minimum=1, maximum=255, unit="/ 255", usual=32,
    ),
    Param(
        "confidence", "float", 0.5, "Confidence",
        "How probable the class asked for has to become; with 0 it need only be the most probable one.",
        minimum=0.0, maximum=0.999,
    ),
    Param(
        "against", "network", "", "Against",
        "Another network, which is asked whether the result fools it too. Empty: the smallest other"
        " EfficientNet-Lite that is here, if there is one.",
        advanced=True,
    ),
    Param(
        "show", "choice", "picture", "Show",
        "What the result shows.",
        choices={
            "picture": "the changed picture, which looks as before",
            "difference": "what was changed, magnified, around middle gray",
        },
    ),
    Param(
        "smoothness", "float", 1.0, "Smoothness",
        "How much smooth surfaces are preferred to rough ones that the layer cannot tell from them.",
        minimum=0.0, maximum=100.0, advanced=True, usual=10.0,
    ),
    Param(
        "zoom", "float", 1.05, "Zoom",
        "How much larger the region's picture becomes with each frame, about the region's centre.",
        minimum=1.0, maximum=2.0, unit="x", usual=1.2,
    ),
    Param(
        "rotation", "float", 0.0, "Rotation",
        "How far the region's picture turns with each frame, clockwise.",
        minimum=-45.0, maximum=45.0, unit="degrees", usual=5.0,
    ),
    Param(
        "thing_size", "float", 1.0, "Size of things",
        "How large things become: with 1 the region is one picture as the network knows them, with 0.5 as large as"
        " four, of things half as large.",
        minimum=0.25, maximum=2.0, unit="x",
    ),
    Param(
        "robustness", "float", 1.0, "Robustness",
        "How much the picture is slid, turned and scaled before each step: less makes finer patterns that tell"
        " people little, more makes larger forms.",
        minimum=0.0, maximum=2.0, advanced=True,
    ),
    Param(
        "contrast", "float", 1.0, "Contrast",
        "How strong light, shade and colours become.",
        minimum=0.1, maximum=4.0, unit="x", usual=2.0,
    ),
    Param(
        "encoding", "choice", "cppn", "Encoding",
        "What the picture is made of.",
        choices={
            "cppn": "a small network from place to colour (CPPN): regular patterns, as in prints",
            "direct": "every pixel by itself: noise, as of a screen without a station",
        },
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """Pixels that a job takes: an `image` of 1 to 4 channels or a `mask` of one."""

    name: str
    help: str
    required: bool = True


@dataclass(frozen=True)
class Words:
    """What a job does, as people are told while it does it and when it is done."""

    doing: str
    done: str


@dataclass(frozen=True)
class Job:
    """One kind of job: its parameters, which are rows of PARAMS with the job's own defaults, and its pixels.

    `sees` is how much around its region it looks at, as `context_pixels` has it; `gives` what comes of it. `check`
    refuses values that do not go together. `unnamed` has the layers where none is named. A job without
    `needs_picture` fills its region from nothing.
    """

    kind: str
    label: str
    words: Words
    help: str
    params: Mapping[str, Param]
    inputs: tuple[Input, ...]
    sees: Sees
    gives: Gives = "picture"
    check: Callable[[Mapping[str, Value]], None] = lambda values: None
    unnamed: Unnamed = default_layer
    needs_picture: bool = True


IMAGE = Input("image", "the picture: gray, RGB, or either with alpha, R'G'B' as sRGB encodes it")
MASK = Input("mask", "the region: 0 is left alone, 1 dreamt in full; the whole picture if absent", required=False)
GUIDE = Input("guide", "another picture, which the dream becomes like: no side below 32 pixels", required=False)
#: Pixels of the shorter side of the smallest guide, and how many times as long the longer one may be.
LEAST_GUIDE, LONGEST_GUIDE = 32, 16


def rows(names: str, **defaults: Value) -> dict[str, Param]:
    """Rows of PARAMS by their names, some with defaults of their own."""
    found = {name: PARAMS[name] for name in names.split()}
    return found | {name: replace(found[name], default=value) for name, value in defaults.items()}


def _job(
    kind: str,
    label: str,
    words: Words,
    help: str,
    names: str,
    inputs: tuple[Input, ...] = (IMAGE, MASK),
    sees: Sees = "field",
    gives: Gives = "picture",
    check: Callable[[Mapping[str, Value]], None] = lambda values: None,
    helps: Mapping[str, str] | None = None,
    unnamed: Unnamed = default_layer,
    needs_picture: bool = True,
    **defaults: Value,
) -> tuple[str, Job]:
    """A row of JOBS: `names` are those of its parameters, `defaults` and `helps` what is its own."""
    params = rows(names, **defaults)
    params |= {name: replace(params[name], help=text) for name, text in (helps or {}).items()}
    return kind, Job(kind, label, words, help, params, inputs, sees, gives, check, unnamed, needs_picture)


def _check_attack(values: Mapping[str, Value]) -> None:
    """Refuses all but one class, and a network that is asked twice."""
    weights = class_weights(values)
    if len(weights) != 1 or min(weights.values()) < 0:
        raise DreamError(
            "bad_params",
            f"classes is {values['classes']!r:.60}, but must be the one class that the network shall see, such as"
            " espresso. `deepdream classes WORD` searches them.",
        )
    if values["against"] == values["network"]:
        raise DreamError(
            "bad_params", f"against is {values['against']}, which is the network itself; name another."
        )


def _check_rebuilt(values: Mapping[str, Value]) -> None:
    """Refuses to rebuild what a layer is to know nothing of."""
    if min(layer_weights("invert", values).values()) < 0:
        raise DreamError(
            "bad_params", f"layers is {values['layers']!r:.60}, but what is rebuilt from has weights above 0."
        )


def _check_visualisation(values: Mapping[str, Value]) -> None:
    """Refuses channels to be chosen by what the region excites: it is not looked at."""
    if isinstance(parse_channels(str(values["channels"])), Ranked):
        raise DreamError(
            "bad_params",
            f"channels is {values['channels']!r:.60}, but nothing is looked at that could excite some more than"
            " others. Name them by their numbers, such as 3,17,40-47.",
        )


JOBS: Mapping[str, Job] = dict((
    _job(
        "dream", "Deep Dream", Words("Dreaming", "Dreamt"),
        "Let the network enhance what it sees in the region.",
        "network layers classes channels guide_match guide_weight strength quality octaves octave_scale steps"
        " step_size jitter smoothing levels colour seed edge precision context window",
        (IMAGE, MASK, GUIDE),
    ),
    _job(
        "enlarge", "Enlarge", Words("Enlarging", "Enlarged"),
        "Enlarge the picture and let the network dream the detail that it lacks, in the region.",
        "network scale layers channels classes quality octaves octave_scale steps step_size jitter smoothing"
        " levels colour seed strength edge precision context window",
        # So few octaves and so small steps that forms stay, and skin and stone get their grain.
        octaves=1, steps=8, step_size=0.004, jitter=16, levels=3, colour=0.2,
        unnamed=detail_layer,
        helps={
            "layers": "What draws the detail: layers of the network with weights, as in `blocks.1+blocks.10*0.5`."
            " Low layers sharpen and draw strokes, higher ones fur and leaves, and eyes. Empty: the deepest layer"
            " that sees no more than strokes, unless classes are named.",
            "strength": "How much detail is added: 0 is plain Lanczos, 1 all of it, above 1 exaggerates.",
        },
    ),
    _job(
        "classify", "What Does It See?", Words("Looking", "Looked at"),
        "Tell what the network sees in the region.",
        "network top precision window",
        sees="surroundings", gives="report", precision="float32",
    ),
    _job(
        "saliency", "Saliency", Words("Looking", "Mapped"),
        "Show where the network sees it: a gray map of the region, white where most speaks for a class.",
        "network classes method samples seed precision window",
        sees="surroundings", gives="map", precision="float32",
        helps={
            "classes": "What to look for: classes with weights, as in `tabby+lemon*0.5`. Empty: what the network"
            " sees most.",
            "seed": "The same seed gives the same noise.",
        },
    ),
    _job(
        "adversarial", "Adversarial", Words("Searching", "Changed"),
        "Make the network take the region for something else, by the smallest change that does.",
        "network classes epsilon confidence steps against show precision window",
        sees="surroundings", check=_check_attack, precision="float32", steps=60,
        helps={
            "classes": "What the network shall see in the region: one class.",
            "steps": "Steps of the search. More steps find smaller changes and take longer.",
        },
    ),
    _job(
        "invert", "Rebuild", Words("Rebuilding", "Rebuilt"),
        "Rebuild the region, from noise, from what a layer of the network knows of it.",
        "network layers channels steps step_size smoothness colour seed edge precision context window",
        check=_check_rebuilt, precision="float32", steps=120, step_size=0.07, colour=0.4,
        helps={
            "layers": "What to rebuild from: layers of the network with weights, as in `blocks.8*0.5+blocks.10`."
            " Low layers know the picture, deep ones what it is of. Empty: the network's default layer.",
            "steps": "Steps of momentum. More steps come closer and take longer.",
            "step_size": "How far the first step changes the pixels on average (root mean square), where black is"
            " 0 and white is 1; later ones become smaller.",
            "colour": "How freely colours may appear, which deep layers hardly know: 0 rebuilds light and shade.",
            "seed": "The same seed gives the same noise to begin with.",
        },
    ),
    _job(
        "zoom", "Zoom", Words("Zooming", "Zoomed"),
        "Make the next frame of a sequence: the region enlarged a little about its centre, and dreamt.",
        "network zoom rotation layers channels classes quality octaves octave_scale steps step_size jitter"
        " smoothing levels colour seed strength edge precision context window",
        helps={"seed": "The same seed gives the same sequence; frames have seeds of their own that follow on it."},
        octaves=4, steps=3, step_size=0.006, colour=0.3,
    ),
    _job(
        "visualise", "Visualise", Words("Visualising", "Visualised"),
        "Fill the region with the network's own idea of a class, a layer or its channels.",
        "network classes layers channels thing_size steps contrast colour robustness seed edge precision window",
        sees="nothing", check=_check_visualisation, unnamed=no_layer_beside_classes, needs_picture=False,
        steps=200, colour=0.75,
        helps={
            "classes": "What to show: classes with weights, as in `dalmatian` or `lemon+tabby*0.5`; `deepdream"
            " classes` finds them. They add to the layers, if some are named.",
            "layers": "Layers of the network to show, with weights, as in `blocks.8*0.5+blocks.10`. Empty: the"
            " network's default layer, unless classes are named.",
            "channels": "Only these feature maps of every layer named, as in `3,17,40-47`. Empty: all of them.",
            "steps": "Steps of gradient ascent. More steps make clearer forms and take longer.",
            "colour": "How colourful it becomes: 0 is gray, 0.5 as photographs are, 1 gaudy.",
            "seed": "The same seed and settings give the same picture.",
        },
    ),
    _job(
        "fool", "Fool", Words("Fooling", "Made"),
        "Fill the region with what is nothing to people, but one thing to the network beyond doubt.",
        "network classes encoding confidence steps against seed edge precision window",
        sees="surroundings", check=_check_attack, needs_picture=False, precision="float32", steps=500,
        confidence=0.995,
        helps={
            "classes": "What the network shall see in the region: one class.",
            "confidence": "How probable the class has to become.",
            "steps": "Steps of gradient ascent at most; the first picture that is good enough is the result.",
            "seed": "The same seed and settings give the same picture.",
        },
    ),
))  # fmt: skip

#: What may be set for a catalogue: rows of a dream's parameters, quick for small pictures.
CATALOGUE: Mapping[str, Param] = rows(
    "network octaves octave_scale steps step_size jitter smoothing levels colour seed strength precision",
    octaves=2, jitter=8,
)  # fmt: skip
#: The same for each kind of job that there are catalogues of.
CATALOGUES: Mapping[str, Mapping[str, Param]] = {
    "dream": CATALOGUE,
    "invert": {
        name: JOBS["invert"].params[name]
        for name in ("network", "steps", "step_size", "smoothness", "colour", "seed", "precision")
    },
}
#: How many frames a sequence of zooms has. They are counted by whoever asks for them, not by a job.
FRAMES = Param(
    "frames", "int", 60, "Frames",
    "How many frames in all, the picture as it is among them.",
    minimum=2, maximum=9999, usual=120,
)  # fmt: skip
#: How many channels of a layer a catalogue shows unless others are asked for.
MOST_CHANNELS = 32


def find_job(kind: str) -> Job:
    """The row of a kind of job, or a `DreamError` bad_params."""
    if kind not in JOBS:
        raise DreamError("bad_params", f"There is no job called {kind!r:.60}; there is {', '.join(JOBS)}.")
    return JOBS[kind]


def defaults(kind: str) -> dict[str, Value]:
    """Every parameter of a kind of job at its default."""
    return {name: row.default for name, row in find_job(kind).params.items()}


def validate(kind: str, given: Mapping[str, object]) -> dict[str, Value]:
    """All parameters of a job: those given, checked, and the defaults of the rest.

    Layers and channels are checked against the network too, so that what comes back can be run as it is.
    Raises `DreamError` unknown_network or bad_params with the range in its message.
    """
    params = find_job(kind).params
    for name in given:
        if name not in params:
            raise DreamError("bad_params", f"There is no parameter {name!r:.60}{nearest(str(name), params)}")
    values = defaults(kind) | {name: params[name].check(value) for name, value in given.items()}
    if "layers" in values:
        _check_layers(kind, values)
    if class_weights(values) or find_job(kind).sees == "surroundings":
        _check_classifier(values)
    find_job(kind).check(values)
    return values


def _check_classifier(values: Mapping[str, Value]) -> None:
    for name in filter(None, (values["network"], values.get("against"))):
        if CLASSES not in find_network(str(name)).layers:
            raise DreamError(
                "bad_params",
                f"{name} tells no classes apart, so it cannot be asked for any. Choose another network.",
            )


def _check_layers(kind: str, values: Mapping[str, Value]) -> None:
    network = find_network(str(values["network"]))
    chosen = parse_channels(str(values.get("channels", "")))
    most = chosen.count if isinstance(chosen, Ranked) else chosen[-1] + 1 if chosen else 0
    for name in layer_weights(kind, values):
        layer = network.layers.get(name)
        if layer is None:
            raise DreamError(
                "bad_params",
                f"{network.name} has no layer {name!r:.60}{nearest(name, network.layers)}"
                f" `deepdream layers {network.name}` lists them.",
            )
        if most > layer.channels:
            asked, has = f"go up to {most - 1}", f"0 to {layer.channels - 1}"
            if isinstance(chosen, Ranked):
                asked, has = f"shall be the {chosen.order} {most}", f"{layer.channels}"
            raise DreamError("bad_params", f"channels {asked}, but {name} of {network.name} has {has}.")


def class_weights(values: Mapping[str, Value]) -> dict[int, float]:
    """The classes of validated parameters and their weights."""
    return parse_classes(str(values.get("classes", "")))


def layer_weights(kind: str, values: Mapping[str, Value]) -> dict[str, float]:
    """The layers of a job's validated parameters and their weights; none if the job takes no layers.

    If none is named, those that the job has for that case.
    """
    named = parse_layers(str(values.get("layers", "")))
    if named or "layers" not in values:
        return named
    return dict(find_job(kind).unnamed(find_network(str(values["network"])), bool(class_weights(values))))


def what(kind: str, values: Mapping[str, Value]) -> str:
    """What a job's validated parameters look for, in short: classes and layers."""
    wanted = format_classes(class_weights(values)), format_weights(layer_weights(kind, values))
    return "+".join(filter(None, wanted))


def seen_layers(kind: str, values: Mapping[str, Value]) -> list[Layer]:
    """What sees the region in a job with these validated parameters."""
    network = find_network(str(values["network"]))
    names = [*layer_weights(kind, values), *([CLASSES] if class_weights(values) else [])]
    return [network.layers[name] for name in names]


def enlargement(values: Mapping[str, Value]) -> Fraction:
    """How many times as large the picture of a job with these validated parameters becomes each way."""
    return Fraction(values.get("scale", 1)).limit_denominator(100)


def result_size(values: Mapping[str, Value], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the picture that results from one of `size`: what is whole of its pixels."""
    scale = enlargement(values)
    return int(size[0] * scale), int(size[1] * scale)


def work(values: Mapping[str, Value], pixels: int) -> int:
    """What a job with these validated parameters costs on so many pixels: steps x octaves x pixels.

    Of maps that are the mean of several, each counts as a step.
    """
    return int(values.get("steps", values.get("samples", 1))) * int(values.get("octaves", 1)) * pixels


#: What a layer sees matters less the farther away it is (Luo and others, "Understanding the Effective Receptive
#: Field", 2016). Of so much of it the gradient of a region of 346x346 has a cosine of 0.998 with the exact one; of
#: half 0.9997, of a quarter 0.984.
FAST = 0.4


def context_share(values: Mapping[str, Value]) -> float:
    """The share of what a layer sees that windows show, 0 to 1."""
    return FAST if values.get("context") == "fast" else 1.0


def context_pixels(kind: str, values: Mapping[str, Value]) -> int:
    """How many pixels around a region a dream with these validated parameters looks at, at the size dreamt at.

    At the coarsest octave a layer sees furthest; jitter and the network's grid, which windows are snapped to, come
    on top.
    """
    layers = seen_layers(kind, values)
    sees = max(max(layer.before, layer.after) for layer in layers) * context_share(values)
    grid = math.lcm(*(layer.stride for layer in layers))
    scale = float(values.get("octave_scale", 1.0)) ** (int(values.get("octaves", 1)) - 1)
    return math.ceil((sees + 2 * grid + int(values.get("jitter", 0))) * scale)


def surroundings(values: Mapping[str, Value], height: int, width: int) -> int:
    """The same when a region of this size is classified: shown as large as what the network was trained on."""
    # Of a second network nothing may be known yet; the smaller a region is shown, the more is seen around it.
    asked = networks().values() if "against" in values else [find_network(str(values["network"]))]
    scale = min(network.classes_at for network in asked) / math.sqrt(height * width)
    return math.ceil((SURROUNDINGS + 2) / scale)


def markdown(kind: str) -> str:
    """The parameters of a kind of job as a Markdown table for the docs."""
    lines = ["| parameter | default | range | meaning |", "|---|---|---|---|"]
    for name, row in find_job(kind).params.items():
        default = f"`{row.default}`" if row.default != "" else "(empty)"
        meaning = row.help
        if row.choices is not None:
            meaning += " " + "; ".join(f"`{choice}`: {text}" for choice, text in row.choices.items()) + "."
        lines.append(f"| `{name}` | {default} | {row.range.replace('|', chr(92) + '|')} | {meaning} |")
    return "\n".join(lines) + "\n"

"""What is remembered: the settings last used, in the user's configuration, and those of a dream, in its layer.

Knows neither GIMP nor GTK.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dreamwire import __version__, paths
from dreamwire.errors import DreamError
from dreamwire.networks import find_network
from dreamwire.params import FRAMES, PARAMS, Value, defaults, enlargement, find_job, validate, what
from dreamwire.presets import Preset, parse_preset, preset_of
from dreamwire.transport import parse_endpoint

#: What plain data from a file can be other than it should: no JSON, nested without end, of other kinds.
MALFORMED = (ValueError, RecursionError, KeyError, TypeError, AttributeError)
#: The name of the parasite that a dreamt layer carries.
PARASITE = "deep-dream"
#: The file with the settings last used.
LAST = "gimp.json"
#: The file with the endpoint of the daemon that GIMP uses, where it is not the user's own on this computer.
ELSEWHERE = "gimp-daemon"
#: How a region's soft edge is kept: as a layer mask, which stays editable, or in the layer's alpha.
MASKS: Mapping[str, str] = {"layer-mask": "As an editable layer mask", "alpha": "In the layer's transparency"}


def argument(name: str) -> str:
    """The name of a parameter as GIMP writes names."""
    return name.replace("_", "-")


def shown(kind: str) -> tuple[str, ...]:
    """The parameters of a job that GIMP shows; the edge follows from how the mask is kept."""
    return tuple(name for name in find_job(kind).params if name != "edge")


def is_sequence(kind: str) -> bool:
    """Whether a job of this kind makes the next of several frames."""
    return kind == "zoom"


def keeps_mask(kind: str) -> bool:
    """Whether a result of this kind lies over what it came from and may keep the selection in its alpha."""
    params = find_job(kind).params
    return "edge" in params and "scale" not in params


@dataclass(frozen=True)
class Settings:
    """What to do: parameters of a kind of job by name, all of them, and how the mask is kept.

    `frames` is how long a sequence is made, if it is one.
    """

    params: Mapping[str, Value]
    mask: str = "layer-mask"
    kind: str = "dream"
    frames: int = int(FRAMES.default)

    @classmethod
    def of(
        cls,
        given: Mapping[str, Any],
        mask: str = "layer-mask",
        kind: str = "dream",
        frames: int = int(FRAMES.default),
    ) -> Settings:
        """From some parameters; raises `DreamError` as `validate` does."""
        params = {name: value for name, value in given.items() if name in shown(kind)}
        return cls(validate(kind, params), mask, kind, int(FRAMES.check(frames)))

    @classmethod
    def usual(cls, kind: str) -> Settings:
        """Everything at its default, which for some kinds is not enough to go on: a dialog asks for the rest."""
        return cls(defaults(kind), kind=kind)

    @property
    def sent(self) -> dict[str, Value]:
        """The parameters as they go to the daemon: GIMP lays a layer mask over the dream itself."""
        edge = {"edge": "full" if self.mask == "layer-mask" else "alpha"}
        return dict(self.params) | (edge if keeps_mask(self.kind) else {})

    @property
    def preset(self) -> str:
        """The preset that these settings are, whatever their seed and precision, or nothing."""
        found = preset_of(self.kind, self.params, PERSONAL)
        return found.name if found else ""

    def as_preset(self, label: str) -> Preset:
        """These settings as a preset of the user's own; raises `DreamError` for a label that is none."""
        usual = defaults(self.kind)
        changed = {name: value for name, value in self.params.items() if value != usual[name]}
        params = {name: value for name, value in changed.items() if name not in PERSONAL}
        return parse_preset(Preset("", label.replace("=", " "), "", params, self.kind).line)

    @property
    def title(self) -> str:
        """What the result is called: by its preset or layers or classes, and a network that is not the usual."""
        name = str(self.params["network"])
        label = find_job(self.kind).label
        found = preset_of(self.kind, self.params, PERSONAL)
        looked = found.label if found else what(self.kind, self.params)
        network = "" if name == PARAMS["network"].default else f" ({find_network(name).label})"
        return f"{label}: {looked}{network}" if looked else f"{label}{network}"

    @property
    def scale(self) -> Fraction:
        """How many times as large as the region its result is each way."""
        return enlargement(self.params)


#: What a preset leaves as the user has it.
PERSONAL = ("seed", "quality", "precision", "context", "window", "edge", "strength")


@dataclass(frozen=True)
class Origin:
    """What a dreamt layer knows about itself: its settings, the weights' hash, and the tattoo of its source."""

    settings: Settings
    source: int = 0
    weights: str = ""

    def write(self) -> bytes:
        """As the bytes of a parasite."""
        plain = {
            "version": 1,
            "program": __version__,
            "kind": self.settings.kind,
            "params": dict(self.settings.params),
            "mask": self.settings.mask,
            "frames": self.settings.frames,
            "weights_sha256": self.weights,
            "source": self.source,
        }
        return json.dumps(plain).encode()

    @classmethod
    def read(cls, data: bytes) -> Origin:
        """From a parasite's bytes; raises `DreamError` bad_params for what this version cannot read."""
        try:
            plain = json.loads(data)
            frames = plain.get("frames", FRAMES.default)
            settings = Settings.of(plain["params"], plain["mask"], plain["kind"], frames)
            source = plain["source"]
            if settings.mask not in MASKS or not isinstance(source, int) or not 0 <= source < 2**32:
                raise ValueError
            return cls(settings, source, str(plain["weights_sha256"]))
        except MALFORMED as error:
            raise DreamError(
                "bad_params", "The layer's settings cannot be read: they are damaged, or of a later version."
            ) from error


def remember(settings: Settings) -> None:
    """Keeps settings for Dream Again and the next dialog. That they cannot be kept is no reason not to dream."""
    folder = paths.config_dir()
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        last = {"params": dict(settings.params), "mask": settings.mask, "frames": settings.frames}
        plain = _kept() | {settings.kind: last}
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            json.dump(plain, file, indent=1)
        Path(file.name).replace(folder / LAST)


def remembered(kind: str = "dream") -> Settings | None:
    """The settings last used for a kind of job; None if there are none that this version understands."""
    try:
        plain = _kept()[kind]
        mask = plain["mask"] if plain["mask"] in MASKS else "layer-mask"
        return Settings.of(plain["params"], mask, kind, plain.get("frames", FRAMES.default))
    except (DreamError, *MALFORMED):
        return None


def chosen_endpoint() -> str | None:
    """The daemon that GIMP is to use; None for the user's own. `DEEPDREAM_ENDPOINT` overrides it."""
    if os.environ.get("DEEPDREAM_ENDPOINT"):
        return None
    with contextlib.suppress(OSError, ValueError):
        return (paths.config_dir() / ELSEWHERE).read_text(encoding="utf-8").strip() or None
    return None


def choose_endpoint(endpoint: str) -> None:
    """Has GIMP use the daemon at `tcp://HOST:PORT`; the user's own for nothing. Raises `ValueError`, `OSError`."""
    if endpoint:
        parse_endpoint(endpoint)
    folder = paths.config_dir()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
        file.write(endpoint)
    Path(file.name).replace(folder / ELSEWHERE)


def _kept() -> dict[str, Any]:
    """What the file holds, by kinds of job; nothing if it cannot be read."""
    try:
        plain = json.loads((paths.config_dir() / LAST).read_text())
    except (OSError, *MALFORMED):
        return {}
    return plain if isinstance(plain, dict) else {}

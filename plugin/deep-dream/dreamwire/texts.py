"""The texts that some parameters are: layers and classes with weights, channels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .classes import class_name, find_class
from .errors import DreamError

#: Characters of a text; all of a job's parameters travel in one header, there and back.
LONGEST = 4000
#: How much less or more than 1 a weight may be; far beyond, the arithmetic of a dream breaks down.
WEIGHTS = 0.001, 1000.0
#: Terms of a sum.
MOST = 16

# Texts come from anybody: no two parts of a pattern that follow each other may take the same characters, or a text
# that fits nearly would be tried in every way there is.
_WEIGHT = r"\s*(?:\*\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*)?"
_LAYER = re.compile(r"\s*([A-Za-z_][\w.]*)" + _WEIGHT)
_CLASS = re.compile(r"\s*(\w(?:[\w.' -]*[\w.'-])?)" + _WEIGHT + r"(?=\+|$)")


def _sum(text: str, term: re.Pattern[str]) -> dict[str, float] | None:
    """The names and weights of a sum; None if the text is none."""
    weights: dict[str, float] = {}
    position = 0
    while match := term.match(text, position):
        name, weight = match[1], float(match[2] or 1)
        if name in weights or not WEIGHTS[0] <= abs(weight) <= WEIGHTS[1] or len(weights) == MOST:
            break
        weights[name] = weight
        if match.end() == len(text):
            return weights
        if text[match.end()] != "+":
            break
        position = match.end() + 1
    return None


def _no_sum(name: str, text: str, example: str) -> DreamError:
    return DreamError(
        "bad_params",
        f"{name} is {text!r:.80}, but must be at most {MOST} different {name}, such as {example}, with weights"
        f" from {WEIGHTS[0]:g} to {WEIGHTS[1]:g}, or negative ones.",
    )


def format_weights(weights: Mapping[str, float]) -> str:
    """A sum as text: the inverse of `parse_layers`."""
    return "+".join(name if weight == 1 else f"{name}*{weight:g}" for name, weight in weights.items())


def parse_layers(text: str) -> dict[str, float]:
    """`"blocks.8*0.5+blocks.10"` -> `{"blocks.8": 0.5, "blocks.10": 1.0}`; empty text -> `{}`.

    Weights lie in `WEIGHTS` or, to suppress a layer, in their negative. At most 16 layers, each once.
    """
    weights = _sum(text, _LAYER) if text.strip() else {}
    if weights is None:
        raise _no_sum("layers", text, "blocks.8*0.5+blocks.10")
    return weights


def parse_classes(text: str) -> dict[int, float]:
    """`"tabby+lemon*-0.5"` -> `{281: 1.0, 951: -0.5}`, classes by name or number; empty text -> `{}`.

    Weights are as in `parse_layers`. A name that is none is refused with those that are like it.
    """
    weights = _sum(text, _CLASS) if text.strip() else {}
    if weights is None:
        raise _no_sum("classes", text, "tabby+lemon*-0.5")
    numbers = {find_class(name): weight for name, weight in weights.items()}
    if len(numbers) < len(weights):
        raise _no_sum("classes", text, "tabby+lemon*-0.5")
    return numbers


def format_classes(weights: Mapping[int, float]) -> str:
    """The inverse of `parse_classes`."""
    return format_weights({class_name(number): weight for number, weight in weights.items()})


@dataclass(frozen=True)
class Ranked:
    """Channels by how strongly the region excites them at the start: the `order`, and how many."""

    order: str
    count: int


#: The orders of `Ranked`.
ORDERS = ("strongest", "weakest", "average")
_RANKED = re.compile(rf"\s*({'|'.join(ORDERS)})\s+(\d{{1,5}})\s*")
_RANGE = re.compile(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?")


def parse_channels(text: str) -> tuple[int, ...] | Ranked:
    """`"3,17,40-42"` -> `(3, 17, 40, 41, 42)`, ascending and each once; empty text -> `()`, all channels.

    `"strongest 5"` -> `Ranked("strongest", 5)`.
    """
    if (match := _RANKED.fullmatch(text)) and int(match[2]):
        return Ranked(match[1], int(match[2]))
    spans = []
    for part in text.split(",") if text.strip() else ():
        match = _RANGE.fullmatch(part)
        first = int(match[1]) if match else 1
        last = int(match[2] or match[1]) if match else 0
        if last < first:
            raise DreamError(
                "bad_params",
                f"channels is {text!r:.80}, but must be numbers and ranges such as 3,17,40-47, or how many of the"
                f" {', '.join(ORDERS[:-1])} or {ORDERS[-1]} ones, such as strongest 5.",
            )
        spans.append((first, last))
    channels: list[int] = []
    for first, last in sorted(spans):
        channels += range(max(first, channels[-1] + 1) if channels else first, last + 1)
    return tuple(channels)

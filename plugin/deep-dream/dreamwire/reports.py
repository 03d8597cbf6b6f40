"""What a job has reached, from the `info` of its result, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def told(info: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing that was to be reached."""
    lines = []
    for name, (before, after) in info.get("classes", {}).items():
        lines.append(f"To the network the region is {name} with {percent(after)}; before, with {percent(before)}.")
    if "seen" in info:
        lines.append(f"The network sees {_named(info['seen'])}.")
    if "looked_for" in info:
        lines.append(f"White is where the network sees {_named(info['looked_for'])}.")
    if "adversarial" in info:
        lines += _fooled(**info["adversarial"])
    for layer, error in info.get("rebuilt", {}).items():
        lines.append(f"From {layer} the region was rebuilt with a normalised error of {percent(error)}.")
    if "fool" in info:
        lines += _verdicts(**info["fool"])
    return lines


def given_up(info: Mapping[str, Any]) -> list[str]:
    """A sentence for each thing that was given up because memory was short."""
    return [f"Memory was short: {each}." for each in info.get("degraded", ())]


def _named(classes: Sequence[Mapping[str, Any]]) -> str:
    """Classes and how probable they are."""
    return ", ".join(f"{each['name']} with {percent(each['probability'])}" for each in classes)


def _fooled(
    target: str, largest: float, mean: float, rms: float, verdicts: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """By how much a region was changed to be taken for `target`, and whether it is."""
    yield from _verdicts(target, verdicts)
    yield (
        f"No value is changed by more than {largest:g}/255; on average by {mean:.2f}/255, as a root mean square by"
        f" {rms:.2f}/255."
    )


def _verdicts(target: str, verdicts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What networks made of a region before and after it was changed to be taken for `target`."""
    for each in verdicts:
        before, after = each["before"], each["after"]
        now = f"now it is {after['name']} with {percent(after['probability'])}"
        fooled = (
            "" if after["name"] == target else f", so it is not fooled: {target} has {percent(each['target'][1])}"
        )
        yield f"To {each['network']} the region was {_named([before])}; {now}{fooled}."


def percent(share: float) -> str:
    """A probability for a person, with as many digits as say something."""
    if share <= 0.0001:
        return "less than 0.01 %"
    if share >= 0.9999:
        return "more than 99.99 %"
    return f"{100 * share:.2f} %" if share < 0.01 or share > 0.99 else f"{100 * share:.1f} %"

"""The 1000 classes of ILSVRC (Russakovsky and others, 2015), which the networks were taught to tell apart.

`classes.txt` has their names from WordNet, a line each in the order of the networks' scores; the first name of a
line is the class's own, and no other class has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .errors import DreamError
from .words import nearest


@cache
def synonyms() -> tuple[tuple[str, ...], ...]:
    """The names of every class, its own first."""
    lines = Path(__file__).with_name("classes.txt").read_text(encoding="utf-8").splitlines()
    return tuple(tuple(name.strip() for name in line.split(",")) for line in lines)


def class_name(number: int) -> str:
    """What a class is called."""
    return synonyms()[number][0]


@cache
def _numbers() -> Mapping[str, tuple[int, ...]]:
    """The classes that each name stands for, in lower case."""
    found: dict[str, tuple[int, ...]] = {}
    for number, names in enumerate(synonyms()):
        for name in names:
            found[name.lower()] = (*found.get(name.lower(), ()), number)
    return found | {names[0].lower(): (number,) for number, names in enumerate(synonyms())}


def find_class(name: str) -> int:
    """The number of a class by one of its names, in any case, or by its number.

    Raises `DreamError` bad_params, which offers the nearest names.
    """
    wanted = " ".join(name.lower().split())
    if wanted.isdecimal() and int(wanted) < len(synonyms()):
        return int(wanted)
    numbers = _numbers().get(wanted, ())
    if len(numbers) == 1:
        return numbers[0]
    if numbers:
        meant = " or ".join(class_name(number) for number in numbers)
        raise DreamError("bad_params", f"{name!r} is the name of more than one class: say {meant}.")
    alike = [class_name(number) for number in search(wanted)[:5]]
    hint = f"; did you mean {', '.join(alike)}?" if alike else nearest(wanted, _numbers(), ".")
    raise DreamError(
        "bad_params", f"There is no class called {name!r:.60}{hint} `deepdream classes WORD` searches them."
    )


def search(words: str) -> list[int]:
    """The classes whose names have all these words in them, whole words before parts of words."""
    wanted = words.lower().split()
    hits = []
    for number, names in enumerate(synonyms()):
        text = ", ".join(names).lower()
        if wanted and all(word in text for word in wanted):
            whole = set(text.replace(",", " ").replace("-", " ").split())
            hits.append((not all(word in whole for word in wanted), number))
    return [number for _, number in sorted(hits)]

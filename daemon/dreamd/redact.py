"""Text that may leave this computer: without names of files and home folders, without keys.

Rather too much is taken out than too little. Of paths, those of programs and our own stay, by what they are for: a
line of a traceback still says where it is.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import dreamwire
from dreamwire import paths

#: Variables of the environment whose values are nobody's business, by parts of their names.
SECRET = re.compile(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
#: Shorter values are words rather than secrets.
SHORTEST = 8

#: Numbers as our tokens are, keys as services give them out, what stands where a password does.
_KEY = re.compile(
    r"\b(?:[0-9a-f]{32,}|(?:hf|gh[a-z]|github_pat|glpat|sk|pk|xox[a-z])[_-][\w-]{12,}|eyJ[\w-]{8,}\.[\w.-]+)"
    r"|(?<=://)[^\s/@]+(?=@)"
    r"|(?:(?<=token=)|(?<=key=)|(?<=password=)|(?<=secret=)|(?<=bearer )|(?<=basic ))[^\s&\"']+",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b(?:https?|ftp)://(?:[^\s/@]*@)?([^\s/\"'<>)]+)[^\s\"'<>)]*")
#: How the names of files end that people keep, by which one is known that stands by itself.
_ENDING = (
    r"\.(?:png|jpe?g|tiff?|webp|gif|bmp|avif|heic|jxl|xcf|psd|kra|ora|svg|pdf|mp4|webm|mov|mkv|dng|cr2|nef|raw)\b"
)
_QUOTED = re.compile(rf"([\"'])((?:(?!\1)[^\n])*?(?:[/\\]|{_ENDING})(?:(?!\1)[^\n])*)\1", re.IGNORECASE)
#: A path that is not in quotes may have spaces in it: it goes on to whatever looks like the last part of one.
_PATH = re.compile(
    rf"(?<![\w/\\.>-])(?<!tcp:)(?:~\w*|\b[a-z]:)?[/\\]+(?=[^\s/\\<])"
    rf"(?:[^\n<>]*[/\\])?[^\s<>,;:()`]*(?:[^\n<>]*?{_ENDING})?",
    re.IGNORECASE,
)
_NAME = re.compile(rf"[^\s\"'`/\\<>|:]+{_ENDING}", re.IGNORECASE)


def redact(text: str) -> str:
    """The text without names of files, home folders, keys and tokens."""
    for secret in _secrets():
        text = text.replace(secret, "<key>")
    text = _KEY.sub("<key>", text)
    text = _ADDRESS.sub(r"<address at \1>", text)
    for folder, name in _places():
        text = re.sub(rf"{re.escape(folder)}(?![\w-])", name, text)
    text = _QUOTED.sub(_unless_placed, text)
    text = _PATH.sub("<file>", text)
    return _NAME.sub("<file>", text)


def redacted(value: Any) -> Any:
    """Plain data with every text in it redacted, and without what is called like a secret."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            name: "<key>" if each and isinstance(each, str) and SECRET.search(name) else redacted(each)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redacted(each) for each in value]
    return value


def _unless_placed(match: re.Match[str]) -> str:
    quote, path = match[1], match[2]
    return match[0] if path.startswith("<") else f"{quote}<file>{quote}"


def _secrets() -> Iterator[str]:
    """What the environment of this process says that nobody else shall know."""
    found = (value for name, value in os.environ.items() if SECRET.search(name) and len(value) >= SHORTEST)
    yield from sorted(found, key=len, reverse=True)


@cache
def _places() -> list[tuple[str, str]]:
    """Paths in which no name is of the user's choice, and how each is told; the innermost come first.

    Folders that the user may have named are not among them, only what is ours inside.
    """
    data, logs = paths.data_dir(), paths.log_dir()
    known: list[tuple[str | Path, str]] = [
        (sys.prefix, "<python>"),
        (sys.base_prefix, "<python>"),
        (Path(dreamwire.__file__).parent, "<deepdream>/dreamwire"),
        (Path(__file__).parent, "<deepdream>/dreamd"),
        ("/pytorch", "<torch>"),  # as its programs name where they were made
        (paths.runtime_place() / paths.SOCKET, f"<runtime>/{paths.SOCKET}"),
        (paths.cache_dir() / "catalogue", "<cache>/catalogue"),
        *((data / part, f"<data>/{part}") for part in ("venv", "weights", "run", "install.log")),
        *((logs / part, f"<logs>/{part}") for part in ("daemon.log", "daemon.out")),
    ]
    found = {form: name for path, name in known for form in _forms(path)}
    return sorted(found.items(), key=lambda each: -len(each[0]))


def _forms(place: str | Path) -> Iterator[str]:
    """How a path may be written: as it is called, where links lead, and either as Python shows it on Windows."""
    for path in (Path(place), Path(os.path.realpath(place))):
        if len(path.parts) > 1:  # such as / itself, which is everywhere
            yield str(path)
            yield str(path).replace("\\", "\\\\")

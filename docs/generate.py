"""Writes the generated parts of the docs from the code: `.venv/bin/python docs/generate.py`.

They stand between `<!-- generated: NAME -->` and `<!-- end -->`, where NAME is one of `PARTS`. A test keeps them
current.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack

from dreamd.limits import ROWS, Limits, flag_of
from dreamwire import presets
from dreamwire.errors import CODES, DreamError
from dreamwire.messages import (
    MAX_DEPTH,
    MAX_FRAMES,
    MAX_HEADER,
    MESSAGES,
    Array,
    Done,
    Error,
    Hello,
    Message,
    Preview,
    Submit,
    encode,
)
from dreamwire.params import JOBS, markdown
from dreamwire.texts import LONGEST

DOCS = Path(__file__).resolve().parent
COMMAND = ".venv/bin/python docs/generate.py"
PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

RECORDS = (Array, Preview, Error)
JOB = "7f0c5a0e-1d2b-4c3d-8e4f-5a6b7c8d9e0f"
GRAY = Array("image", 0, "uint8", (2, 2, 1))
#: Messages whose bytes are shown: a dream of a gray picture of 2x2 pixels.
EXAMPLES: tuple[Message, ...] = (
    Hello(request=1, versions=(1,), client="example"),
    Submit(
        request=2, job=JOB, kind="dream", params={"octaves": 1, "steps": 1}, inputs=(GRAY,),
        frames=(b"\x00\x40\x80\xff",),
    ),
    Done(
        job=JOB, box=(0, 0, 2, 2), outputs=(GRAY,), params={"octaves": 1, "steps": 1}, info={"device": "cpu"},
        frames=(b"\x04\x3c\x85\xfa",),
    ),
)  # fmt: skip


def render(text: str) -> str:
    """A document with its generated parts made anew."""
    return PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]}\n\n{found[3]}", text)


def main() -> None:
    """Brings every document up to date."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if text != render(text):
            path.write_text(render(text), encoding="utf-8")
            print(f"{path.name} is new.")


# Tables


def table(head: str, rows: Iterable[Sequence[str]]) -> str:
    names = head.split(" | ")
    return "\n".join(f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), *rows))


def messages(sender: str) -> str:
    return "\n\n".join(_described(kind, f"`{name}`") for name, kind in MESSAGES.items() if kind.sender == sender)


def records() -> str:
    return "\n\n".join(_described(kind, f"{kind.__name__} (record)") for kind in RECORDS)


def _described(kind: type[Any], title: str) -> str:
    """Heading, meaning and fields of a message or record."""
    hints = typing.get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if "check" in field.metadata and field.name != "request"]
    rows = [_row(field, hints[field.name]) for field in fields]
    listed = table("field | value | default | meaning", rows) if rows else "No fields."
    return f"### {title}\n\n{inspect.getdoc(kind)}\n\n{listed}"


def _row(field: dataclasses.Field[Any], hint: Any) -> tuple[str, ...]:
    return f"`{field.name}`", value(hint, field.metadata["check"]), default(field), field.metadata["help"]


def value(hint: Any, check: Any) -> str:
    """What a field takes: the words in which it refuses anything else."""
    if isinstance(hint, types.UnionType):
        return f"{value(typing.get_args(hint)[0], check)}, or nil"
    if dataclasses.is_dataclass(hint):
        name = typing.cast(type[Any], hint).__name__
        return f"[{name}](#{name.lower()}-record)"
    if typing.get_origin(hint) is tuple:
        item, *more = typing.get_args(hint)
        length = 1 if more == [...] else 1 + len(more)
        each = value(item, lambda wrong, where: check([wrong] * length, where))
        return f"{_refusal(check)}, each {each}"
    return _refusal(check)


def _refusal(check: Any) -> str:
    try:
        check(..., "it")
    except DreamError as error:
        return error.message.partition(" must be ")[2].partition(", as in")[0].removesuffix(".")
    raise AssertionError("a field that takes anything")


def default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    return f"`{json.dumps(field.default)}`" if field.default is not None else "nil"


def codes() -> str:
    return table("code | what it says", ((f"`{code}`", meaning) for code, meaning in CODES.items()))


def limits() -> str:
    fixed = [
        ("bytes of a header", f"{MAX_HEADER}", "`limit`", "nothing"),
        ("frames of pixels in a message", f"{MAX_FRAMES}", "`bad_message`", "nothing"),
        ("depth of a header", f"{MAX_DEPTH}", "`bad_message`", "nothing"),
        ("characters of a text among the parameters", f"{LONGEST}", "`bad_params`", "nothing"),
        ("bytes of a frame", f"{Limits().frame}", "the connection ends without a word", "`--megapixels`"),
    ]
    changeable = [
        (row.metadata["what"], str(row.default), _beyond(row.metadata["beyond"]), f"`{flag_of(name)}`")
        for name, row in ROWS.items()
    ]
    return table("what | at most | beyond it | raised by", fixed + changeable)


def _beyond(what: str) -> str:
    return f"`{what}`" if what in CODES else what


# Bytes


def examples() -> str:
    return "\n\n".join(f"`{message.type}`:\n\n```\n{dump(message)}\n```" for message in EXAMPLES)


def dump(message: Message) -> str:
    """Every byte of a message, and what it is."""
    magic, header, *pixels = (bytes(frame) for frame in encode(message))
    lines = [f"frame 0, {len(magic)} bytes", *_hex(magic, json.dumps(magic.decode()))]
    lines += [f"frame 1, {len(header)} bytes"]
    lines += [line for part, text in _tokens(msgpack.unpackb(header)) for line in _hex(part, text)]
    for number, frame in enumerate(pixels):
        lines += [f"frame {number + 2}, {len(frame)} bytes", *_hex(frame, "pixels")]
    return "\n".join(lines)


def _hex(data: bytes, text: str) -> Iterator[str]:
    for start in range(0, len(data), 16):
        yield f"    {data[start : start + 16].hex(' '):<49}{text}".rstrip()
        text = ""


def _tokens(value: Any, key: str | None = None) -> Iterator[tuple[bytes, str]]:
    """A value's bytes piece by piece, with words for each; after its key if it has one."""
    packed = msgpack.packb(value)
    before, name = (b"", "") if key is None else (msgpack.packb(key), f"{json.dumps(key)}: ")
    if isinstance(value, dict) and value:
        words, inside = "a map", list(value.items())
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        words, inside = "a list", [(None, each) for each in value]
    else:
        yield before + packed, name + json.dumps(value)
        return
    parts = [part for key, each in inside for part in _tokens(each, key)]
    head = len(packed) - sum(len(part) for part, _ in parts)
    yield before + packed[:head], f"{name}{words} of {len(value)}"
    yield from ((part, f"  {text}") for part, text in parts)


PARTS: Mapping[str, str] = {
    **{f"parameters-{kind}": markdown(kind).rstrip() for kind in JOBS},
    "presets": presets.markdown("dream").rstrip(),
    "presets-visualise": presets.markdown("visualise").rstrip(),
    "client-messages": messages("client"),
    "daemon-messages": messages("daemon"),
    "records": records(),
    "codes": codes(),
    "limits": limits(),
    "bytes": examples(),
}

if __name__ == "__main__":
    main()

"""Malformed messages of every kind, each the same for the same number; and what must come of any message."""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack

from dreamwire.errors import DreamError
from dreamwire.messages import MAGIC, MAX_FRAMES, MESSAGES, Pull, Shutdown, Submit, decode, encode
from dreamwire.params import PARAMS, validate

#: Messages and pictures that programs for mutating them begin with: well-formed ones, and what was found by them.
CORPUS = Path(__file__).parents[1] / "faults" / "corpus"

Frames = list[bytes]


def joined(frames: Sequence[bytes]) -> bytes:
    """Frames as one piece of data: each after its length in two bytes."""
    return b"".join(len(frame).to_bytes(2, "big") + frame for frame in frames)


def split(data: bytes) -> Frames:
    """The frames in any piece of data; the last may be shorter than it says."""
    frames = []
    while data:
        end = 2 + int.from_bytes(data[:2], "big")
        frames.append(data[2:end])
        data = data[end:]
    return frames


def check_message(frames: Sequence[bytes]) -> str:
    """The type of a message that is understood, also when it is sent on, or the code by which it is refused.

    Whatever else comes of it is raised.
    """
    try:
        message = decode(frames)
        assert message == decode(encode(message))
        if isinstance(message, Submit):
            params = validate(message.kind, message.params)
            assert params == validate(message.kind, params)
    except DreamError as error:
        assert error.code in ("bad_message", "limit", "bad_params", "unknown_network"), error.code  # noqa: PT017
        return error.code
    return message.type


def check_data(data: bytes) -> str:
    """The same of the message in any piece of data."""
    return check_message(split(data))


@functools.cache
def well_formed() -> tuple[Frames, ...]:
    """Messages of every type, as clients and daemons send them."""
    files = sorted((CORPUS / "messages").iterdir())
    return tuple(frames for file in files if check_message(frames := split(file.read_bytes())) in MESSAGES)


def rubbish(number: int) -> Frames:
    """The malformed message of a number; the few that are well-formed by chance neither end a daemon nor fetch."""
    dice = random.Random(number)  # noqa: S311 - repeatable on purpose
    while True:
        frames = dice.choice(tuple(KINDS.values()))(dice)
        try:
            message = decode(frames)
        except DreamError:
            return frames
        if not isinstance(message, (Shutdown, Pull)):
            return frames


def _golden(dice: random.Random) -> Frames:
    return list(dice.choice(well_formed()))


def damaged(dice: random.Random) -> Frames:
    """Well-formed but for some bytes that were changed, lost, doubled or put in."""
    frames = _golden(dice)
    which = dice.randrange(len(frames))
    data = bytearray(frames[which])
    for _ in range(dice.randint(1, 6)):
        place, end = sorted(dice.randrange(len(data) + 1) for _ in range(2))
        change = dice.randrange(4)
        if change == 0 and data:
            data[min(place, len(data) - 1)] ^= 1 << dice.randrange(8)
        elif change == 1:
            del data[place:end]
        elif change == 2:
            data[place:place] = data[place:end]
        else:
            data[place:place] = dice.randbytes(dice.randint(1, 9))
    frames[which] = bytes(data)
    return frames


def any_bytes(dice: random.Random) -> Frames:
    """Nothing but noise, behind the magic or not."""
    noise = [dice.randbytes(dice.randint(0, 300)) for _ in range(dice.randint(0, 4))]
    return [MAGIC, *noise] if dice.random() < 0.7 else noise or [b""]


def any_data(dice: random.Random) -> Frames:
    """msgpack of whatever it can hold."""
    data = anything(dice)
    if isinstance(data, dict) and dice.random() < 0.8:
        data["type"] = dice.choice(list(MESSAGES))
    return [MAGIC, msgpack.packb(data), *(dice.randbytes(9) for _ in range(dice.randint(0, 2)))]


def anything(dice: random.Random, depth: int = 4) -> Any:
    """Whatever msgpack can hold."""
    kind = dice.randrange(11 if depth else 8)
    if kind < 8:
        return (
            None, dice.random() < 0.5, dice.choice((0, -1, 2**63, -(2**63), 2**64 - 1, dice.getrandbits(16))),
            dice.choice((0.5, -0.0, float("inf"), float("nan"), 1e308, 5e-324)), dice.randbytes(5),
            any_text(dice), msgpack.ExtType(dice.randrange(128), b"extension"), dice.choice(list(PARAMS)),
        )[kind]  # fmt: skip
    inside = [anything(dice, depth - 1) for _ in range(dice.randint(0, 5))]
    if kind == 8:
        return inside
    return {any_text(dice) if dice.random() < 0.9 else number: each for number, each in enumerate(inside)}


def any_text(dice: random.Random) -> str:
    """Text of unusual characters, lengths and meanings."""
    some = (
        "",
        "\0",
        "../../etc/passwd",
        "timm:" + "x" * 300,
        "*+*+*",
        " " * 80 + "!",
        "\x1b[2J\r\n",
        "ÿ\u202e🜁",
        "1e999",
    )
    return dice.choice(some) * dice.choice((1, 1, 1, 2, 90))


def other_values(dice: random.Random) -> Frames:
    """Well-formed but for one field, which is of another kind, missing, or unknown."""
    frames = _golden(dice)
    header = msgpack.unpackb(frames[1])
    place = header
    while inside := [each for each in place.values() if isinstance(each, dict) and each]:
        if dice.random() < 0.5:
            break
        place = dice.choice(inside)
    name = dice.choice([*place, *PARAMS, "frames"])
    if dice.random() < 0.2:
        place.pop(name, None)
    else:
        place[name] = anything(dice, 2)
    frames[1] = msgpack.packb(header)
    return frames


def wrong_frames(dice: random.Random) -> Frames:
    """Frames too few, too many, too short, too long, or in another order."""
    frames = _golden(dice)
    for _ in range(dice.randint(1, 3)):
        change = dice.randrange(5)
        place = dice.randrange(len(frames)) if frames else 0
        if change == 0 and frames:
            del frames[place]
        elif change == 1:
            frames[place:place] = [dice.randbytes(dice.randint(0, 20))] * dice.choice((1, 2, MAX_FRAMES, 40))
        elif change == 2 and frames:
            frames[place] = frames[place][: dice.randrange(len(frames[place]) + 1)]
        elif change == 3 and frames:
            frames[place] += dice.randbytes(dice.choice((1, 2, 100, 5000)))
        else:
            dice.shuffle(frames)
    return frames or [b""]


def nested(dice: random.Random) -> Frames:
    """Lists in lists, or maps in maps, as deep as a header has room for, or nearly as deep as allowed."""
    depth = dice.choice((14, 15, 16, 17, 100, 511, 512, 1023, 1024, 1025, 5000, 20_000))
    inside = dice.choice((b"\x91", b"\x81\xa1x")) * depth + b"\xc0"
    return [MAGIC, b"\x82\xa4type\xa6submit\xa6params" + inside]


def huge(dice: random.Random) -> Frames:
    """What announces more than there is, or than any machine has."""
    size = dice.choice((2**16, 2**20, 2**31 - 1, 2**32 - 1))
    announced = [
        bytes((kind,)) + size.to_bytes(4, "big") for kind in (0xC6, 0xC9, 0xDB, 0xDD, 0xDF)
    ]  # bin, ext, str, array, map, each with a length of 32 bits
    if dice.random() < 0.5:
        return [MAGIC, b"\x82\xa4type\xa4ping\xa1x" + dice.choice(announced) + dice.randbytes(8)]
    side = dice.choice((2**24, 2**24 - 1, 2**31, 2**63, 65_536))
    picture = {"name": "image", "frame": 0, "dtype": "float32", "shape": [side, side, dice.choice((1, 4, side))]}
    submit = {
        "type": "submit",
        "job": any_job(dice),
        "kind": "dream",
        "params": {},
        "inputs": [picture] * dice.choice((1, 8, 9)),
    }
    return [MAGIC, msgpack.packb(submit), bytes(16)]


def out_of_order(dice: random.Random) -> Frames:
    """Well-formed, but about a job that there is not, or what is the daemon's to say."""
    frames = _golden(dice)
    header = msgpack.unpackb(frames[1])
    if "job" in header:
        header["job"] = any_job(dice)
    frames[1] = msgpack.packb(header)
    return frames


def long_names(dice: random.Random) -> Frames:
    """Names as long as the header has room for, and longer."""
    frames = _golden(dice)
    header = msgpack.unpackb(frames[1])
    texts = [name for name, value in header.items() if isinstance(value, str)]
    header[dice.choice(texts)] = dice.choice("aä\n\0🜁 ") * dice.choice((64, 65, 100, 201, 4001, 20_000, 66_000))
    frames[1] = msgpack.packb(header)
    return frames


def any_job(dice: random.Random) -> str:
    return str(uuid.UUID(int=dice.getrandbits(128)))


#: Every kind of rubbish by its name.
KINDS: Mapping[str, Callable[[random.Random], Frames]] = {
    make.__name__: make
    for make in (
        damaged, any_bytes, any_data, other_values, wrong_frames, nested, huge, out_of_order, long_names,
    )
}  # fmt: skip

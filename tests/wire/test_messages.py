"""Messages and frames are inverse, byte for byte, and nothing that arrives raises anything but a `DreamError`."""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack
import msgpack.fallback
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dreamwire import messages
from dreamwire.errors import CODES, DreamError
from dreamwire.messages import (
    ITEM_SIZES,
    MAGIC,
    MAX_DEPTH,
    MAX_FRAMES,
    MAX_HEADER,
    MESSAGES,
    Accepted,
    Ack,
    Array,
    Attach,
    Cancel,
    Cancelled,
    Done,
    Error,
    ErrorIs,
    Failed,
    Hello,
    JobIs,
    Message,
    Networks,
    NetworksAre,
    Ping,
    Pong,
    Preview,
    PreviewIs,
    Progress,
    Pull,
    Pulled,
    Pulling,
    Shutdown,
    Status,
    StatusIs,
    Stop,
    Stopping,
    Submit,
    Unload,
    Unloaded,
    Welcome,
    arrays,
    decode,
    encode,
)

JOB = "7f0c5a0e-1d2b-4c3d-8e4f-5a6b7c8d9e0f"
ID = b"\xd9\x24" + JOB.encode()
GREY = Array("image", 0, "uint8", (2, 2, 1))
RGBA = Array("image", 1, "float32", (1, 2, 4))
MASK = Array("mask", 0, "uint16", (1, 2, 1), "mask")


class Example(NamedTuple):
    """A message and the header that it is on the wire."""

    message: Message
    header: bytes


# Every message with as little and with as much as it can hold.
EXAMPLES = (
    Example(
        Hello(versions=(1,), client="gimp 0.1.0"),
        b"\x83\xa4type\xa5hello\xa8versions\x91\x01\xa6client\xaagimp 0.1.0",
    ),
    Example(
        Hello(request=1, versions=(1, 2), client="gimp 0.1.0", token="c0ffee"),  # noqa: S106
        b"\x85\xa4type\xa5hello\xa7request\x01\xa8versions\x92\x01\x02\xa6client\xaagimp 0.1.0"
        + b"\xa5token\xa6c0ffee",
    ),
    Example(
        Submit(job=JOB, kind="dream", params={}, inputs=(GREY,), frames=(bytes(4),)),
        b"\x85\xa4type\xa6submit\xa3job"
        + ID
        + b"\xa4kind\xa5dream\xa6params\x80"
        + b"\xa6inputs\x91\x84\xa4name\xa5image\xa5frame\x00\xa5dtype\xa5uint8\xa5shape\x93\x02\x02\x01",
    ),
    Example(
        Submit(
            request=2,
            job=JOB,
            kind="dream",
            params={"layers": "blocks.8", "steps": 5, "strength": 0.5},
            inputs=(RGBA, MASK),
            preview=Preview(100, 512),
            on_disconnect="keep",
            frames=(bytes(4), bytes(32)),
        ),
        b"\x88\xa4type\xa6submit\xa7request\x02\xa3job"
        + ID
        + b"\xa4kind\xa5dream"
        + b"\xa6params\x83\xa6layers\xa8blocks.8\xa5steps\x05"
        + b"\xa8strength\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa6inputs\x92\x84\xa4name\xa5image"
        + b"\xa5frame\x01\xa5dtype\xa7float32\xa5shape\x93\x01\x02\x04\x85\xa4name\xa4mask\xa5frame\x00"
        + b"\xa5dtype\xa6uint16\xa5shape\x93\x01\x02\x01\xa5space\xa4mask\xa7preview\x82\xabinterval_msd"
        + b"\xa8max_side\xcd\x02\x00\xadon_disconnect\xa4keep",
    ),
    Example(
        Submit(job=JOB, kind="dream", params={}, inputs=(GREY,), preview=Preview(), frames=(bytes(4),)),
        b"\x86\xa4type\xa6submit\xa3job"
        + ID
        + b"\xa4kind\xa5dream\xa6params\x80"
        + b"\xa6inputs\x91\x84\xa4name\xa5image\xa5frame\x00\xa5dtype\xa5uint8\xa5shape\x93\x02\x02\x01"
        + b"\xa7preview\x80",
    ),
    Example(
        Cancel(job=JOB),
        b"\x82\xa4type\xa6cancel\xa3job" + ID,
    ),
    Example(
        Cancel(request=3, job=JOB),
        b"\x83\xa4type\xa6cancel\xa7request\x03\xa3job" + ID,
    ),
    Example(
        Stop(job=JOB),
        b"\x82\xa4type\xa4stop\xa3job" + ID,
    ),
    Example(
        Stop(request=4, job=JOB),
        b"\x83\xa4type\xa4stop\xa7request\x04\xa3job" + ID,
    ),
    Example(
        Attach(job=JOB),
        b"\x82\xa4type\xa6attach\xa3job" + ID,
    ),
    Example(
        Attach(request=5, job=JOB),
        b"\x83\xa4type\xa6attach\xa7request\x05\xa3job" + ID,
    ),
    Example(
        Ack(job=JOB),
        b"\x82\xa4type\xa3ack\xa3job" + ID,
    ),
    Example(
        Ack(request=6, job=JOB),
        b"\x83\xa4type\xa3ack\xa7request\x06\xa3job" + ID,
    ),
    Example(
        Status(),
        b"\x81\xa4type\xa6status",
    ),
    Example(
        Status(request=7),
        b"\x82\xa4type\xa6status\xa7request\x07",
    ),
    Example(
        Networks(),
        b"\x81\xa4type\xa8networks",
    ),
    Example(
        Networks(request=8),
        b"\x82\xa4type\xa8networks\xa7request\x08",
    ),
    Example(
        Pull(network="vgg16"),
        b"\x82\xa4type\xa4pull\xa7network\xa5vgg16",
    ),
    Example(
        Pull(request=9, network="vgg16"),
        b"\x83\xa4type\xa4pull\xa7request\t\xa7network\xa5vgg16",
    ),
    Example(
        Unload(),
        b"\x81\xa4type\xa6unload",
    ),
    Example(
        Unload(request=10, network="vgg16"),
        b"\x83\xa4type\xa6unload\xa7request\n\xa7network\xa5vgg16",
    ),
    Example(
        Ping(),
        b"\x81\xa4type\xa4ping",
    ),
    Example(
        Ping(request=2**53),
        b"\x82\xa4type\xa4ping\xa7request\xcf\x00 \x00\x00\x00\x00\x00\x00",
    ),
    Example(
        Shutdown(),
        b"\x81\xa4type\xa8shutdown",
    ),
    Example(
        Shutdown(request=0),
        b"\x82\xa4type\xa8shutdown\xa7request\x00",
    ),
    Example(
        Welcome(version=1, daemon="0.1.0", instance="5eed", capabilities=(), limits={}),
        b"\x86\xa4type\xa7welcome\xa7version\x01\xa6daemon\xa50.1.0\xa8instance\xa45eed"
        + b"\xaccapabilities\x90\xa6limits\x80",
    ),
    Example(
        Welcome(
            request=1,
            version=1,
            daemon="0.1.0",
            instance="5eed",
            capabilities=("dream",),
            limits={"queue": 64},
            proof="f00d",
        ),
        b"\x88\xa4type\xa7welcome\xa7request\x01\xa7version\x01\xa6daemon\xa50.1.0\xa8instance\xa45eed"
        + b"\xaccapabilities\x91\xa5dream\xa6limits\x81\xa5queue@\xa5proof\xa4f00d",
    ),
    Example(
        Accepted(job=JOB, position=0),
        b"\x83\xa4type\xa8accepted\xa3job" + ID + b"\xa8position\x00",
    ),
    Example(
        Accepted(request=2, job=JOB, position=3),
        b"\x84\xa4type\xa8accepted\xa7request\x02\xa3job" + ID + b"\xa8position\x03",
    ),
    Example(
        Progress(job=JOB, state="loading"),
        b"\x83\xa4type\xa8progress\xa3job" + ID + b"\xa5state\xa7loading",
    ),
    Example(
        Progress(
            request=2,
            job=JOB,
            state="dreaming",
            position=1,
            octave=2,
            octaves=4,
            step=3,
            steps=10,
            fraction=0.25,
            seconds_left=1.5,
            value=1.125,
        ),
        b"\x8c\xa4type\xa8progress\xa7request\x02\xa3job"
        + ID
        + b"\xa5state\xa8dreaming\xa8position\x01"
        + b"\xa6octave\x02\xa7octaves\x04\xa4step\x03\xa5steps\n"
        + b"\xa8fraction\xcb?\xd0\x00\x00\x00\x00\x00\x00"
        + b"\xacseconds_left\xcb?\xf8\x00\x00\x00\x00\x00\x00\xa5value\xcb?\xf2\x00\x00\x00\x00\x00\x00",
    ),
    Example(
        PreviewIs(job=JOB, box=(0, 0, 2, 2), array=GREY, frames=(b"\0\1\2\3",)),
        b"\x84\xa4type\xa7preview\xa3job"
        + ID
        + b"\xa3box\x94\x00\x00\x02\x02\xa5array\x84\xa4name\xa5image"
        + b"\xa5frame\x00\xa5dtype\xa5uint8\xa5shape\x93\x02\x02\x01",
    ),
    Example(
        PreviewIs(request=2, job=JOB, octave=2, step=3, box=(1, 2, 4, 4), array=GREY, frames=(b"\0\1\2\3",)),
        b"\x87\xa4type\xa7preview\xa7request\x02\xa3job"
        + ID
        + b"\xa6octave\x02\xa4step\x03"
        + b"\xa3box\x94\x01\x02\x04\x04\xa5array\x84\xa4name\xa5image\xa5frame\x00\xa5dtype\xa5uint8"
        + b"\xa5shape\x93\x02\x02\x01",
    ),
    Example(
        Done(job=JOB, box=(0, 0, 2, 2), outputs=(GREY,), params={}, info={}, frames=(b"\0\1\2\3",)),
        b"\x86\xa4type\xa4done\xa3job"
        + ID
        + b"\xa3box\x94\x00\x00\x02\x02"
        + b"\xa7outputs\x91\x84\xa4name\xa5image\xa5frame\x00\xa5dtype\xa5uint8\xa5shape\x93\x02\x02\x01"
        + b"\xa6params\x80\xa4info\x80",
    ),
    Example(
        Done(
            request=2,
            job=JOB,
            box=(300, 2, 1, 2),
            outputs=(Array("image", 0, "float32", (1, 2, 4)),),
            params={"seed": 7},
            info={"seconds": {"dream": 0.5}, "stopped": False},
            frames=(bytes(32),),
        ),
        b"\x87\xa4type\xa4done\xa7request\x02\xa3job"
        + ID
        + b"\xa3box\x94\xcd\x01,\x02\x01\x02"
        + b"\xa7outputs\x91\x84\xa4name\xa5image\xa5frame\x00\xa5dtype\xa7float32"
        + b"\xa5shape\x93\x01\x02\x04\xa6params\x81\xa4seed\x07"
        + b"\xa4info\x82\xa7seconds\x81\xa5dream\xcb?\xe0\x00\x00\x00\x00\x00\x00\xa7stopped\xc2",
    ),
    Example(
        Failed(job=JOB, error=Error("queue_full", "Busy.")),
        b"\x83\xa4type\xa6failed\xa3job" + ID + b"\xa5error\x82\xa4code\xaaqueue_full\xa7message\xa5Busy.",
    ),
    Example(
        Failed(request=2, job=JOB, error=Error("queue_full", "Busy.", True, {"limit": 64})),
        b"\x84\xa4type\xa6failed\xa7request\x02\xa3job"
        + ID
        + b"\xa5error\x84\xa4code\xaaqueue_full"
        + b"\xa7message\xa5Busy.\xa9retryable\xc3\xa7details\x81\xa5limit@",
    ),
    Example(
        Cancelled(job=JOB),
        b"\x82\xa4type\xa9cancelled\xa3job" + ID,
    ),
    Example(
        Cancelled(request=2, job=JOB),
        b"\x83\xa4type\xa9cancelled\xa7request\x02\xa3job" + ID,
    ),
    Example(
        JobIs(job=JOB, state="gone"),
        b"\x83\xa4type\xa3job\xa3job" + ID + b"\xa5state\xa4gone",
    ),
    Example(
        JobIs(request=3, job=JOB, state="running"),
        b"\x84\xa4type\xa3job\xa7request\x03\xa3job" + ID + b"\xa5state\xa7running",
    ),
    Example(
        StatusIs(status={}),
        b"\x82\xa4type\xa9status_is\xa6status\x80",
    ),
    Example(
        StatusIs(request=7, status={"workers": [{"device": "cpu"}], "last_error": None}),
        b"\x83\xa4type\xa9status_is\xa7request\x07\xa6status\x82\xa7workers\x91\x81\xa6device\xa3cpu"
        + b"\xaalast_error\xc0",
    ),
    Example(
        NetworksAre(networks=()),
        b"\x82\xa4type\xacnetworks_are\xa8networks\x90",
    ),
    Example(
        NetworksAre(request=8, networks=({"name": "vgg16", "here": False},)),
        b"\x83\xa4type\xacnetworks_are\xa7request\x08\xa8networks\x91\x82\xa4name\xa5vgg16\xa4here\xc2",
    ),
    Example(
        Pulling(network="vgg16", bytes=0, total=0),
        b"\x84\xa4type\xa7pulling\xa7network\xa5vgg16\xa5bytes\x00\xa5total\x00",
    ),
    Example(
        Pulling(request=9, network="vgg16", bytes=1000, total=553433881),
        b"\x85\xa4type\xa7pulling\xa7request\t\xa7network\xa5vgg16\xa5bytes\xcd\x03\xe8"
        + b"\xa5total\xce \xfc\xbb\x19",
    ),
    Example(
        Pulled(network="vgg16"),
        b"\x82\xa4type\xa6pulled\xa7network\xa5vgg16",
    ),
    Example(
        Pulled(request=9, network="vgg16"),
        b"\x83\xa4type\xa6pulled\xa7request\t\xa7network\xa5vgg16",
    ),
    Example(
        Unloaded(networks=()),
        b"\x82\xa4type\xa8unloaded\xa8networks\x90",
    ),
    Example(
        Unloaded(request=10, networks=("vgg16",)),
        b"\x83\xa4type\xa8unloaded\xa7request\n\xa8networks\x91\xa5vgg16",
    ),
    Example(
        Pong(),
        b"\x81\xa4type\xa4pong",
    ),
    Example(
        Pong(request=11),
        b"\x82\xa4type\xa4pong\xa7request\x0b",
    ),
    Example(
        Stopping(),
        b"\x81\xa4type\xa8stopping",
    ),
    Example(
        Stopping(request=12),
        b"\x82\xa4type\xa8stopping\xa7request\x0c",
    ),
    Example(
        ErrorIs(error=Error("internal", "Oh.")),
        b"\x82\xa4type\xa5error\xa5error\x82\xa4code\xa8internal\xa7message\xa3Oh.",
    ),
    Example(
        ErrorIs(request=1, error=Error("version", "Ö.", True, {})),
        b"\x83\xa4type\xa5error\xa7request\x01\xa5error\x84\xa4code\xa7version\xa7message\xa3\xc3\x96."
        + b"\xa9retryable\xc3\xa7details\x80",
    ),
)


def ids(examples: Iterable[Example]) -> list[str]:
    return [f"{example.message.type}-{number}" for number, example in enumerate(examples)]


each_example = pytest.mark.parametrize("example", EXAMPLES, ids=ids(EXAMPLES))


def _generator(data: bytes, *, object_pairs_hook: Callable[[Any], Any], **options: Any) -> Any:
    """As msgpack before 1.2 in pure Python: the pairs of a map come as a generator."""
    return msgpack.fallback.unpackb(
        data, object_pairs_hook=lambda pairs: object_pairs_hook(iter(pairs)), **options
    )


#: The forms of msgpack: GIMP's Python has the one that needs no compiler.
FORMS: Mapping[str, Any] = {
    "compiled": msgpack,
    "pure": types.SimpleNamespace(
        packb=lambda value: msgpack.fallback.Packer().pack(value), unpackb=msgpack.fallback.unpackb
    ),
    "pure before 1.2": types.SimpleNamespace(
        packb=lambda value: msgpack.fallback.Packer().pack(value), unpackb=_generator
    ),
}


@pytest.fixture(params=FORMS, autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with every form of msgpack."""
    monkeypatch.setattr(messages, "msgpack", FORMS[request.param])


@each_example
def test_encode(example: Example) -> None:
    assert [MAGIC, example.header, *example.message.frames] == encode(example.message)


@each_example
@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_decode(example: Example, buffer: type) -> None:
    frames = [buffer(frame) for frame in (MAGIC, example.header, *example.message.frames)]
    assert example.message == decode(frames)


def test_every_message_and_field_has_an_example() -> None:
    seen = {kind: set[str]() for kind in MESSAGES}
    for example in EXAMPLES:
        seen[example.message.type] |= msgpack.unpackb(example.header).keys()
    fields = {
        kind: {"type"} | {field.name for field in dataclasses.fields(message)} - {"frames"}
        for kind, message in MESSAGES.items()
    }
    assert fields == seen


def test_every_type_has_a_sender() -> None:
    assert {"client", "daemon"} == {message.sender for message in MESSAGES.values()}


# What must be refused


def packed(value: object) -> list[bytes]:
    return [MAGIC, msgpack.packb(value)]


#: One pixel.
DESCRIBED = {"name": "image", "frame": 0, "dtype": "uint8", "shape": [1, 1, 1]}


def submit(*frames: bytes, without: str = "", **changes: object) -> list[bytes]:
    """A `submit` of one pixel, changed."""
    header = {"type": "submit", "job": JOB, "kind": "dream", "params": {}, "inputs": [DESCRIBED]} | changes
    header.pop(without, None)
    return [*packed(header), *(frames or (b"\0",))]


def array(**changes: object) -> list[bytes]:
    """A `submit` of one pixel whose description is changed."""
    return submit(inputs=[DESCRIBED | changes])


def one(kind: str, **fields: object) -> list[bytes]:
    return packed({"type": kind} | fields)


def nested(depth: int) -> list[bytes]:
    """A `submit` with lists in lists in its parameters, written by hand: msgpack itself would not."""
    start = b"\x85\xa4type\xa6submit\xa3job" + ID + b"\xa4kind\xa5dream\xa6inputs\x90\xa6params\x81\xa1x"
    return [MAGIC, start + b"\x91" * depth + b"\xc0"]


PROGRESS = {"job": JOB, "state": "dreaming"}
TWICE = b"\x83\xa4type\xa4ping\xa7request\x01\xa7request\x02"
PING = b"\x81\xa4type\xa4ping"


class Bad(NamedTuple):
    """What arrives, and what the refusal must name."""

    frames: Sequence[bytes]
    named: str
    code: str = "bad_message"


REFUSED: Mapping[str, Bad] = {
    # frames
    "nothing": Bad([], "DD1"),
    "magic alone": Bad([MAGIC], "a header"),
    "another magic": Bad([b"DD2", PING], "DD1"),
    "header alone": Bad([PING], "DD1"),
    "too many frames": Bad([MAGIC, PING, *[b""] * (MAX_FRAMES + 1)], f"{MAX_FRAMES} frames"),
    "pixels that nothing describes": Bad([MAGIC, PING, b"\0"], "arrays"),
    "pixels missing": Bad(submit()[:2], "arrays"),
    "one frame too many": Bad(submit(b"\0", b"\0"), "arrays"),
    "a byte too few": Bad(submit(b""), "frame 0"),
    "a byte too many": Bad(submit(b"\0\0"), "frame 0"),
    "a frame used twice": Bad(submit(b"\0", b"\0", inputs=[DESCRIBED, DESCRIBED]), "arrays"),
    "a frame passed over": Bad(submit(b"\0", b"\0", inputs=[DESCRIBED | {"frame": 1}]), "arrays"),
    "a huge shape": Bad(array(shape=[2**24, 2**24, 2**24], dtype="float32"), "frame 0"),
    # the header as msgpack
    "no header": Bad([MAGIC, b""], "header"),
    "a header over 64 KiB": Bad([MAGIC, PING + bytes(MAX_HEADER)], str(MAX_HEADER), "limit"),
    "not msgpack": Bad([MAGIC, b"\xc1"], "header"),
    "cut short": Bad([MAGIC, PING[:-1]], "header"),
    "followed by rubbish": Bad([MAGIC, PING + b"\0"], "header"),
    "a number": Bad(packed(1), "header"),
    "nil": Bad(packed(None), "header"),
    "a list": Bad(packed([{"type": "ping"}]), "header"),
    "text": Bad(packed("ping"), "header"),
    "text that is not UTF-8": Bad([MAGIC, b"\x81\xa4type\xa4\xff\xfe\xfd\xfc"], "header"),
    "a list said to be endless": Bad([MAGIC, b"\x81\xa4type\xdd\xff\xff\xff\xff"], "header"),
    "text said to be endless": Bad([MAGIC, b"\x81\xa4type\xdb\xff\xff\xff\xff"], "header"),
    "a map said to be endless": Bad([MAGIC, b"\xdf\xff\xff\xff\xff"], "header"),
    "a key twice": Bad([MAGIC, TWICE], "twice"),
    "a key twice, inside": Bad([MAGIC, b"\x82\xa4type\xa4ping\xa1x\x82\xa1y\x01\xa1y\x01"], "twice"),
    "a key of bytes": Bad(packed({b"type": "ping"}), "text keys"),
    "a key of bytes, inside": Bad(submit(params={"x": {b"y": 1}}), "params.x"),
    "a number for a key": Bad(packed({1: "ping"}), "header"),
    "a list for a key": Bad([MAGIC, b"\x81\x91\x01\x01"], "header"),
    "nil for a key": Bad(packed({None: 1}), "header"),
    "an extension": Bad(submit(params={"x": msgpack.ExtType(5, b"")}), "extension"),
    "a time": Bad(submit(params={"x": msgpack.Timestamp(0)}), "params.x"),
    "bytes": Bad(submit(params={"x": b"\0"}), "params.x"),
    "not a number": Bad(submit(params={"x": math.nan}), "params.x"),
    "infinity": Bad(submit(params={"x": [0.0, -math.inf]}), "params.x[1]"),
    "nested too deep": Bad(nested(MAX_DEPTH), "nested"),
    "nested very deep": Bad(nested(1000), "header"),
    "nested as deep as it can be": Bad(nested(MAX_HEADER - 200), "header"),
    # the type
    "no type": Bad(packed({}), "type"),
    "an unknown type": Bad(one("pong!"), "type"),
    "a list for a type": Bad(packed({"type": ["ping"]}), "type"),
    "bytes for a type": Bad(packed({"type": b"ping"}), "type"),
    # fields
    "a job missing": Bad(submit(without="job"), "submit.job"),
    "parameters missing": Bad(submit(without="params"), "submit.params"),
    "an unknown field": Bad(submit(colour="red"), "'colour'"),
    "an unknown field of an array": Bad(array(stride=1), "'stride'"),
    "an unknown field of preview": Bad(submit(preview={"format": "jpeg"}), "'format'"),
    "frames as a field": Bad(submit(frames=[]), "'frames'"),
    "a job in capitals": Bad(one("cancel", job=JOB.upper()), "cancel.job"),
    "a job with more behind it": Bad(one("cancel", job=JOB + "\n"), "cancel.job"),
    "a job that is a path": Bad(one("attach", job="../../x"), "attach.job"),
    "a job that is nothing": Bad(one("ack", job=None), "ack.job"),
    "a number for text": Bad(submit(kind=1), "submit.kind"),
    "text too long": Bad(submit(kind="x" * 65), "submit.kind"),
    "bytes for text": Bad(one("pull", network=b"vgg16"), "network"),
    "a list for parameters": Bad(submit(params=[]), "submit.params"),
    "a map for inputs": Bad(submit(inputs={}), "submit.inputs"),
    "bytes for inputs": Bad(submit(inputs=b""), "inputs"),
    "too many inputs": Bad(submit(inputs=[DESCRIBED] * 9), "submit.inputs"),
    "text for an array": Bad(submit(inputs=["image"]), "submit.inputs[0]"),
    "a description missing": Bad(submit(inputs=[{"name": "image"}]), "submit.inputs[0].frame"),
    "a flag for a frame": Bad(array(frame=False), "submit.inputs[0].frame"),
    "a negative frame": Bad(array(frame=-1), "submit.inputs[0].frame"),
    "a frame out of range": Bad(array(frame=MAX_FRAMES), "submit.inputs[0].frame"),
    "an unknown dtype": Bad(array(dtype="float64"), "submit.inputs[0].dtype"),
    "a list for a dtype": Bad(array(dtype=["uint8"]), "submit.inputs[0].dtype"),
    "an unknown space": Bad(array(space="cmyk"), "submit.inputs[0].space"),
    "a shape of two": Bad(array(shape=[1, 1]), "submit.inputs[0].shape"),
    "a shape of four": Bad(array(shape=[1, 1, 1, 1]), "submit.inputs[0].shape"),
    "an empty shape": Bad(array(shape=[]), "submit.inputs[0].shape"),
    "a shape of nothing": Bad(array(shape=[0, 1, 1]), "submit.inputs[0].shape[0]"),
    "a negative shape": Bad(array(shape=[1, -1, -1]), "submit.inputs[0].shape[1]"),
    "a shape beyond all bounds": Bad(array(shape=[2**24 + 1, 1, 1]), "submit.inputs[0].shape[0]"),
    "a fraction in a shape": Bad(array(shape=[1.0, 1, 1]), "submit.inputs[0].shape[0]"),
    "a flag in a shape": Bad(array(shape=[True, 1, 1]), "submit.inputs[0].shape[0]"),
    "text for a shape": Bad(array(shape="111"), "submit.inputs[0].shape"),
    "previews too often": Bad(submit(preview={"interval_ms": 19}), "submit.preview.interval_ms"),
    "a list for preview": Bad(submit(preview=[]), "submit.preview"),
    "an unknown wish": Bad(submit(on_disconnect="never"), "submit.on_disconnect"),
    "a negative request": Bad(one("ping", request=-1), "ping.request"),
    "a flag for a request": Bad(one("ping", request=True), "ping.request"),
    "a fraction for a request": Bad(one("ping", request=1.0), "ping.request"),
    "a request beyond doubles": Bad(one("ping", request=2**53 + 1), "ping.request"),
    "text for versions": Bad(one("hello", versions="1", client="x"), "hello.versions"),
    "flags for versions": Bad(one("hello", versions=[True], client="x"), "hello.versions[0]"),
    "too many versions": Bad(one("hello", versions=[1] * 17, client="x"), "hello.versions"),
    # what a daemon may not send
    "a state unknown": Bad(one("job", job=JOB, state="lost"), "job.state"),
    "text for a number": Bad(one("progress", **PROGRESS, fraction="0.5"), "progress.fraction"),
    "a flag for a number": Bad(one("progress", **PROGRESS, fraction=True), "progress.fraction"),
    "not a number for a number": Bad(one("progress", **PROGRESS, value=math.nan), "value"),
    "a box of three": Bad(
        [*one("done", job=JOB, box=[0, 0, 1], outputs=[DESCRIBED], params={}, info={}), b"\0"], "done.box"
    ),
    "an unknown code": Bad(one("error", error={"code": "oops", "message": ""}), "error.error.code"),
    "a message missing": Bad(one("error", error={"code": "limit"}), "error.error.message"),
    "a number for a flag": Bad(
        one("error", error={"code": "limit", "message": "", "retryable": 1}), "error.error.retryable"
    ),
    "a list for details": Bad(
        one("failed", job=JOB, error={"code": "limit", "message": "", "details": []}), "failed.error.details"
    ),
    "text for a network": Bad(one("networks_are", networks=["vgg16"]), "networks_are.networks[0]"),
}


@pytest.mark.parametrize("bad", REFUSED.values(), ids=REFUSED)
def test_refused(bad: Bad) -> None:
    with pytest.raises(DreamError) as caught:
        decode(bad.frames)
    assert bad.code == caught.value.code
    assert bad.named in caught.value.message


ARRAY_OF_LATER = DESCRIBED | {"stride": 4}
ERROR_OF_LATER = {"code": "limit", "message": "Too much.", "hint": "Less."}

# A daemon may be newer than its client, and a newer client must be told that it is.
PASSED_OVER: Mapping[str, tuple[Sequence[bytes], Message]] = {
    "a field": (one("pong", request=1, load=0.5), Pong(request=1)),
    "a field of an error": (one("error", error=ERROR_OF_LATER), ErrorIs(error=Error("limit", "Too much."))),
    "a field of a failure": (
        one("failed", job=JOB, error=ERROR_OF_LATER),
        Failed(job=JOB, error=Error("limit", "Too much.")),
    ),
    "a field of an output": (
        [*one("done", job=JOB, box=[0, 0, 1, 1], outputs=[ARRAY_OF_LATER], params={}, info={}), b"\0"],
        Done(
            job=JOB, box=(0, 0, 1, 1), outputs=(Array("image", 0, "uint8", (1, 1, 1)),), params={}, info={},
            frames=(b"\0",),
        ),
    ),
    "a field of a preview": (
        [*one("preview", job=JOB, box=[0, 0, 1, 1], array=ARRAY_OF_LATER), b"\0"],
        PreviewIs(job=JOB, box=(0, 0, 1, 1), array=Array("image", 0, "uint8", (1, 1, 1)), frames=(b"\0",)),
    ),
    "a field of hello": (one("hello", versions=[2], client="x", wants=[]), Hello(versions=(2,), client="x")),
}  # fmt: skip


@pytest.mark.parametrize(("frames", "expected"), PASSED_OVER.values(), ids=PASSED_OVER)
def test_fields_of_later_versions_are_passed_over(frames: Sequence[bytes], expected: Message) -> None:
    assert expected == decode(frames)


def test_nested_as_deep_as_is_allowed() -> None:
    assert isinstance(decode(nested(MAX_DEPTH - 2)), Submit)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"seed": 2**70}, "bad_message"),
        ({"seed": object()}, "bad_message"),
        ({"layers": "\udc80"}, "bad_message"),
        ({"layers": "x" * MAX_HEADER}, "limit"),
    ],
    ids=["a number beyond 64 bits", "an object", "half a surrogate pair", "a header over 64 KiB"],
)
def test_what_cannot_be_written_is_refused(params: dict[str, Any], code: str) -> None:
    with pytest.raises(DreamError, match="header") as caught:
        encode(Submit(job=JOB, kind="dream", params=params, inputs=()))
    assert code == caught.value.code


def test_an_error_survives_the_wire() -> None:
    sent = DreamError("queue_full", "x" * 5000, retryable=True, details={"limit": 64})
    received = decode(encode(ErrorIs(error=Error.of(sent))))
    assert isinstance(received, ErrorIs)
    error = received.error.exception()
    assert (error.code, error.retryable, error.details) == ("queue_full", True, {"limit": 64})
    assert error.message == "x" * 4000


# What nobody thought of

few = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def never_fails(frames: Sequence[bytes]) -> None:
    """Decodes, or refuses; what decodes is understood alike when it is sent on."""
    try:
        message = decode(frames)
    except DreamError as error:
        assert error.code in ("bad_message", "limit")  # noqa: PT017 - no error is as good
    else:
        assert message == decode(encode(message))


@few
@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_frames(frames: list[bytes]) -> None:
    never_fails(frames)


@few
@given(st.binary(max_size=300))
def test_any_header(header: bytes) -> None:
    never_fails([MAGIC, header])


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=8,
)


@few
@given(st.sampled_from(EXAMPLES), st.data())
def test_any_value_for_any_field(example: Example, data: st.DataObject) -> None:
    header = msgpack.unpackb(example.header)
    header[data.draw(st.sampled_from([*header, "x"]))] = data.draw(anything)
    never_fails([*packed(header), *example.message.frames])


@few
@given(st.sampled_from(EXAMPLES), st.data())
def test_any_damage(example: Example, data: st.DataObject) -> None:
    header = bytearray(example.header)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(header)))
        header[start : start + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    never_fails([MAGIC, bytes(header), *example.message.frames])


# Any message at all, made from what each field says it takes


Check = Callable[[object, str], object]


def refusal(check: Check) -> str:
    """What a field says it must be."""
    with pytest.raises(DreamError) as caught:
        check(..., "it")
    return caught.value.message.partition(" must be ")[2].rstrip(".")


finite = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(max_size=5)
plain = st.dictionaries(
    words,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | words,
        lambda inside: st.lists(inside, max_size=3) | st.dictionaries(words, inside, max_size=3),
        max_leaves=4,
    ),
    max_size=3,
)


def values(hint: Any, check: Check) -> st.SearchStrategy[Any]:
    """Values of a field, by its annotation and by what it refuses."""
    if isinstance(hint, types.UnionType):
        return st.none() | values(typing.get_args(hint)[0], check)
    if dataclasses.is_dataclass(hint):
        return records(hint)
    if typing.get_origin(hint) is dict:
        return plain
    if typing.get_origin(hint) is tuple:
        return lists(hint, check)
    expected = refusal(check)
    if hint is int:
        return st.integers(*map(int, re.findall(r"-?\d+", expected)))
    if hint is str and expected.startswith("one of "):
        return st.sampled_from(expected.removeprefix("one of ").split(", "))
    if hint is str and "UUID" in expected:
        return st.uuids().map(str)
    return {str: st.text(max_size=20), bool: st.booleans(), float: finite}[hint]


def lists(hint: Any, check: Check) -> st.SearchStrategy[tuple[Any, ...]]:
    item, *more = typing.get_args(hint)

    def check_item(value: object, where: str) -> object:
        return check([value] * (1 if more == [...] else 1 + len(more)), where)

    if more == [...]:
        return st.lists(values(item, check_item), max_size=4).map(tuple)
    return st.tuples(*[values(item, check_item)] * (1 + len(more)))


def records(kind: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if "check" in field.metadata]
    return st.builds(kind, **{field.name: values(hints[field.name], field.metadata["check"]) for field in fields})


def with_pixels(message: Message) -> Message:
    """The message with small arrays, and with frames that fit them, in any order."""
    small = [
        dataclasses.replace(each, shape=tuple(1 + side % 3 for side in each.shape)) for each in arrays(message)
    ]
    small = [dataclasses.replace(each, frame=len(small) - 1 - number) for number, each in enumerate(small)]
    frames = tuple(bytes(each.nbytes) for each in reversed(small))
    if isinstance(message, PreviewIs):
        return dataclasses.replace(message, array=small[0], frames=frames)
    field = {Submit: "inputs", Done: "outputs"}.get(type(message))
    return dataclasses.replace(message, **{field: tuple(small)}, frames=frames) if field else message


any_message = st.one_of([records(kind) for kind in MESSAGES.values()]).map(with_pixels)


@settings(few, max_examples=200)
@given(any_message)
def test_any_message_comes_back(message: Message) -> None:
    assert message == decode(encode(message))


@pytest.mark.parametrize(("dtype", "size"), ITEM_SIZES.items())
def test_the_length_of_a_frame(dtype: str, size: int) -> None:
    assert 6 * size == Array("image", 0, dtype, (1, 2, 3)).nbytes


def test_codes_are_known_to_the_wire() -> None:
    for code in CODES:
        error = ErrorIs(error=Error(code, "Something."))
        assert error == decode(encode(error))

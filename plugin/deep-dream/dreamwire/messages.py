"""Messages <-> frames: the whole protocol, without any input or output of its own.

A message travels as `[b"DD1", header, pixels...]`: the header a msgpack map of at most 64 KiB with the message's
type and fields, each further frame the raw pixels of one `Array`. `encode` and `decode` are inverse functions.
The classes below are the protocol's only definition; docs/protocol.md is made from them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar, TypeAlias

import msgpack

from .errors import CODES, DreamError

MAGIC = b"DD1"
VERSION = 1
MAX_HEADER = 64 * 1024
MAX_FRAMES = 16
MAX_DEPTH = 16
ITEM_SIZES: Mapping[str, int] = {"uint8": 1, "uint16": 2, "float32": 4}

Buffer: TypeAlias = bytes | bytearray | memoryview
Check = Callable[[object, str], Any]

_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _bad(where: str, expected: str) -> DreamError:
    return DreamError("bad_message", f"The message does not follow the protocol: {where} must be {expected}.")


def integer(minimum: int, maximum: int) -> Check:
    """A whole number in a range."""

    def check(value: object, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise _bad(where, f"a whole number from {minimum} to {maximum}")
        return value

    return check


def number(value: object, where: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _bad(where, "a finite number")
    return float(value)


def flag(value: object, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise _bad(where, "true or false")
    return value


def text(longest: int) -> Check:
    """Text of at most so many characters."""

    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise _bad(where, f"text of at most {longest} characters")
        return value

    return check


def one_of(*choices: str) -> Check:
    """One of some words."""

    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise _bad(where, f"one of {', '.join(choices)}")
        return value

    return check


def job_id(value: object, where: str) -> str:
    """A UUID in its usual form, lower case."""
    if not isinstance(value, str) or not _JOB_ID.fullmatch(value):
        raise _bad(where, "a UUID in lower case, as in 7f0c5a0e-1d2b-4c3d-8e4f-5a6b7c8d9e0f")
    return value


def many(item: Check, longest: int, shortest: int = 0) -> Check:
    """A list of so many items."""
    count = f"{longest}" if shortest == longest else f"{shortest} to {longest}"

    def check(value: object, where: str) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or not shortest <= len(value) <= longest:
            raise _bad(where, f"a list of {count} items")
        return tuple(item(each, f"{where}[{index}]") for index, each in enumerate(value))

    return check


def plain(value: object, where: str) -> dict[str, Any]:
    """A map of plain data (see `unpack`), whose meaning is checked elsewhere or left to people."""
    if not isinstance(value, dict):
        raise _bad(where, "a map with text keys")
    return dict(value)


def optional(check: Check) -> Check:
    """What `check` takes, or nothing."""
    return lambda value, where: None if value is None else check(value, where)


def record(kind: type[Any], *, strict: bool = True) -> Check:
    """A map with the fields of a dataclass; others are refused if `strict`."""

    def check(value: object, where: str) -> Any:
        return value if isinstance(value, kind) else _read(kind, value, where, strict=strict)

    return check


def _field(check: Check, help: str, default: Any = MISSING) -> Any:
    return dataclasses.field(default=default, metadata={"check": check, "help": help})


@dataclass(frozen=True)
class Array:
    """Describes one frame of pixels: rows from the top, pixels from the left, channels together, little endian."""

    name: str = _field(text(64), "what the pixels are: an input's or output's name")
    frame: int = _field(integer(0, MAX_FRAMES - 1), "which frame after the header, counted from 0")
    dtype: str = _field(one_of(*ITEM_SIZES), "uint8 and uint16 span black to white; float32 has white at 1")
    shape: tuple[int, int, int] = _field(
        many(integer(1, 2**24), 3, shortest=3), "height, width, channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA"
    )
    space: str = _field(one_of("srgb", "mask"), "srgb: R'G'B' as encoded; mask: 0 outside to 1 inside", "srgb")

    @property
    def nbytes(self) -> int:
        """What the frame must measure."""
        return math.prod(self.shape) * ITEM_SIZES[self.dtype]


@dataclass(frozen=True)
class Preview:
    """Which previews a client wants of its job."""

    interval_ms: int = _field(integer(20, 60_000), "at least so long between two previews", 250)
    max_side: int = _field(integer(16, 65_536), "no side longer than this; larger previews are reduced", 65_536)


@dataclass(frozen=True)
class Error:
    """What went wrong, for a person and for a program."""

    code: str = _field(one_of(*CODES), "one of the protocol's codes")
    message: str = _field(text(4000), "what happened, why, and what to do next")
    retryable: bool = _field(flag, "whether the same request may succeed later", False)
    details: dict[str, Any] | None = _field(optional(plain), "plain data for programs", None)

    def exception(self) -> DreamError:
        """The error as an exception."""
        return DreamError(self.code, self.message, retryable=self.retryable, details=self.details)

    @classmethod
    def of(cls, error: DreamError) -> Error:
        """An exception as data."""
        return cls(error.code, error.message[:4000], error.retryable, error.details)


@dataclass(frozen=True)
class Message:
    """What every message has: pixels, and the number of the request that it is, or answers."""

    type: ClassVar[str]
    sender: ClassVar[str]

    request: int | None = _field(optional(integer(0, 2**53)), "chosen by the client, repeated in the answer", None)
    frames: tuple[Buffer, ...] = dataclasses.field(default=(), repr=False)


_JOB = "the job's id: a UUID minted by the client"


@dataclass(frozen=True, kw_only=True)
class Hello(Message):
    """First on every connection; answered by `welcome`, or by `error` with code version or unauthorized."""

    type, sender = "hello", "client"
    versions: tuple[int, ...] = _field(
        many(integer(1, 65_535), 16), "versions of the protocol that the client speaks"
    )
    client: str = _field(text(200), "name and version of the client, for the log")
    token: str = _field(text(200), "the daemon's token, needed over TCP", "")


@dataclass(frozen=True, kw_only=True)
class Submit(Message):
    """A new job; answered by `accepted`, or `failed` if it is refused. Its id makes it safe to send again."""

    type, sender = "submit", "client"
    job: str = _field(job_id, _JOB)
    kind: str = _field(text(64), "the kind of job: `dream`")
    params: dict[str, Any] = _field(plain, "the job's parameters by name; those left out have their defaults")
    inputs: tuple[Array, ...] = _field(many(record(Array), 8), "the pixels: `image`, and `mask` if not all of it")
    preview: Preview | None = _field(optional(record(Preview)), "which previews to send; none if absent", None)
    on_disconnect: str = _field(
        one_of("cancel", "keep"), "what becomes of the job if the client goes away", "cancel"
    )


@dataclass(frozen=True, kw_only=True)
class Cancel(Message):
    """End the job without a result, within a step. Idempotent; answered by `job`."""

    type, sender = "cancel", "client"
    job: str = _field(job_id, _JOB)


@dataclass(frozen=True, kw_only=True)
class Stop(Message):
    """End the job within a step and keep what it has. Idempotent; answered by `job`.

    `done` follows, or `cancelled` if nothing was dreamt yet.
    """

    type, sender = "stop", "client"
    job: str = _field(job_id, _JOB)


@dataclass(frozen=True, kw_only=True)
class Attach(Message):
    """Send me this job's events from now on, its end included if it has ended. Answered by `job`."""

    type, sender = "attach", "client"
    job: str = _field(job_id, _JOB)


@dataclass(frozen=True, kw_only=True)
class Ack(Message):
    """I have the result; forget the job. Idempotent; answered by `job`."""

    type, sender = "ack", "client"
    job: str = _field(job_id, _JOB)


@dataclass(frozen=True, kw_only=True)
class Status(Message):
    """How is the daemon? Answered by `status_is`."""

    type, sender = "status", "client"


@dataclass(frozen=True, kw_only=True)
class Networks(Message):
    """Which networks are there? Answered by `networks_are`."""

    type, sender = "networks", "client"


@dataclass(frozen=True, kw_only=True)
class Pull(Message):
    """Fetch a network's weights; answered by `pulling`, repeatedly, then `pulled`, or `error`.

    Of several requests for one network on a connection the latest is answered.
    """

    type, sender = "pull", "client"
    network: str = _field(text(100), "the network's name")


@dataclass(frozen=True, kw_only=True)
class Unload(Message):
    """Free the memory of a network, or of all; answered by `unloaded`."""

    type, sender = "unload", "client"
    network: str = _field(text(100), "the network's name, or empty for all", "")


@dataclass(frozen=True, kw_only=True)
class Ping(Message):
    """Are you there? Answered by `pong` at once, whatever the workers do."""

    type, sender = "ping", "client"


@dataclass(frozen=True, kw_only=True)
class Shutdown(Message):
    """End the daemon; answered by `stopping`. Jobs under way fail with code shutting_down."""

    type, sender = "shutdown", "client"


@dataclass(frozen=True, kw_only=True)
class Welcome(Message):
    """The answer to `hello`."""

    type, sender = "welcome", "daemon"
    version: int = _field(integer(1, 65_535), "the version of the protocol to speak")
    daemon: str = _field(text(100), "the daemon's own version")
    instance: str = _field(text(64), "differs after a restart: jobs of another instance are gone")
    capabilities: tuple[str, ...] = _field(many(text(64), 64), "the kinds of job")
    limits: dict[str, Any] = _field(plain, "the largest pixels, frame, header and queue")
    proof: str = _field(text(200), "over TCP, what a client knows its user's daemon by", "")


@dataclass(frozen=True, kw_only=True)
class Accepted(Message):
    """The job is queued."""

    type, sender = "accepted", "daemon"
    job: str = _field(job_id, _JOB)
    position: int = _field(integer(0, 2**31), "how many jobs are before it")


@dataclass(frozen=True, kw_only=True)
class Progress(Message):
    """How far the job is; several times a second, while it waits too."""

    type, sender = "progress", "daemon"
    job: str = _field(job_id, _JOB)
    state: str = _field(one_of("queued", "loading", "dreaming"), "waiting, getting the network ready, or dreaming")
    position: int = _field(integer(0, 2**31), "how many jobs are before it", 0)
    octave: int = _field(integer(0, 1000), "octave it is in, counted from 1, coarse to fine", 0)
    octaves: int = _field(integer(0, 1000), "of so many", 0)
    step: int = _field(integer(0, 2**31), "step of the octave, counted from 1", 0)
    steps: int = _field(integer(0, 2**31), "of so many", 0)
    fraction: float = _field(number, "share of the work that is done, 0 to 1", 0.0)
    seconds_left: float | None = _field(optional(number), "until the end, estimated", None)
    value: float = _field(
        number,
        "how far the objective has risen in this octave: its change over the sizes of all its terms, then and now;"
        " -1 to 1, 0 where it was, 1/3 where what was positive has doubled",
        0.0,
    )


_BOX = "where the pixels belong in the image sent, or in it as it is enlarged: top, left, height, width"


@dataclass(frozen=True, kw_only=True)
class PreviewIs(Message):
    """The region as dreamt so far, in 8 bit, perhaps reduced; to be stretched over its box."""

    type, sender = "preview", "daemon"
    job: str = _field(job_id, _JOB)
    octave: int = _field(integer(0, 1000), "octave it is in", 0)
    step: int = _field(integer(0, 2**31), "step of the octave", 0)
    box: tuple[int, int, int, int] = _field(many(integer(0, 2**24), 4, shortest=4), _BOX)
    array: Array = _field(record(Array, strict=False), "the pixels")


@dataclass(frozen=True, kw_only=True)
class Done(Message):
    """The job's end with its result: the box around the region, in the input's own type and channels."""

    type, sender = "done", "daemon"
    job: str = _field(job_id, _JOB)
    box: tuple[int, int, int, int] = _field(many(integer(0, 2**24), 4, shortest=4), _BOX)
    outputs: tuple[Array, ...] = _field(many(record(Array, strict=False), 8), "the pixels: `image`")
    params: dict[str, Any] = _field(plain, "every parameter as it was used")
    info: dict[str, Any] = _field(
        plain, "network and hash of its weights, device, seconds by part, what was degraded"
    )


@dataclass(frozen=True, kw_only=True)
class Failed(Message):
    """The job's end without a result."""

    type, sender = "failed", "daemon"
    job: str = _field(job_id, _JOB)
    error: Error = _field(record(Error, strict=False), "why")


@dataclass(frozen=True, kw_only=True)
class Cancelled(Message):
    """The job's end because the client asked for it, or went away."""

    type, sender = "cancelled", "daemon"
    job: str = _field(job_id, _JOB)


@dataclass(frozen=True, kw_only=True)
class JobIs(Message):
    """The state of a job, in answer to `cancel`, `stop`, `attach` and `ack`."""

    type, sender = "job", "daemon"
    job: str = _field(job_id, _JOB)
    state: str = _field(
        one_of("queued", "running", "done", "failed", "cancelled", "gone"),
        "`gone`: acknowledged, expired or never here",
    )


@dataclass(frozen=True, kw_only=True)
class StatusIs(Message):
    """The answer to `status`."""

    type, sender = "status_is", "daemon"
    status: dict[str, Any] = _field(
        plain,
        "version, instance, uptime, memory, settings, queue, jobs, workers, counts, last errors, paths",
    )


@dataclass(frozen=True, kw_only=True)
class NetworksAre(Message):
    """The answer to `networks`."""

    type, sender = "networks_are", "daemon"
    networks: tuple[dict[str, Any], ...] = _field(
        many(plain, 2000), "name, label, here, loaded, megabytes, help of each"
    )


@dataclass(frozen=True, kw_only=True)
class Pulling(Message):
    """How far a download is."""

    type, sender = "pulling", "daemon"
    network: str = _field(text(100), "the network's name")
    bytes: int = _field(integer(0, 2**53), "fetched so far")
    total: int = _field(integer(0, 2**53), "of so many; 0 while unknown")


@dataclass(frozen=True, kw_only=True)
class Pulled(Message):
    """A download has ended well, or was not needed."""

    type, sender = "pulled", "daemon"
    network: str = _field(text(100), "the network's name")


@dataclass(frozen=True, kw_only=True)
class Unloaded(Message):
    """Networks were asked out of memory; a job that runs keeps its own."""

    type, sender = "unloaded", "daemon"
    networks: tuple[str, ...] = _field(many(text(100), 2000), "their names")


@dataclass(frozen=True, kw_only=True)
class Pong(Message):
    """The answer to `ping`."""

    type, sender = "pong", "daemon"


@dataclass(frozen=True, kw_only=True)
class Stopping(Message):
    """The answer to `shutdown`: the daemon ends."""

    type, sender = "stopping", "daemon"


@dataclass(frozen=True, kw_only=True)
class ErrorIs(Message):
    """A message could not be obeyed; the connection goes on."""

    type, sender = "error", "daemon"
    error: Error = _field(record(Error, strict=False), "why")


#: Every message by its type.
MESSAGES: Mapping[str, type[Message]] = {kind.type: kind for kind in Message.__subclasses__()}
#: The three ends that a job can have, exactly one of which it has.
ENDS = (Done, Failed, Cancelled)


def encode(message: Message) -> list[Buffer]:
    """The frames of a message. Raises `DreamError` bad_message or limit for what cannot be written."""
    header = {"type": message.type} | _write(message)
    try:
        packed = msgpack.packb(header)
    except (TypeError, ValueError, OverflowError) as error:
        raise _bad("its header", f"plain data that msgpack can hold ({error})") from None
    if len(packed) > MAX_HEADER:
        raise DreamError(
            "limit", f"A message's header would be {len(packed)} bytes; at most {MAX_HEADER} are allowed."
        )
    return [MAGIC, packed, *message.frames]


def decode(frames: Sequence[Buffer]) -> Message:
    """The message of some frames, every field checked, every frame of the length that its `Array` announces.

    Fields unknown to this version are refused in what clients send, and passed over in what daemons send; and in
    `hello`, so that a client of a later version is told which one is spoken here.
    Raises `DreamError` bad_message or limit.
    """
    if len(frames) < 2 or len(frames) > 2 + MAX_FRAMES or frames[0] != MAGIC:
        raise _bad("it", f"the frame DD1, a header, and at most {MAX_FRAMES} frames of pixels")
    header = unpack(frames[1])
    name = header.pop("type", None)
    kind = MESSAGES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _bad("its type", f"one of {', '.join(MESSAGES)}")
    strict = kind.sender == "client" and kind is not Hello
    message: Message = _read(kind, header, kind.type, strict=strict)
    pixels = tuple(frames[2:])
    _check_frames(arrays(message), pixels)
    return dataclasses.replace(message, frames=pixels)


def arrays(message: Message) -> tuple[Array, ...]:
    """What describes the pixels of a message."""
    if isinstance(message, Submit):
        return message.inputs
    if isinstance(message, Done):
        return message.outputs
    return (message.array,) if isinstance(message, PreviewIs) else ()


def unpack(header: Buffer) -> dict[str, Any]:
    """A header's map of plain data: text, finite numbers, true, false, nil, lists, and maps with text keys.

    No key comes twice, and nothing is nested deeper than `MAX_DEPTH`.
    """
    if len(header) > MAX_HEADER:
        raise DreamError("limit", f"The header has {len(header)} bytes; at most {MAX_HEADER} are allowed.")

    def pairs(items: list[tuple[object, object]]) -> dict[object, object]:
        items = list(items)  # msgpack in pure Python gives a generator
        result = dict(items)
        if len(result) != len(items):
            raise ValueError("a key twice")
        return result

    def refuse(code: int, data: bytes) -> object:
        raise ValueError("an extension type")

    try:
        value = msgpack.unpackb(header, object_pairs_hook=pairs, ext_hook=refuse, strict_map_key=True)
    except Exception as error:
        raise _bad("its header", f"a msgpack map of plain data ({str(error) or type(error).__name__})") from None
    if fault := _fault(value, MAX_DEPTH):
        where, expected = fault
        raise _bad(f"header{where}", expected)
    return plain(value, "its header")


def _fault(value: object, depth: int) -> tuple[str, str] | None:
    """Where a value is not plain data, and what must be there. Places are named only when there is a fault."""
    if value is None or isinstance(value, (str, int)):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else ("", "a finite number")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return "", "a map with text keys"
        inside: Iterable[tuple[Any, object]] = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    else:
        return "", f"plain data, not {type(value).__name__}"
    if value and not depth:
        return "", f"nested at most {MAX_DEPTH} deep"
    for key, each in inside:
        if fault := _fault(each, depth - 1):
            step = f"[{key}]" if isinstance(value, list) else f".{key:.60}"
            return step + fault[0], fault[1]
    return None


def _check_frames(described: Sequence[Array], pixels: Sequence[Buffer]) -> None:
    if sorted(array.frame for array in described) != list(range(len(pixels))):
        raise _bad("its arrays", "as many as its frames of pixels, one for each")
    for array in described:
        size = memoryview(pixels[array.frame]).nbytes
        if size != array.nbytes:
            shape = "x".join(map(str, array.shape))
            raise _bad(f"frame {array.frame}", f"{array.nbytes} bytes for {shape} of {array.dtype}, not {size}")


def _fields(kind: type[Any]) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(kind) if "check" in field.metadata]


def _read(kind: type[Any], value: object, where: str, *, strict: bool) -> Any:
    given = plain(value, where)
    values = {}
    for field in _fields(kind):
        if field.name in given:
            values[field.name] = field.metadata["check"](given.pop(field.name), f"{where}.{field.name}")
        elif field.default is MISSING:
            raise _bad(f"{where}.{field.name}", "given")
    if strict and given:
        raise _bad(where, f"without the unknown field {next(iter(given))!r:.60}")
    return kind(**values)


def _write(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = [(field, getattr(value, field.name)) for field in _fields(type(value))]
        return {field.name: _write(each) for field, each in fields if each != field.default}
    if isinstance(value, (list, tuple)):
        return [_write(each) for each in value]
    return value

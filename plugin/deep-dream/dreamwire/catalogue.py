"""Catalogues: one small picture dreamt at every layer of a network, or for every channel of a layer.

So a person chooses a layer by looking, as in the figures of "Inceptionism" (Mordvintsev and others, 2015). Or the
picture is rebuilt from them, to see what each knows of it, as in the figures of Mahendran and Vedaldi (2014).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import __version__, paths
from .client import Client, Image, Job, JobCancelledError
from .errors import DreamError
from .messages import Done
from .networks import find_network
from .params import CATALOGUES, MOST_CHANNELS, Value, validate
from .private import secure_dir
from .texts import Ranked, parse_channels

#: Jobs of one connection that are sent before the first of them has ended, so that the daemon never waits.
AHEAD = 2
#: Seconds within which a catalogue that is not wanted any more ends.
PROMPT = 0.03


@dataclass(frozen=True)
class Entry:
    """One thumbnail: what it is called, and the parameters and the kind of the job that makes it."""

    name: str
    params: Mapping[str, Value]
    kind: str = "dream"


def layers(given: Mapping[str, Value], kind: str = "dream") -> list[Entry]:
    """An entry for each layer that a network offers, from the shallowest; `given` are rows of `CATALOGUES`."""
    common = _common(given, kind)
    network = find_network(str(common["network"]))
    return [Entry(name, common | {"layers": name}, kind) for name in network.offers]


def channels(given: Mapping[str, Value], layer: str, which: str = "", kind: str = "dream") -> list[Entry]:
    """An entry for each of some channels of a layer, in numbers and ranges; the first 32 if none are named.

    Raises `DreamError` bad_params for a layer or a channel that there is not, and for channels by rank.
    """
    common = _common(given, kind) | {"layers": layer}
    validate(kind, common | {"channels": which})
    offered = find_network(str(common["network"])).layers[layer].channels
    wanted = parse_channels(which) or range(min(MOST_CHANNELS, offered))
    if isinstance(wanted, Ranked):
        raise DreamError("bad_params", f"channels is {which!r:.80}, but must be numbers and ranges, such as 0-31.")
    return [Entry(f"{layer} {number}", common | {"channels": str(number)}, kind) for number in wanted]


def _common(given: Mapping[str, Value], kind: str) -> dict[str, Value]:
    return {name: given.get(name, row.default) for name, row in CATALOGUES[kind].items()}


@dataclass
class Cache:
    """Thumbnails on disk: at most about `limit` bytes, those that were not looked at for longest go first.

    A folder that cannot be read or written does no harm: then nothing is remembered.
    """

    folder: Path = field(default_factory=lambda: paths.cache_dir() / "catalogue")
    limit: int = 64 << 20

    def get(self, key: str, size: int) -> bytes | None:
        """What was put there under `key`, of `size` bytes."""
        file = self.folder / key
        with contextlib.suppress(OSError):
            pixels = file.read_bytes()
            if len(pixels) == size:
                os.utime(file)
                return pixels
        return None

    def put(self, key: str, pixels: bytes) -> None:
        """Remembers the bytes; after a break there is all of them or nothing."""
        with contextlib.suppress(OSError):
            secure_dir(self.folder.parent)
            secure_dir(self.folder)
            part = self.folder / f"{key}.{secrets.token_hex(4)}"
            try:
                part.write_bytes(pixels)
                part.replace(self.folder / key)
            finally:
                part.unlink(missing_ok=True)
            self._shrink()

    def _shrink(self) -> None:
        found = [(file.stat(), file) for file in self.folder.iterdir()]
        left = sum(stat.st_size for stat, _ in found)
        for stat, file in sorted(found, key=lambda pair: pair[0].st_mtime):
            if left <= self.limit:
                return
            file.unlink(missing_ok=True)
            left -= stat.st_size


def thumbnails(
    client: Client,
    image: Image,
    entries: Sequence[Entry],
    *,
    cache: Cache | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[tuple[Entry, bytes]]:
    """Each entry with its pixels, which are of the size, channels and type of the image: gray or RGB, no alpha.

    Those that were made before come first, and at once; the others as the daemon has them done. Ends when
    `wanted`, which is asked again and again meanwhile, says no; that, or closing the iterator, cancels what is
    under way. Raises what `Client.submit` and `Job.next` raise.
    """
    cache = cache or Cache()
    size = memoryview(image.pixels).nbytes
    todo: deque[tuple[Entry, str]] = deque()
    for entry in entries:
        key = key_of(image, entry)
        if pixels := cache.get(key, size):
            yield entry, pixels
        else:
            todo.append((entry, key))
    sent: deque[tuple[Entry, str, Job]] = deque()
    try:
        while (todo or sent) and wanted():
            while todo and len(sent) < AHEAD:
                entry, key = todo.popleft()
                sent.append((entry, key, client.submit(entry.kind, entry.params, image=image)))
            entry, key, job = sent.popleft()
            event = job.next(PROMPT)
            if isinstance(event, Done):
                pixels = bytes(event.frames[0])
                cache.put(key, pixels)
                yield entry, pixels
            else:
                sent.appendleft((entry, key, job))
    finally:
        for _, _, job in sent:
            drop(job)


def key_of(image: Image, entry: Entry) -> str:
    """What a thumbnail is remembered by: all that it depends on, as a hash."""
    weights = find_network(str(entry.params["network"])).weights.sha256
    facts = [__version__, entry.kind, validate(entry.kind, entry.params), weights, image.shape, image.dtype]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(image.pixels)
    return digest.hexdigest()


def drop(job: Job) -> None:
    """Cancels a job and hears it out, so that nothing of it is left on the connection."""
    with contextlib.suppress(ConnectionError, DreamError, JobCancelledError):
        job.cancel()
        for _ in job:
            pass

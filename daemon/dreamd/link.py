"""A connection between two machines: pictures go in parts, and only as fast as they are taken.

Otherwise a picture of some megabytes would hold up all that is sent after it, cancels and pings first of all, for
as long as a slow line takes. What the relay and the gate send each other are messages of ZeroMQ whose first frame
begins with a letter:

| first frame | further frames | meaning |
|---|---|---|
| `m` | the frames of a message | a small message, as it is |
| `b`, lengths of 8 bytes each | | a large message begins: the lengths of its frames |
| `p` | pieces | more bytes of it |
| `d` | | it is given up |
| `c`, 4 bytes | | so many bytes more of large messages may be sent |
| `a` | | nothing: a sign of life |
| `x`, text in UTF-8 | | the connection is ended, and why |

Numbers are little-endian. Large messages go one after another, small ones pass them.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dreamwire.messages import ENDS, MAX_FRAMES, Message, PreviewIs

#: Bytes of a part: at 10 Mbit/s what comes after it waits 26 ms.
PART = 32 << 10
#: Bytes of large messages that may be under way: what a line of 10 Mbit/s holds in 0.4 s there and back. More
#: would only wait in line, and others behind them.
WINDOW = 512 << 10
#: Bytes taken after which more are asked for.
GRANT = WINDOW // 4
#: Bytes of the largest message of ZeroMQ's own that a link sends: a part, or a small message.
MOST = PART + (1 << 10)
#: Seconds after which a sign of life is given, and those of silence after which the other side counts as gone.
ALIVE, GONE = 5.0, 30.0
#: Messages for our own side that it has not taken yet, with which no more is asked for.
ENOUGH = 2

_CREDIT = struct.Struct("<I")
Frames = Sequence[Any]


class LinkError(Exception):
    """The other side does not keep to this; or has ended the connection, and this is why."""


@dataclass
class _Leaving:
    """A large message on its way out; `rest` are its bytes that have not left."""

    message: Message | None
    rest: deque[memoryview]
    begun: bool = False


@dataclass
class _Coming:
    """A large message on its way in."""

    lengths: Sequence[int]
    content: bytearray
    filled: int = 0


@dataclass
class Link:
    """One end of a connection. It sends and receives nothing by itself; `most` are the bytes of a message."""

    most: int
    _small: deque[list[Any]] = field(default_factory=deque)
    _large: deque[_Leaving] = field(default_factory=deque)
    _credit: int = WINDOW
    _coming: _Coming | None = None
    _taken: int = 0

    def put(self, frames: Frames, message: Message | None) -> None:
        """Has a message sent; `message` is what it says, if that is known."""
        if isinstance(message, (PreviewIs, *ENDS)):
            # A newer preview replaces those that wait, and after the end of a job there is none.
            begun = isinstance(message, ENDS)
            self.withdraw(lambda other: isinstance(other, PreviewIs) and other.job == message.job, begun=begun)
        views = [memoryview(frame).cast("B") for frame in frames]
        if sum(view.nbytes for view in views) <= PART:
            self._small.append([b"m", *frames])
        else:
            self._large.append(_Leaving(message, deque(views)))

    def withdraw(self, unwanted: Callable[[Message], bool], *, begun: bool = True) -> bool:
        """Sends some large messages no more, nor the rest of one that is `begun`; whether there were any."""
        found = [
            each for each in self._large if each.message and unwanted(each.message) and (begun or not each.begun)
        ]
        for each in found:
            self._large.remove(each)
            if each.begun:
                self._small.append([b"d"])
        return bool(found)

    def end(self, why: str) -> None:
        """Tells the other side that this is the end."""
        self._small.append([b"x" + why.encode()[:PART]])

    def alive(self) -> None:
        """Gives a sign of life."""
        self._small.append([b"a"])

    def due(self, *, room: bool = True) -> Iterator[list[Any]]:
        """What is to be sent now. Without `room` for more on our side, none is asked for."""
        if room and self._taken >= GRANT:
            self._small.append([b"c" + _CREDIT.pack(self._taken)])
            self._taken = 0
        while self._small or (self._large and self._credit):
            yield self._small.popleft() if self._small else self._part()

    def _part(self) -> list[Any]:
        """The next part of the first large message, or its beginning."""
        leaving = self._large[0]
        if not leaving.begun:
            leaving.begun = True
            return [b"b" + struct.pack(f"<{len(leaving.rest)}Q", *(view.nbytes for view in leaving.rest))]
        room = min(PART, self._credit)
        pieces = []
        while room and leaving.rest:
            view = leaving.rest.popleft()
            pieces.append(view[:room])
            if view.nbytes > room:
                leaving.rest.appendleft(view[room:])
            room -= pieces[-1].nbytes
        self._credit -= sum(piece.nbytes for piece in pieces)
        if not leaving.rest:
            self._large.popleft()
        return [b"p", *pieces]

    def take(self, parts: Sequence[bytes]) -> list[Any] | None:
        """The message that is complete with what has come, if one is. Raises `LinkError`."""
        kind, rest = parts[0][:1], parts[0][1:]
        if kind == b"m" and not rest and len(parts) > 1:
            return list(parts[1:])
        if kind == b"p" and not rest and self._coming is not None:
            return self._more(self._coming, parts[1:])
        if kind == b"b" and len(parts) == 1 and self._coming is None:
            self._begin(rest)
        elif kind == b"d" and len(parts) == 1 and not rest and self._coming is not None:
            self._coming = None
        elif kind == b"c" and len(parts) == 1 and len(rest) == _CREDIT.size:
            self._credit = min(self._credit + _CREDIT.unpack(rest)[0], WINDOW)
        elif kind == b"x":
            raise LinkError(rest.decode(errors="replace"))
        elif kind != b"a":
            raise LinkError("It does not speak as this version does.")
        return None

    def _begin(self, lengths: bytes) -> None:
        count, odd = divmod(len(lengths), 8)
        if odd or not 1 < count <= MAX_FRAMES + 2:
            raise LinkError("It sends messages of a strange number of frames.")
        sizes = struct.unpack(f"<{count}Q", lengths)
        if not PART < sum(sizes) <= self.most:
            raise LinkError(f"It wants to send {sum(sizes)} bytes at once; {self.most} are the most.")
        # The system gives the memory when it is written to, and no sooner.
        self._coming = _Coming(sizes, bytearray(sum(sizes)))

    def _more(self, coming: _Coming, pieces: Sequence[bytes]) -> list[Any] | None:
        for piece in pieces:
            end = coming.filled + len(piece)
            if end > len(coming.content):
                raise LinkError("It sends more than it has told.")
            coming.content[coming.filled : end] = piece
            coming.filled = end
            self._taken += len(piece)
        if coming.filled < len(coming.content):
            return None
        self._coming = None
        whole, frames, start = memoryview(coming.content).toreadonly(), [], 0
        for length in coming.lengths:
            frames.append(whole[start : start + length])
            start += length
        return frames


class GoneError(Exception):
    """Our own side of a tie is gone."""


@dataclass
class Tie:
    """A client and a daemon that speak by way of us: one of them is near, the other at the far end of a link.

    `near` sends a message to the near one, and returns False if it takes none now; `far` sends over the link. Both
    raise `GoneError`.
    """

    link: Link
    near: Callable[[Frames], bool]
    far: Callable[[Frames], None]
    heard: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)
    _waiting: deque[Frames] = field(default_factory=deque)

    def came(self, parts: Sequence[bytes]) -> Frames | None:
        """What has come over the link: a whole message, if there is one now. Raises `LinkError`."""
        self.heard = time.monotonic()
        return self.link.take(parts)

    def pass_on(self, frames: Frames) -> None:
        """Has the near one told."""
        self._waiting.append(frames)

    def move(self) -> bool:
        """Sends what can be sent, and gives a sign of life now and then; whether something waits to be taken."""
        while self._waiting and self.near(self._waiting[0]):
            self._waiting.popleft()
        now = time.monotonic()
        if now - self.told > ALIVE:
            self.link.alive()
        for parts in self.link.due(room=len(self._waiting) < ENOUGH):
            self.far(parts)
            self.told = now
        return bool(self._waiting)

    @property
    def is_silent(self) -> bool:
        """Whether nothing was heard from the far end for too long."""
        return time.monotonic() - self.heard > GONE

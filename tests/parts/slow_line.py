"""A line between two machines, as slow and as broken as a test wants it: TCP is passed on over loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field

#: Bytes that are passed on at a time.
PIECE = 16 << 10


@dataclass
class Line:
    """Passes on what comes to `endpoint` to a port of this machine's 127.0.0.2, and back.

    `rate` is in bytes a second each way, 0 for as fast as can be, `delay` in seconds each way. `sent` is all that
    clients have sent.
    """

    port: int
    rate: float = 0.0
    delay: float = 0.0
    sent: bytearray = field(default_factory=bytearray)
    _ends: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.3", 0))
        self.endpoint = f"tcp://127.0.0.3:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                try:
                    far = socket.create_connection(("127.0.0.2", self.port))
                except OSError:
                    near.close()
                    continue
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    # What lies in buffers is on no slow line.
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * PIECE)
                self._ends += [near, far]
                for source, sink, kept in ((near, far, self.sent), (far, near, bytearray())):
                    _Way(self, source, sink, kept).start()

    def cut(self) -> None:
        """Ends all connections; new ones can be made."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()
        self.cut()


class _Way:
    """One direction of a connection."""

    def __init__(self, line: Line, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        self._line, self._source, self._sink, self._kept = line, source, sink, kept
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._changed = threading.Condition()

    def start(self) -> None:
        for work in (self._take, self._give):
            threading.Thread(target=work, daemon=True).start()

    def _take(self) -> None:
        """As fast as the line is."""
        free = time.monotonic()
        with contextlib.suppress(OSError):
            while data := self._source.recv(PIECE):
                self._kept += data
                free = max(free, time.monotonic()) + (len(data) / self._line.rate if self._line.rate else 0.0)
                time.sleep(max(0.0, free - time.monotonic()))
                self._put(free + self._line.delay, data)
        self._put(0.0, b"")

    def _put(self, due: float, data: bytes) -> None:
        with self._changed:
            self._under_way.append((due, data))
            self._changed.notify()

    def _give(self) -> None:
        """Later, by the delay."""
        with contextlib.suppress(OSError):
            while True:
                with self._changed:
                    while not self._under_way:
                        self._changed.wait()
                    due, data = self._under_way.popleft()
                if not data:
                    break
                time.sleep(max(0.0, due - time.monotonic()))
                self._sink.sendall(data)
        for end in (self._source, self._sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

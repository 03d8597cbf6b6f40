"""Clients that behave badly, each a process of its own: `python floods.py NAME ENDPOINT`, until its input ends."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgpack
import zmq

from dreamwire.messages import MAGIC, Array, Cancel, Hello, Message, Networks, Status, Submit, encode
from rubbish import rubbish

#: Steps after which a flood is under way, and after which it ends even if nobody ends it.
UNDER_WAY, MOST = 30, 1_000_000
HELLO = Hello(versions=(1,), client="flood")
#: What ZeroMQ says first on a connection (ZMTP 3.0), and that this is a DEALER.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"


class Line:
    """A connection that sends as much as it can; it reads nothing unless told to."""

    def __init__(self, endpoint: str) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.sndhwm = 10  # the rest waits here, and notices the end
        self.socket.connect(endpoint)
        self.send(HELLO)
        self.socket.recv_multipart()

    def send(self, message: Message) -> None:
        self.send_frames(encode(message))

    def send_frames(self, frames: list[bytes]) -> None:
        self.socket.send_multipart(frames, copy=False)

    def read(self) -> None:
        while self.socket.poll(0):
            self.socket.recv_multipart(copy=False)


def brief_job(side: int = 2, steps: int = 1) -> Submit:
    picture = Array("image", 0, "uint8", (side, side, 4))
    params = {"layers": "blocks.2", "octaves": 1, "steps": steps}
    return Submit(
        job=str(uuid.uuid4()), kind="dream", params=params, inputs=(picture,), frames=(b"\x7f" * picture.nbytes,)
    )


def malformed_messages(endpoint: str) -> Iterator[None]:
    line = Line(endpoint)
    for number in itertools.count():
        line.send_frames(rubbish(number))
        line.read()
        yield


def requests_whose_answers_nobody_reads(endpoint: str) -> Iterator[None]:
    line = Line(endpoint)
    for _ in itertools.count():
        for message in (Status(), Networks()):
            line.send(message)
        yield


def headers_that_take_long_to_read(endpoint: str) -> Iterator[None]:
    line = Line(endpoint)
    header = msgpack.packb({"type": "ping", "x": [{}] * 65_000})
    for _ in itertools.count():
        line.send_frames([MAGIC, header])
        line.read()
        yield


def messages_of_a_hundred_thousand_frames(endpoint: str) -> Iterator[None]:
    line = Line(endpoint)
    for _ in itertools.count():
        line.send_frames([MAGIC, *[b""] * 100_000])
        line.read()
        yield


def a_job_after_the_other(endpoint: str) -> Iterator[None]:
    line = Line(endpoint)
    for _ in itertools.count():
        line.send(brief_job())
        line.read()
        yield


def jobs_that_are_cancelled(endpoint: str) -> Iterator[None]:
    line = Line(endpoint)
    for _ in itertools.count():
        job = brief_job()
        line.send(job)
        line.send(Cancel(job=job.job))
        line.read()
        yield


def a_connection_for_every_job(endpoint: str) -> Iterator[None]:
    lines: list[Line] = []
    for _ in itertools.count():
        lines.append(Line(endpoint))
        lines[-1].send(brief_job())
        if len(lines) > 200:
            lines.pop(0).socket.close()
        yield


def pictures_faster_than_they_are_refused(endpoint: str) -> Iterator[None]:
    line = Line(endpoint)
    for _ in itertools.count():
        line.send(brief_job(side=1000))
        line.read()
        yield


def results_that_nobody_reads(endpoint: str) -> Iterator[None]:
    line = Line(endpoint)
    for _ in itertools.count():
        line.send(brief_job(side=700))
        yield


def bare(endpoint: str) -> socket.socket:
    """A connection without ZeroMQ."""
    bare = socket.socket(socket.AF_UNIX)
    bare.connect(endpoint.removeprefix("ipc://"))
    return bare


def connections_that_say_nothing(endpoint: str) -> Iterator[None]:
    lines: list[socket.socket] = []
    for number in itertools.count():
        with contextlib.suppress(BlockingIOError):  # nobody takes them as fast as they come
            lines.append(bare(endpoint))
            lines[-1].sendall(GREETING[: number % (len(GREETING) + 1)])
        if len(lines) > 500:
            lines.pop(0).close()
        yield


def messages_that_never_end(endpoint: str) -> Iterator[None]:
    frame = b"\x03" + (1 << 20).to_bytes(8, "big") + bytes(1 << 20)  # a long one, and more to come
    for _ in itertools.count():
        with bare(endpoint) as line, contextlib.suppress(ConnectionError):
            line.sendall(GREETING + READY)
            for _ in range(20):
                line.sendall(frame)
        yield


#: Every flood by its name; each step of one sends a message, or a few.
FLOODS: Mapping[str, Callable[[str], Iterator[None]]] = {
    flood.__name__: flood
    for flood in (
        malformed_messages, requests_whose_answers_nobody_reads, headers_that_take_long_to_read,
        messages_of_a_hundred_thousand_frames, a_job_after_the_other, jobs_that_are_cancelled,
        a_connection_for_every_job, pictures_faster_than_they_are_refused, results_that_nobody_reads,
        connections_that_say_nothing, messages_that_never_end,
    )
}  # fmt: skip


@contextmanager
def flooded(name: str, endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """A flood that is under way, and is ended."""
    command = [sys.executable, __file__, name, endpoint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "flooding\n"
            yield process
            process.stdin.close()
            process.wait(60)
        finally:
            process.kill()


def main(name: str, endpoint: str) -> None:
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    steps = FLOODS[name](endpoint)
    for step in range(MOST):
        if over.is_set():
            break
        next(steps)
        if step == UNDER_WAY:
            print("flooding", flush=True)
    zmq.Context.instance().destroy(linger=0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(*sys.argv[1:])

"""The front's side of a worker: starting the process, talking to it, noticing its end."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zmq

from dreamwire.errors import DreamError
from dreamwire.messages import Hello, Message, Shutdown, decode, encode
from dreamwire.transport import parse_endpoint

from .options import SECRET, Options
from .sockets import receive

log = logging.getLogger(__name__)

#: What makes a worker quick, read by its libraries when it starts; the user's own settings go before.
ENVIRONMENT = {
    # glibc gives big blocks back to the system and faults them in again at every step, a third of a step's time.
    # Whole pictures may go.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    # Every tensor is aligned, and before glibc 2.38 that leaves crumbs on both sides. Threads keep crumbs for
    # themselves, where nothing can be joined with them: what one window has freed no longer fits the next, and the
    # heap grows to three times what a window needs. Threads of ours ask for little that is small.
    # And all lies in pages of 2 MB where Linux gives them to who asks: looking up usual ones takes a fifth of a
    # step.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.hugetlb=1",
    # What oneDNN prepares for a convolution of one size is kept. A dream has windows of many, and the thousand
    # that it keeps by itself are forgotten before they come again, which costs a third of a step.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "4096",
    # How long threads spin while they wait for each other: not at all costs a quarter of a step, for ever makes it
    # many times as long when somebody else, such as an editor, wants one of the cores.
    "GOMP_SPINCOUNT": "10000",
}


class Supervisor:
    """One worker process and the socket to it; started when needed, ended when idle.

    The socket is a ROUTER, so that a stranger who finds it neither takes the worker's place nor keeps it out.
    """

    def __init__(self, context: zmq.Context[Any], options: Options, device: str) -> None:
        self._context, self._options, self.device = context, options, device
        self._process: subprocess.Popen[bytes] | None = None
        self.socket: zmq.Socket[bytes] | None = None
        self._peer: bytes | None = None
        self._path: Path | None = None
        self.status: dict[str, Any] = {}
        self.job = ""
        self._spare = False
        self.idle_since = self.heard = time.monotonic()
        self.starts = 0

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self, *, spare: bool = False) -> None:
        """Starts the process if it does not run; with `spare` one that makes do with little memory.

        One that runs otherwise is replaced. Raises `DreamError` internal if the system lets none be started.
        """
        if self._process and self._spare == spare:
            return
        self.stop()
        self._spare = spare
        try:
            self._launch()
        except (OSError, zmq.ZMQError) as error:
            self.stop()
            raise DreamError(
                "internal",
                f"The process that dreams cannot be started: {os.strerror(error.errno or 0)}. Free what is short,"
                f" such as memory or the disk of {self._options.endpoint}, and try again.",
                retryable=True,
            ) from error

    def _launch(self) -> None:
        self.starts += 1
        self._secret, self._peer = secrets.token_hex(16), None
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.set_hwm(0)
        self.socket.maxmsgsize = self._options.limits.frame
        endpoint = self._bind(self.socket)
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "dreamd.worker", "--connect", endpoint, "--device", self.device,
                "--memory", str(self._options.memory), "--preload", self._options.preload,
                "--log", str(self._options.log), *["--spare"] * self._spare,
            ],
            # Its standard input is a line to us that it watches: it ends when we do, however we end.
            stdin=subprocess.PIPE,
            env=ENVIRONMENT | dict(os.environ) | {SECRET: self._secret},
        )  # fmt: skip
        self.idle_since = self.heard = time.monotonic()
        log.info("worker %d for %s started", self._process.pid, self.device)

    def _bind(self, socket: zmq.Socket[bytes]) -> str:
        """An address for this worker alone: beside the daemon's socket, or a port that the secret protects."""
        address = parse_endpoint(self._options.endpoint)
        if not isinstance(address, str):
            return f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"
        self._path = Path(address).with_name(f"worker-{secrets.token_hex(6)}")
        mask = os.umask(0o177)
        try:
            socket.bind(f"ipc://{self._path}")
        finally:
            os.umask(mask)
        return f"ipc://{self._path}"

    @property
    def ready(self) -> bool:
        """Whether the process has reported, and proved that it is ours."""
        return self._peer is not None

    def send(self, message: Message) -> None:
        self.forward(encode(message))

    def forward(self, frames: Sequence[Any]) -> None:
        """Passes frames on to the worker without a copy; nothing is sent to one that is not ready."""
        if self.socket is not None and self._peer is not None:
            self.socket.send_multipart([self._peer, *frames], copy=False)

    def receive(self) -> tuple[Message, list[zmq.Frame]] | None:
        """The next message of the worker and its frames, if there is one and no stranger's comes first."""
        if self.socket is None or not self.socket.poll(0):
            return None
        peer, *frames = receive(self.socket)
        if peer.bytes == self._peer:
            self.heard = time.monotonic()
            return decode([frame.buffer for frame in frames]), frames
        if self._peer is None and self._is_ours(frames):
            self._peer = peer.bytes
        else:
            log.info("a stranger knocked at the worker's socket")
        return None

    def _is_ours(self, frames: Sequence[zmq.Frame]) -> bool:
        try:
            message = decode([frame.buffer for frame in frames])
        except DreamError:
            return False
        return isinstance(message, Hello) and secrets.compare_digest(message.token.encode(), self._secret.encode())

    def died(self) -> int | None:
        """The exit status of a process that has ended by itself; None while it runs or when it was stopped."""
        return self._process.poll() if self._process else None

    @property
    def unreachable(self) -> bool:
        """Whether the process looks in vain for its socket, which somebody has removed before it was there."""
        return self.running and not self.ready and self._path is not None and not self._path.exists()

    def stop(self) -> None:
        """Ends the process, by force if it does not go by itself."""
        process, self._process = self._process, None
        self.status, self.job = {}, ""
        if process is not None:
            if process.poll() is None and not self.ready:
                process.kill()  # it has nothing to lose
            self.send(Shutdown())
            assert process.stdin is not None  # noqa: S101
            process.stdin.close()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.info("worker %d ended with %s", process.pid, process.returncode)
        if self.socket is not None:
            self.socket.close(linger=0)
            self.socket = self._peer = None
            if self._path is not None:
                with contextlib.suppress(OSError):
                    self._path.unlink()

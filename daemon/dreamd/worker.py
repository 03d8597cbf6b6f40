"""The worker: a process of its own that holds torch and the networks, and runs one job after the other.

It speaks the daemon's own protocol over a DEALER socket: `submit`, `cancel`, `stop`, `unload` come in; `progress`,
`preview` and the job's end go out, ready to be passed on to the client; `status_is` tells the front what it holds.
A fault of a device's driver costs this process and its job, and not the daemon.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import time
from pathlib import Path

import torch
import zmq
from zmq.utils import garbage

from dreamwire.errors import DreamError
from dreamwire.messages import (
    Cancel,
    Cancelled,
    Done,
    Error,
    Failed,
    Hello,
    Message,
    Shutdown,
    StatusIs,
    Stop,
    Submit,
    Unload,
    decode,
    encode,
)
from dreamwire.params import validate

from . import ram
from .devices import (
    Attempt,
    NetworkCache,
    card_memory,
    choose_device,
    choose_dtype,
    device_name,
    is_out_of_memory,
    largest_window,
)
from .logs import configure
from .options import SECRET
from .parent import end_with_parent
from .run import Channel, JobCancelledError, Run

log = logging.getLogger(__name__)

#: Bytes beyond those of its networks that a worker keeps from one job to the next: what 5 megapixels take.
HELD = 3 << 29
#: Seconds after which a worker in the middle of a job says again how it is.
STATUS_EVERY = 2.0


class Worker:
    """Runs jobs that come over `socket` until told to shut down; with `spare`, in the smallest windows.

    Where the processor's memory has run out, what oneDNN could not prepare stays missing, and holes stay in the
    heap. Such a worker reports itself as `spent`, and the next job gets a fresh one.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], device: torch.device, budget: int, *, spare: bool = False
    ) -> None:
        self._socket = socket
        self._device = device
        self._cache = NetworkCache(budget)
        self._spare, self._spent = spare, False
        self._told = time.monotonic()

    def run(self, preload: str) -> None:
        """Serves until `shutdown`; the network `preload` is loaded first, so that the first job need not wait."""
        self._tell_status()
        if preload:
            with contextlib.suppress(DreamError):  # a job that needs it will say so
                self._cache.get(preload, self._device, choose_dtype("auto", self._device))
        while True:
            self._tell_status()
            message = self._receive()
            if isinstance(message, Submit):
                self._run_job(message)
                del message  # with its picture
                ram.give_back_beyond(HELD + self._cache.bytes)
            elif isinstance(message, Unload):
                self._cache.unload(message.network)
            elif isinstance(message, Shutdown):
                return

    def _receive(self) -> Message:
        return decode([frame.buffer for frame in self._socket.recv_multipart(copy=False)])

    def _send(self, message: Message) -> None:
        self._socket.send_multipart(encode(message), copy=False)

    def _tell_status(self, job: str = "") -> None:
        status = {
            "device": str(self._device),
            "device_name": device_name(self._device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "networks": self._cache.listed(),
            "card": card_memory(self._device),
            "job": job,
            "spent": self._spent,
        }
        self._told = time.monotonic()
        self._send(StatusIs(status=status))

    def _run_job(self, submit: Submit) -> None:
        self._tell_status(submit.job)
        end = self._end_of(submit)
        if self._spent:
            self._tell_status()
        self._send(end)

    def _end_of(self, submit: Submit) -> Message:
        try:
            return self.result(submit)
        except JobCancelledError:
            return Cancelled(job=submit.job)
        except DreamError as error:
            return Failed(job=submit.job, error=Error.of(error))
        except Exception as error:
            log.exception("job %s", submit.job)
            message = (
                f"The dream failed by a fault of the daemon ({type(error).__name__}: {error}). Its log says more."
            )
            return Failed(job=submit.job, error=Error("internal", message[:4000]))

    def result(self, submit: Submit) -> Done:
        """The job's end, tried with less and less memory."""
        params = validate(submit.kind, submit.params)
        channel = Channel(self._send, lambda: self._wish(submit.job))
        window = int(params["window"]) or largest_window(self._device)
        attempt: Attempt | None = Attempt(self._device, window)
        if self._spare:
            attempt = Attempt(self._device, window).reduced()
        while attempt:
            try:
                return Run(submit, params, attempt, self._cache, channel).result()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("job %s: %s", submit.job, error)
                self._spent |= attempt.device.type == "cpu"
            attempt = attempt.lighter(self._cache)
        raise DreamError(
            "out_of_memory",
            "There is not enough memory for this dream, even in the smallest pieces."
            " Select a smaller region, choose a smaller network, or close other programs.",
            retryable=True,
        )

    def _wish(self, job: str) -> str:
        """What has been asked for while a job runs: "stop", or nothing. Raises `JobCancelledError`."""
        if time.monotonic() - self._told > STATUS_EVERY:
            self._tell_status(job)
        while self._socket.poll(0):
            message = self._receive()
            if isinstance(message, Unload):
                self._cache.unload(message.network)
            elif isinstance(message, Shutdown):
                raise SystemExit(0)
            elif isinstance(message, Cancel) and message.job == job:
                raise JobCancelledError
            elif isinstance(message, Stop) and message.job == job:
                return "stop"
        return ""


def main() -> None:
    """`python -m dreamd.worker`: started by the front, with its secret in the environment."""
    parser = argparse.ArgumentParser(description="A worker of the Deep Dream daemon, started by it.")
    parser.add_argument("--connect", required=True, help="the front's endpoint for this worker")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--memory", type=int, required=True, help="MiB of networks to keep loaded")
    parser.add_argument("--preload", default="", help="a network to load at once")
    parser.add_argument("--log", required=True, help="the log file")
    parser.add_argument("--spare", action="store_true", help="make do with little memory")
    arguments = parser.parse_args()
    configure(Path(arguments.log))
    end_with_parent()
    ram.go_first()
    garbage.gc.start()  # pyzmq's thread for large frames, which libzmq could not do without when it is wanted
    # Ctrl-C in the daemon's terminal is the front's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 2000
        socket.set_hwm(0)  # the front always reads
        socket.connect(arguments.connect)
        socket.send_multipart(encode(Hello(versions=(1,), client="worker", token=os.environ[SECRET])))
        try:
            worker = Worker(socket, choose_device(arguments.device), arguments.memory << 20, spare=arguments.spare)
            worker.run(arguments.preload)
        except Exception:
            log.exception("the worker ends")
            raise


if __name__ == "__main__":
    main()

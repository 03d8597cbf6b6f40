"""The front: takes messages from clients, keeps the queue, passes pixels between clients and workers.

One thread, one poller loop, no torch: it answers at once whatever the workers do. Pixels are passed on as they
came, without being copied or looked at.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import signal
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import zmq

from dreamwire import __version__, paths
from dreamwire.errors import DreamError
from dreamwire.messages import (
    ENDS,
    MAX_HEADER,
    VERSION,
    Accepted,
    Ack,
    Attach,
    Cancel,
    Cancelled,
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
    decode,
    encode,
)
from dreamwire.networks import Network, find_network, is_of_timm, networks
from dreamwire.params import JOBS, LEAST_GUIDE, LONGEST_GUIDE, Value, find_job, result_size, validate, work

from . import weights
from .door import AlreadyRunningError
from .jobs import Job, Jobs
from .options import Options
from .ram import resident
from .remote import Remote
from .sockets import Listener, process_of, receive
from .supervisor import Supervisor
from .tally import Tally

log = logging.getLogger(__name__)

#: Seconds between two rounds of what has to be done regularly; a client that is gone is noticed in one.
TICK = 0.25
#: Bytes of a job that are kept while it runs, for another worker should that one die. Those of larger ones are let
#: go: the worker needs the room.
KEPT = 256 << 20

#: The routing id of a connection.
Client = bytes


class GoneError(Exception):
    """The client is not connected any more."""


@dataclass(eq=False)
class Connection:
    """A client's connection: its name, and its `owner`, a process where the system tells.

    `preview` and `result` tell when the latest one sent to it has left: until then it is sent no other.
    """

    name: str
    owner: str
    preview: Any = None
    result: Any = None


class Front:
    """The daemon's front process."""

    def __init__(
        self, context: zmq.Context[Any], listener: Listener, options: Options, remote: Remote | None = None
    ) -> None:
        self._listener, self._options, self._remote = listener, options, remote
        self._router = listener.router
        self._instance = uuid.uuid4().hex
        self._started = time.monotonic()
        self._limits = options.limits
        self._jobs = Jobs(options.limits)
        self._clients: OrderedDict[Client, Connection] = OrderedDict()
        self._workers = [Supervisor(context, options, device) for device in options.device.split(",")]
        self._tally = Tally()
        self._ending = False
        self._trouble = ""  # with the place at which clients find us
        # Of each download under way those who wait for it, and the number of their latest request.
        self._pulls: dict[str, dict[Client, int | None]] = {}
        self._pulled: queue.SimpleQueue[tuple[str, Message | None]] = queue.SimpleQueue()
        # Downloads run in threads and wake the poller through this pair.
        self._wake, self._waker = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        self._wake.bind("inproc://wake")
        self._waker.connect("inproc://wake")
        self._waker_lock = threading.Lock()
        self._handlers: Mapping[type[Message], Callable[[Client, Any], Message | None]] = {
            Cancel: self._cancel,
            Stop: self._stop,
            Attach: self._attach,
            Ack: self._ack,
            Status: self._status,
            Networks: self._networks,
            Pull: self._pull,
            Unload: self._unload,
            Ping: lambda client, message: Pong(),
            Shutdown: self._shutdown,
        }

    # The loop

    def serve(self) -> None:
        """Serves until `shutdown` or a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.end())
        for worker in self._workers:
            self._start(worker)
        log.info("serving at %s, version %s, process %d", self._options.endpoint, __version__, os.getpid())
        next_tick = 0.0
        try:
            while not self._ending:
                poller = zmq.Poller()
                poller.register(self._router, zmq.POLLIN)
                poller.register(self._wake, zmq.POLLIN)
                if self._listener.door is not None:
                    poller.register(self._listener.door.bell, zmq.POLLIN)
                for worker in self._workers:
                    if worker.socket is not None:
                        poller.register(worker.socket, zmq.POLLIN)
                ready = dict(poller.poll(max(0, math.ceil(1000 * (next_tick - time.monotonic())))))
                if self._wake in ready:
                    self._wake.recv()
                    self._guard(self._report_pulls)
                for worker in self._workers:
                    if worker.socket in ready:
                        self._guard(self._hear_worker, worker)
                if self._router in ready:
                    self._guard(self._hear_client)
                if self._listener.door is not None and self._listener.door.bell in ready:
                    self._guard(self._listener.door.heed)
                if time.monotonic() >= next_tick:
                    next_tick = time.monotonic() + TICK
                    self._guard(self._tick)
                self._guard(self._assign)
        finally:
            self._close()

    def _guard(self, do: Callable[..., None], *arguments: object) -> None:
        """Does one thing; a fault in it is logged, and the daemon goes on."""
        try:
            do(*arguments)
        except Exception as error:
            log.exception("a fault of the daemon")
            self._tally.fail("internal", f"{type(error).__name__}: {error}")

    def end(self) -> None:
        """Lets `serve` return soon."""
        self._ending = True

    def _close(self) -> None:
        unfinished = [job for job in self._jobs if not job.has_ended]
        lost = sum(1 for job in self._jobs if job.has_ended and not job.delivered)
        log.info("ending: %d jobs are handed back, %d results were not fetched", len(unfinished), lost)
        error = DreamError(
            "shutting_down",
            "The daemon was stopped before this was done, and nothing of it is kept. Do it again: another daemon"
            " is started then.",
            retryable=True,
        )
        for job in unfinished:
            self._end(job, Failed(job=job.id, error=Error.of(error)))
        for worker in self._workers:
            worker.stop()
        if self._remote is not None:
            self._remote.stop()
        for socket in (self._wake, self._waker):
            socket.close(linger=0)

    def _tick(self) -> None:
        """Progress to every client that waits, so that those who have gone are noticed; whatever time has done."""
        now = time.monotonic()
        self._keep_place()
        if self._remote is not None:
            self._remote.look()
        for worker in self._workers:
            status = worker.died()
            if status is not None:
                self._worker_died(worker, status)
            elif worker.unreachable:
                worker.stop()
            elif worker.ready and not worker.job and now - worker.idle_since > self._options.idle:
                log.info("idle for %g s", self._options.idle)
                worker.stop()
        for job in self._jobs:
            if job.client is None:
                continue
            if job.has_ended:
                if not job.delivered:
                    self._deliver(job)
            elif job.state == "queued":
                position = self._jobs.position(job)
                # The first in the queue of an idle daemon waits for nobody but the worker, which is starting.
                starting = position == 0 and not any(worker.job for worker in self._workers)
                state = "loading" if starting else "queued"
                self._send_for(job, encode(Progress(job=job.id, state=state, position=position)))
            else:
                self._send_for(job, encode(job.progress or Progress(job=job.id, state="loading")))
                self._send_preview(job)
        for job in self._jobs.expire(now):
            log.info("job %s: its result was not fetched in time", job.id)

    def _keep_place(self) -> None:
        """Sees that clients find the daemon; if they find another one, this one ends when its jobs have."""
        try:
            self._listener.mend()
        except AlreadyRunningError:
            if all(job.has_ended for job in self._jobs):
                log.info("another daemon serves at %s now", self._options.endpoint)
                self.end()
        except OSError as error:
            trouble = f"No client finds the daemon: {error}"
            if trouble != self._trouble:
                log.error("%s", trouble)
                self._tally.fail("internal", trouble)
            self._trouble = trouble
        else:
            self._trouble = ""

    # Clients

    def _hear_client(self) -> None:
        frames = receive(self._router)
        client = frames[0].bytes
        try:
            message = decode([frame.buffer for frame in frames[1:]])
            if message.sender != "client":
                raise DreamError("bad_message", f"{message.type} is the daemon's to send, not a client's.")
        except DreamError as error:
            self._refuse(client, error, None)
            return
        try:
            reply = self._obey(client, message, frames)
        except DreamError as error:
            self._refuse(client, error, message)
        except Exception:
            log.exception("%s", message.type)
            self._refuse(client, DreamError("internal", "A fault of the daemon; its log says more."), message)
        else:
            if reply is not None:
                self._answer(client, replace(reply, request=message.request))

    def _obey(self, client: Client, message: Message, frames: Sequence[zmq.Frame]) -> Message | None:
        if isinstance(message, Hello):
            return self._hello(client, message, frames[-1])
        if client not in self._clients:
            raise DreamError("unauthorized", "Say hello first: this connection is not known to the daemon.")
        self._clients.move_to_end(client)
        if isinstance(message, Submit):
            return self._submit(client, message, frames[1:])
        return self._handlers[type(message)](client, message)

    def _refuse(self, client: Client, error: DreamError, message: Message | None) -> None:
        self._tally.refuse(error)
        log.info("refused: %s: %s", error.code, error.message)
        request = message.request if message else None
        if isinstance(message, Submit) and error.code not in ("conflict", "unauthorized"):
            self._answer(client, Failed(job=message.job, error=Error.of(error), request=request))
        else:
            self._answer(client, ErrorIs(error=Error.of(error), request=request))

    def _answer(self, client: Client, message: Message) -> None:
        """An answer that is dropped if the client does not read or is gone."""
        with contextlib.suppress(GoneError):
            self._send(client, encode(message))

    def _send(self, client: Client, frames: Sequence[Any], *, track: bool = False) -> Any:
        """Whether the frames are on their way: False if the client reads too slowly. Raises `GoneError`."""
        try:
            tracker = self._router.send_multipart([client, *frames], zmq.NOBLOCK, copy=False, track=track)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                raise GoneError from None
            raise
        return tracker if track else True

    def _client_gone(self, client: Client) -> None:
        connection = self._clients.pop(client, None)
        log.info("%s has gone", connection.name if connection else "a client")
        for job in self._jobs:
            if job.client == client:
                job.client = None
                if not job.keep and not job.has_ended:
                    self._drop(job)

    def _hello(self, client: Client, message: Hello, frame: zmq.Frame) -> Message:
        # Ids that clients choose themselves do not begin with 0; such an id could be another one's of before.
        if not self._listener.admits(message.token, frame) or client[0] != 0:
            raise DreamError(
                "unauthorized",
                "The daemon does not know you: its token is missing or wrong, or the connection chose its own id."
                " Run the client as the same user as the daemon.",
            )
        if VERSION not in message.versions:
            raise DreamError(
                "version",
                f"The daemon ({__version__}) speaks version {VERSION} of the protocol, {message.client} speaks"
                f" {', '.join(map(str, message.versions))}. Install the same version of both, then run"
                f" `deepdream stop`, or end the process {os.getpid()}.",
            )
        self._remember(client, message.client, process_of(frame))
        limits = self._limits
        return Welcome(
            version=VERSION,
            daemon=__version__,
            instance=self._instance,
            capabilities=tuple(JOBS),
            limits=asdict(limits) | {"pixels": limits.pixels, "frame": limits.frame, "header": MAX_HEADER},
            proof=self._listener.proof,
        )

    def _remember(self, client: Client, name: str, process: int) -> None:
        """Knows a connection from now on, and forgets the one unheard of for longest if they are too many."""
        printable = "".join(each if each.isprintable() else "?" for each in name)  # it will stand in the log
        self._clients[client] = Connection(printable, str(process or client.hex()))
        if len(self._clients) > self._limits.connections:
            waiting = {job.client for job in self._jobs if not job.has_ended}
            del self._clients[next((each for each in self._clients if each not in waiting), client)]

    # Jobs

    def _submit(self, client: Client, message: Submit, frames: Sequence[zmq.Frame]) -> Message:
        """A new job, or one sent again; a worker will get the very frames that came."""
        description = message.kind, message.params, message.inputs
        job = self._jobs.get(message.job)
        if job is not None:
            if job.description != description:
                raise DreamError("conflict", f"There is another job of the id {message.job}; mint a new one.")
            self._adopt(client, job)
            return Accepted(job=job.id, position=self._jobs.position(job))
        self._check(message)
        connection = self._clients[client]
        job = Job(
            id=message.job,
            kind=message.kind,
            client=client,
            owner=connection.owner,
            keep=message.on_disconnect == "keep",
            description=description,
            frames=frames,
            nbytes=sum(array.nbytes for array in message.inputs),
            submitted=time.monotonic(),
        )
        self._jobs.add(job)
        log.info("job %s: %s from %s, %d bytes", job.id, job.kind, connection.name, job.nbytes)
        return Accepted(job=job.id, position=self._jobs.position(job))

    def _check(self, message: Submit) -> None:
        """Refuses a job that cannot succeed, before anything is allocated for it."""
        params = validate(message.kind, message.params)
        given = {array.name: array for array in message.inputs}
        takes = find_job(message.kind).inputs
        if len(given) != len(message.inputs) or set(given) - {each.name for each in takes}:
            raise DreamError(
                "bad_input", f"{message.kind} takes {' and '.join(each.name for each in takes)}, each once."
            )
        for each in takes:
            if each.required and each.name not in given:
                raise DreamError("bad_input", f"{message.kind} needs {each.name}: {each.help}.")
        image, mask, guide = given["image"], given.get("mask"), given.get("guide")
        height, width, _ = image.shape
        for name, array in given.items():
            if array.shape[2] > 4:
                raise DreamError("bad_input", f"The {name} has {array.shape[2]} channels; 1 to 4 can be dreamt.")
        if guide is not None:
            _check_guide(*guide.shape[:2])
        if mask is not None and mask.shape != (height, width, 1):
            raise DreamError(
                "bad_input",
                f"The mask is {mask.shape[1]}x{mask.shape[0]} of {mask.shape[2]} channels, but the image is"
                f" {width}x{height}; send a mask of one channel and the image's size.",
            )
        self._check_size(params, {name: array.shape[:2] for name, array in given.items()})
        for wanted in filter(None, (params["network"], params.get("against"))):
            network = find_network(str(wanted))
            if weights.locate(network) is None:
                weights.require(network)  # raises with what to do

    def _check_size(self, params: Mapping[str, Value], sizes: Mapping[str, tuple[int, int]]) -> None:
        """Refuses pictures that are too large, and work that would take too long."""
        becomes = math.prod(result_size(params, sizes["image"]))
        for name, size in sizes.items():
            pixels, has, smaller = math.prod(size), "has", "a smaller region"
            if name == "image" and becomes > pixels:
                pixels, has, smaller = becomes, "would have", "a smaller region or scale"
            if pixels > self._limits.pixels:
                raise self._limits.refuse(
                    "megapixels",
                    f"The {name} {has} {pixels / 1e6:.1f} megapixels",
                    f"Select {smaller}",
                    needed=math.ceil(pixels / 1e6),
                )
        asked = math.ceil(work(params, becomes) / 1e6)
        if asked > self._limits.work:
            raise self._limits.refuse(
                "work",
                f"The job comes to {asked} steps x octaves x megapixels, which would take many hours",
                "Ask for fewer steps or octaves, or select a smaller region",
                needed=asked,
            )

    def _cancel(self, client: Client, message: Cancel) -> Message:
        job = self._jobs.get(message.job)
        if job is not None and not job.has_ended:
            self._cancel_job(job)
        return self._job_is(message.job)

    def _cancel_job(self, job: Job) -> None:
        if job.state == "queued":
            self._end(job, Cancelled(job=job.id))
        else:
            self._tell_worker(job, Cancel(job=job.id))

    def _tell_worker(self, job: Job, wish: Message) -> None:
        """Has a running job end; so will another worker that gets it."""
        if job.worker is not None:
            job.wish = wish
            self._workers[job.worker].send(wish)

    def _drop(self, job: Job) -> None:
        """Nobody wants the job any more. If it is sent again, it is a new one, whatever its worker still does."""
        self._tell_worker(job, Cancel(job=job.id))
        self._end(job, Cancelled(job=job.id))
        self._jobs.forget(job)

    def _stop(self, client: Client, message: Stop) -> Message:
        job = self._jobs.get(message.job)
        if job is not None and job.state == "queued":
            # Nothing has been dreamt that could be kept.
            self._end(job, Cancelled(job=job.id))
        elif job is not None and job.state == "running":
            self._tell_worker(job, Stop(job=job.id))
        return self._job_is(message.job)

    def _attach(self, client: Client, message: Attach) -> Message:
        job = self._jobs.get(message.job)
        if job is not None:
            self._adopt(client, job)
        return self._job_is(message.job)

    def _adopt(self, client: Client, job: Job) -> None:
        """From now on the job's events go to this client; a result that was sent elsewhere is sent again."""
        job.client, job.delivered = client, False

    def _ack(self, client: Client, message: Ack) -> Message:
        job = self._jobs.get(message.job)
        if job is not None and job.has_ended:
            self._jobs.forget(job)
        return self._job_is(message.job)

    def _job_is(self, job_id: str) -> Message:
        job = self._jobs.get(job_id)
        return JobIs(job=job_id, state=job.state if job else "gone")

    def _end(self, job: Job, message: Message, frames: Sequence[Any] | None = None) -> None:
        """A job has ended with this message, whose frames are given if they came from a worker."""
        frames = frames or encode(message)
        nbytes = sum(memoryview(frame).nbytes for frame in frames)
        self._jobs.end(job, message.type, frames, nbytes, time.monotonic())
        self._tally.ended[message.type] += 1
        if isinstance(message, Failed):
            self._tally.fail(message.error.code, message.error.message)
        log.info("job %s: %s after %.2f s", job.id, message.type, job.ended - job.submitted)
        self._deliver(job)

    def _deliver(self, job: Job) -> None:
        """Sends a job's end, now or, if the client reads too slowly, at a later tick.

        Results one at a time: they are large, and what a client does not read would pile up.
        """
        connection = self._clients.get(job.client or b"")
        if job.state != "done" or connection is None:
            job.delivered = bool(self._send_for(job, job.end))
        elif _has_left(connection.result):
            connection.result = self._send_for(job, job.end, track=True)
            job.delivered = bool(connection.result)

    def _send_for(self, job: Job, frames: Sequence[Any], *, track: bool = False) -> Any:
        """As `_send`, to whoever wants the job's events; False if there is nobody, or nobody any more."""
        if job.client is None:
            return False
        try:
            return self._send(job.client, frames, track=track)
        except GoneError:
            self._client_gone(job.client)
            return False

    def _send_preview(self, job: Job) -> None:
        """Sends the latest preview once the one before has left, so that a slow reader costs no memory."""
        connection = self._clients.get(job.client or b"")
        if job.preview is None or connection is None or not _has_left(connection.preview):
            return
        frames, job.preview = job.preview, None
        connection.preview = self._send_for(job, frames, track=True)

    # Workers

    def _assign(self) -> None:
        """Gives waiting jobs to idle workers."""
        for number, worker in enumerate(self._workers):
            first = self._jobs.first
            if worker.job or self._ending or first is None:
                continue
            if (status := worker.died()) is not None:
                self._worker_died(worker, status)
            # Who died with a job may have lacked memory: the system kills, libraries abort then.
            self._start(worker, spare=first.tries > 0)
            job = self._jobs.next() if worker.ready else None
            if job is None:
                continue
            worker.job, job.worker, job.state = job.id, number, "running"
            job.tries += 1
            worker.forward(job.frames)
            if job.wish is not None:
                worker.send(job.wish)
            if job.tries > 1 or job.nbytes > KEPT:
                job.frames = ()

    def _start(self, worker: Supervisor, *, spare: bool = False) -> None:
        """Starts a worker unless it runs. If none can be started, nobody shall wait for it."""
        try:
            worker.start(spare=spare)
        except DreamError as error:
            log.error("%s", error)
            if not any(other.running for other in self._workers):
                self._fail_waiting(error)

    def _fail_waiting(self, error: DreamError) -> None:
        for job in self._jobs.waiting:
            self._end(job, Failed(job=job.id, error=Error.of(error)))

    def _job_of(self, worker: Supervisor, job_id: str) -> Job | None:
        """The job, if it is this worker's: one that was dropped and sent again is not."""
        job = self._jobs.get(job_id)
        return job if job and job.worker is not None and self._workers[job.worker] is worker else None

    def _hear_worker(self, worker: Supervisor) -> None:
        while received := worker.receive():
            message, frames = received[0], [frame.buffer for frame in received[1]]  # a frame could not be tracked
            job = self._job_of(worker, getattr(message, "job", ""))
            if isinstance(message, StatusIs):
                worker.status = message.status
            elif isinstance(message, ENDS):
                spent, worker.job, worker.idle_since = worker.status.get("spent"), "", time.monotonic()
                if spent:
                    worker.stop()
                if job is not None and spent and job.frames and _lacked_memory(message):
                    self._put_back(job)
                elif job is not None:
                    self._end(job, message, frames)
            elif job is None:
                continue
            elif isinstance(message, Progress):
                job.progress = message
                self._send_for(job, frames)
            elif isinstance(message, PreviewIs):
                job.preview = frames
                self._send_preview(job)

    def _worker_died(self, worker: Supervisor, status: int) -> None:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        log.error("worker %s died with %s", worker.pid, how)
        self._hear_worker(worker)  # what it said before it died
        job, ready = self._job_of(worker, worker.job), worker.ready or not worker.running
        if job is not None and worker.status.get("job") != job.id and not job.was_lost:
            job.was_lost = True  # with a worker that was dying already, so it is none of its tries
            job.tries -= 1
        worker.stop()  # the next job starts another one
        if job is not None and not job.has_ended:
            self._try_again(job, how)
        if not ready and not any(other.running for other in self._workers):
            self._fail_waiting(
                DreamError(
                    "internal",
                    f"The process that dreams cannot be started ({how}). {self._options.log} says why;"
                    " `deepdream doctor` checks the installation.",
                )
            )

    def _try_again(self, job: Job, how: str) -> None:
        """Another worker gets the job in which one has died, if it is still wanted and there: once."""
        if isinstance(job.wish, Cancel):
            self._end(job, Cancelled(job=job.id))
            return
        if job.frames:
            self._put_back(job)
            return
        again = ", and so did the one before" if job.tries > 1 else ""
        error = DreamError(
            "internal",
            f"The process that dreams died ({how}) in the middle of the job{again}. Try again: a new one will be"
            " started. If it happens again, a smaller window or region needs less memory.",
            retryable=True,
        )
        self._end(job, Failed(job=job.id, error=Error.of(error)))

    def _put_back(self, job: Job) -> None:
        log.info("job %s: begun anew", job.id)
        self._jobs.put_back(job)

    # Networks and the daemon itself

    def _networks(self, client: Client, message: Networks) -> Message:
        loaded = {each["name"] for worker in self._workers for each in worker.status.get("networks", [])}
        return NetworksAre(networks=tuple(_network_row(row, row.name in loaded) for row in networks().values()))

    def _unload(self, client: Client, message: Unload) -> Message:
        if message.network:
            find_network(message.network)
        names = set()
        for worker in self._workers:
            if worker.running:
                names |= {each["name"] for each in worker.status.get("networks", [])}
                worker.send(Unload(network=message.network))
        return Unloaded(networks=tuple(sorted(name for name in names if message.network in ("", name))))

    def _status(self, client: Client, message: Status) -> Message:
        now, waiting = time.monotonic(), self._jobs.waiting
        ended = [job for job in self._jobs if job.has_ended]
        jobs = [
            {
                "job": job.id,
                "kind": job.kind,
                "state": job.state,
                "position": self._jobs.position(job),
                "fraction": round(job.progress.fraction, 4) if job.progress else 0.0,
                "seconds": round((job.ended or now) - job.submitted, 1),
                "bytes": job.nbytes,
                "client": known.name[:60] if (known := self._clients.get(job.client or b"")) else "",
            }
            for job in self._jobs
        ]
        workers = [
            {
                "device": worker.device,
                "running": worker.running,
                "pid": worker.pid,
                "starts": worker.starts,
                "job": worker.job,
                "silent_seconds": round(now - worker.heard, 1),
                "memory": resident(worker.pid) if worker.pid else None,
            }
            | worker.status
            for worker in self._workers
        ]
        status = {
            "version": __version__,
            "instance": self._instance,
            "pid": os.getpid(),
            "uptime_seconds": round(now - self._started, 1),
            "memory": resident(os.getpid()),
            "endpoint": self._options.endpoint,
            "log": str(self._options.log),
            "weights": str(paths.weights_dir()),
            "settings": self._options.described(),
            "workers": workers,
            "queue": {
                "waiting": len(waiting),
                "limit": self._limits.queue,
                "bytes": sum(job.nbytes for job in waiting),
                "running": sum(job.state == "running" for job in self._jobs),
                "unfetched": len(ended),
                "unfetched_bytes": sum(job.end_bytes for job in ended),
            },
            "jobs": jobs[:100],  # all of it has to fit into a header
            "clients": len(self._clients),
            "remote": self._remote.described() if self._remote is not None else None,
        }
        return StatusIs(status=status | self._tally.described())

    def _shutdown(self, client: Client, message: Shutdown) -> Message:
        log.info("%s asks to end", self._clients[client].name)
        self.end()
        return Stopping()

    # Downloads

    def _pull(self, client: Client, message: Pull) -> None:
        name = message.network if is_of_timm(message.network) else find_network(message.network).name
        if name not in self._pulls:
            if len(self._pulls) >= self._limits.downloads:
                raise self._limits.refuse(
                    "downloads", f"{len(self._pulls)} downloads are under way", "Try again when one has ended"
                )
            self._pulls[name] = {}
            self._start_download(name)
        self._pulls[name][client] = message.request

    def _start_download(self, name: str) -> None:
        threading.Thread(target=self._download, args=(name,), daemon=True, name=f"pull {name}").start()

    def _download(self, name: str) -> None:
        """In a thread of its own: fetches a network's weights and reports to the loop."""

        def report(message: Message | None) -> None:
            self._pulled.put((name, message))
            with self._waker_lock, contextlib.suppress(zmq.ZMQError):
                self._waker.send(b"", zmq.NOBLOCK)

        told = 0.0

        def progress(fetched: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told > 0.1 or fetched == total:
                told = time.monotonic()
                report(Pulling(network=name, bytes=fetched, total=total))

        def cancelled() -> bool:
            return self._ending or not self._pulls.get(name)

        try:
            if is_of_timm(name):
                weights.pull_timm(name, progress=progress, cancelled=cancelled)
            else:
                weights.pull(find_network(name), progress=progress, cancelled=cancelled)
            report(Pulled(network=name))
        except DreamError as error:
            report(ErrorIs(error=Error.of(error)))
        except weights.PullCancelledError:
            log.info("pull %s: nobody waits for it any more", name)
            report(None)
        except Exception as error:
            log.exception("pull %s", name)
            report(ErrorIs(error=Error("internal", f"The download failed by a fault of the daemon: {error}")))

    def _report_pulls(self) -> None:
        while not self._pulled.empty():
            name, message = self._pulled.get()
            if message is None:  # given up, unless somebody has come since
                if self._pulls[name]:
                    self._start_download(name)
                else:
                    del self._pulls[name]
                continue
            for client, request in list(self._pulls.get(name, {}).items()):
                try:
                    self._send(client, encode(replace(message, request=request)))
                except GoneError:
                    del self._pulls[name][client]
            if not isinstance(message, Pulling):
                self._pulls.pop(name, None)


def _has_left(sent: Any) -> bool:
    """Whether a message is on its way that was sent with a tracker, or none was."""
    return not sent or bool(sent.done)


def _check_guide(height: int, width: int) -> None:
    """Refuses a guide that shows a network nothing, or that no network could be shown at once."""
    short, long = sorted((height, width))
    if short < LEAST_GUIDE:
        raise DreamError(
            "bad_input",
            f"The guide is {width}x{height} pixels; less than {LEAST_GUIDE} a side show a network nothing."
            " Choose a larger picture.",
        )
    if long > LONGEST_GUIDE * short:
        raise DreamError(
            "bad_input",
            f"The guide is {width}x{height} pixels, more than {LONGEST_GUIDE} times as long as wide."
            " Choose the part of it that the dream shall be like.",
        )


def _lacked_memory(end: Message) -> bool:
    return isinstance(end, Failed) and end.error.code == "out_of_memory"


def _network_row(row: Network, loaded: bool) -> dict[str, Any]:
    return {
        "name": row.name,
        "label": row.label,
        "help": row.help,
        "here": weights.locate(row) is not None,
        "loaded": loaded,
        "megabytes": row.weights.megabytes,
        "default_layer": row.default_layer,
    }

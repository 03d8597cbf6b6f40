"""The client: submit a job, follow its events, cancel it. Needs nothing but the standard library and msgpack.

with Client() as client:
    image = Image(pixels, (height, width, 3), "uint8")
    for event in client.submit("dream", {"layers": "blocks.8"}, image=image):
        if isinstance(event, Progress):
            print(f"{event.fraction:.0%}")
        elif isinstance(event, Done):
            top, left, height, width = event.box
            dreamt = event.frames[0]  # those pixels, as bytes, in the type and channels of the image
"""

from __future__ import annotations

import contextlib
import hmac
import os
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from . import __version__, launch, paths
from .errors import DreamError, NobodyListensError, UnreachableError
from .messages import (
    ENDS,
    VERSION,
    Accepted,
    Ack,
    Array,
    Attach,
    Buffer,
    Cancel,
    Cancelled,
    Done,
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
    decode,
    encode,
)
from .private import require_ours
from .transport import Transport, connect

Answer = TypeVar("Answer", bound=Message)

#: Bytes of the largest frame taken from a daemon, which is the user's own: 256 megapixels of float32 RGBA.
MAX_FRAME = 4 << 30
#: Seconds in which the daemon answers whatever is not a job; it does so at once.
PATIENCE = 10.0
#: The most that one wait takes of them: seconds in which this process did not run, on a laptop that slept, are not
#: the daemon's.
WAIT = 1.0
#: The most where somebody may change their mind meanwhile.
PROMPT = 0.1
#: Seconds in which a process that ends lets go of its sockets, one after another.
MOMENT = 0.1
LOST = "The Deep Dream daemon ended in the middle of a job. It is started again, and the job is begun anew."


@dataclass(frozen=True)
class Image:
    """Pixels for a job: bytes from the top left, `shape` (height, width, channels), `dtype` as in `Array`."""

    pixels: Buffer
    shape: tuple[int, int, int]
    dtype: str = "float32"


class Client:
    """A connection to the daemon, which is started if there is none; one thread uses it at a time.

    `endpoint` is as in `DEEPDREAM_ENDPOINT`, by default the user's own daemon; one on another machine is reached
    by a relay on this one, which is started if there is none. With `start` false a missing daemon is an error;
    `starting` is called before one is started, to tell the user. Raises `UnreachableError` when no
    daemon can be had, `DreamError` version or unauthorized when it will not have us.

    A daemon that is lost in the middle of jobs is started again too, and they are sent to it by their ids; `lost`
    is called before, to tell the user, who is warned without it. A job that loses a second daemon raises the
    `ConnectionError`, and so does each with `start` false.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        start: bool = True,
        starting: Callable[[], None] | None = None,
        lost: Callable[[], None] | None = None,
        name: str = "python",
    ) -> None:
        try:
            self.endpoint = endpoint or paths.default_endpoint()
        except PermissionError as error:
            raise UnreachableError(str(error)) from error
        self._is_elsewhere = paths.is_elsewhere(self.endpoint)
        # Who is spoken to.
        self._near = paths.relay_endpoint(self.endpoint) if self._is_elsewhere else self.endpoint
        self._is_welcome = False
        self._start, self._starting, self._lost = start, starting, lost
        self._name = f"{name} {__version__}"
        self._requests = 0
        # Events of jobs that came while something else was waited for.
        self._events: list[Message] = []
        # The jobs under way that would be sent again if the daemon were lost.
        self._under_way: dict[str, Submit] = {}
        self._connect()

    def _connect(self) -> None:
        """Reaches the daemon and greets it; or its successor, if it ended just then."""
        try:
            self._open()
        except ConnectionError:
            self._open()

    def _open(self) -> None:
        self._is_welcome = False
        self._transport = self._reach()
        try:
            self.welcome, self._is_welcome = self._greet(), True
        except BaseException as error:
            self.close()
            if isinstance(error, DreamError) and error.code == "version":
                error.command = launch.typed("stop", "--endpoint", self.endpoint)
            raise

    def _reach(self) -> Transport:
        transport = self._try()
        if transport is not None:
            return transport
        if not self._start and not self._is_elsewhere:
            raise NobodyListensError(
                f"No Deep Dream daemon answers at {self.endpoint}. Start one with `deepdream serve`.",
                launch.typed("serve", "--endpoint", self.endpoint),
            )
        if self._starting is not None and not self._is_elsewhere:
            self._starting()
        launch.start(self._near, self._answers, far=self.endpoint if self._is_elsewhere else "")
        transport = self._try()
        if transport is None:
            raise UnreachableError(f"The daemon at {self.endpoint} went away as soon as it had answered.")
        return transport

    def _try(self) -> Transport | None:
        """A connection, or None if nobody listens."""
        socket = Path(self._near.removeprefix("ipc://"))
        try:
            if self._near.startswith("ipc:///") and os.path.lexists(socket):
                require_ours(socket)
        except PermissionError as error:
            raise UnreachableError(f"{error} Nothing was sent there.") from error
        except FileNotFoundError:  # taken away meanwhile, by a daemon that starts where one was killed
            return None
        # A service manager that listens in its place may have to start the daemon first.
        reach = partial(connect, self._near, timeout=PATIENCE, max_frame=MAX_FRAME)
        try:
            try:
                return reach()
            except ConnectionResetError:  # by a daemon that was about to end, say, and will have in a moment
                time.sleep(MOMENT)
                return reach()
        except ValueError as error:
            raise UnreachableError(str(error)) from error
        except PermissionError as error:
            raise UnreachableError(
                f"This user may not use the daemon at {self.endpoint}, which belongs to another one. Leave"
                " DEEPDREAM_ENDPOINT and --endpoint away to have a daemon of your own."
            ) from error
        except ConnectionRefusedError:
            return None  # nobody listens
        except OSError as error:
            raise UnreachableError(
                f"What listens at {self.endpoint} does not answer as a Deep Dream daemon: it is suspended, has too"
                f" many connections, or is another program. {error}"
            ) from error

    def _answers(self) -> bool:
        transport = self._try()
        if transport is not None:
            transport.close()
        return transport is not None

    def _greet(self) -> Welcome:
        token, proof = self._secrets()
        hello = Hello(versions=(VERSION,), client=self._name, token=token)
        welcome = self._request(hello, Welcome)
        if proof is not None and not (proof and hmac.compare_digest(proof.encode(), welcome.proof.encode())):
            raise UnreachableError(
                f"What answers at {self.endpoint} cannot prove that it is your daemon. It may be a program of"
                " somebody else, so no picture was sent there. Find out what listens at that port, and end it; or"
                " name another port by DEEPDREAM_ENDPOINT."
            )
        return welcome

    def _secrets(self) -> tuple[str, str | None]:
        """The token that the daemon knows us by, and the proof that we know it by; None where none is asked for.

        Anybody can listen at a port, but nobody else reads the file. A socket says itself whose it is; and whoever
        gives a token of `DEEPDREAM_TOKEN` without a proof knows where it goes.
        """
        if not self._near.startswith("tcp://"):
            return "", None
        given, known = os.environ.get("DEEPDREAM_TOKEN", ""), ""
        if not given:
            with contextlib.suppress(OSError, ValueError):
                known = paths.token_paths(self._near)[0].read_text(encoding="utf-8")
        token, proof, *_ = [*(given or known).split(), "", ""]
        return token, proof or (None if given else "")

    def close(self) -> None:
        """Ends the connection; jobs of ours are cancelled by the daemon unless they were to be kept."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(
        self,
        kind: str,
        params: Mapping[str, Any] | None = None,
        *,
        image: Image,
        mask: Image | None = None,
        guide: Image | None = None,
        preview: Preview | None = None,
        keep: bool = False,
        job: str | None = None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Job:
        """Sends a job; with `keep` it goes on when this connection ends, and can be attached to by its id.

        `mask` is of the image's size and one channel, all of the image if None; `guide` is of any size. Pixels
        must not be changed before the job has ended: it may be sent again. While it is on its way, which takes
        long on a slow line, `wanted` is asked whether it is to go on. Raises `DreamError` if the daemon refuses
        the job, `JobCancelledError` if it is not wanted, `ConnectionError` if it is gone, and its successor too.
        """
        offered = {"image": image, "mask": mask, "guide": guide}
        given = {name: each for name, each in offered.items() if each is not None}
        submit = Submit(
            job=job or str(uuid.uuid4()),
            kind=kind,
            params=dict(params or {}),
            inputs=tuple(
                Array(name, frame, each.dtype, each.shape, "mask" if name == "mask" else "srgb")
                for frame, (name, each) in enumerate(given.items())
            ),
            preview=preview,
            on_disconnect="keep" if keep else "cancel",
            frames=tuple(each.pixels for each in given.values()),
        )
        for name, each in given.items():
            largest = self.welcome.limits.get("frame", MAX_FRAME)
            if memoryview(each.pixels).nbytes > largest:
                raise DreamError(
                    "limit",
                    f"The {name} is larger than the {largest / 1e6:.0f} MB that the daemon takes at once."
                    " Select a smaller region, or start the daemon with a larger --megapixels.",
                )
        try:
            accepted = self._submitted(submit, wanted)
        except ConnectionError as error:
            self._recover(error)
            accepted = self._submitted(submit, wanted)
        self._under_way[submit.job] = submit
        return Job(self, submit.job, accepted.position)

    def _submitted(self, submit: Submit, wanted: Callable[[], bool]) -> Accepted:
        request, is_wanted = self._send(submit), True

        def look() -> None:
            nonlocal is_wanted
            if is_wanted and not wanted():
                is_wanted = False
                self._send(Cancel(job=submit.job))

        answer = self._answer(request, PATIENCE, look)
        if isinstance(answer, Cancelled):
            raise JobCancelledError
        return _of_kind(Accepted, answer, submit)

    def _recover(self, error: ConnectionError) -> None:
        """Reaches the daemon anew after this error, and sends it the jobs under way, each for the last time."""
        if not self._start:
            raise error
        self._transport.close()
        again, self._under_way = self._under_way, {}
        if again and self._lost:
            self._lost()
        elif again:
            warnings.warn(LOST, stacklevel=2)
        self._connect()
        for submit in again.values():
            self._send(submit)

    def attach(self, job: str) -> Job:
        """Follows a job that was submitted with `keep`. Raises `DreamError` unknown_job."""
        state = self._request(Attach(job=job), JobIs)
        if state.state == "gone":
            raise DreamError(
                "unknown_job", f"The daemon knows no job {job}: it was fetched, has expired, or never came."
            )
        return Job(self, job, 0)

    def networks(self) -> tuple[dict[str, Any], ...]:
        """Every network: name, label, help, whether its weights are here and it is loaded, size."""
        return self._request(Networks(), NetworksAre).networks

    def status(self) -> dict[str, Any]:
        """How the daemon is."""
        return self._request(Status(), StatusIs).status

    def unload(self, network: str = "") -> tuple[str, ...]:
        """Frees the memory of a network, or of all; returns their names."""
        return self._request(Unload(network=network), Unloaded).networks

    def ping(self) -> None:
        """Returns if the daemon answers."""
        self._request(Ping(), Pong)

    def shutdown(self) -> None:
        """Ends the daemon."""
        self._request(Shutdown(), Stopping)

    def wait_until_gone(self, timeout: float = PATIENCE) -> None:
        """Returns when the daemon has ended; `UnreachableError` if it has not in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < deadline:
                self._transport.recv(0.1)
            raise UnreachableError(f"The daemon at {self.endpoint} is still ending. Its log says what it does.")

    def pull(self, network: str) -> Iterator[Pulling]:
        """Fetches a network's weights, yielding how far it is. Raises `DreamError` if it cannot be."""
        request = self._send(Pull(network=network))
        while True:
            message = self._answer(request, None)
            if isinstance(message, Pulled):
                return
            if isinstance(message, Pulling):
                yield message

    def _request(self, message: Message, kind: type[Answer]) -> Answer:
        return _of_kind(kind, self._answer(self._send(message), PATIENCE), message)

    def _send(self, message: Message) -> int:
        self._requests += 1
        self._transport.send(encode(replace(message, request=self._requests)))
        return self._requests

    def _answer(self, request: int, patience: float | None, look: Callable[[], None] | None = None) -> Message:
        """The answer to a request; events of jobs that come before it are kept for their readers.

        `patience` is how many seconds the daemon may be silent; `look` is called now and then.
        """
        left, wait = patience, WAIT if look is None else PROMPT
        while True:
            started = time.monotonic()
            message = self._receive(None if left is None else min(left, wait))
            if look is not None:
                look()
            if message is None:
                if left is None:
                    continue
                before, left = left, left - min(time.monotonic() - started, WAIT)
                if left <= 0:
                    raise UnreachableError(
                        f"The daemon at {self.endpoint} does not answer; its log says what it is at."
                    )
                if self._is_welcome and int(before) != int(left):
                    # What we have sent may still be on its way over a slow line; this is quicker.
                    self._send(Ping())
                continue
            left = patience
            if message.request != request:
                self._keep(message)
            elif isinstance(message, (ErrorIs, Failed)):
                raise message.error.exception()
            else:
                return message

    def _receive(self, timeout: float | None) -> Message | None:
        frames = self._transport.recv(timeout)
        message = None if frames is None else decode(frames)
        if isinstance(message, ENDS):
            self._under_way.pop(message.job, None)
        return message

    def _event(self, job: str, timeout: float | None) -> Message | None:
        """The next event of a job; those of other jobs are kept for their readers."""
        for index, message in enumerate(self._events):
            if getattr(message, "job", None) == job:
                return self._events.pop(index)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                event = self._receive(None if deadline is None else max(0.0, deadline - time.monotonic()))
            except ConnectionError as error:
                if job not in self._under_way:
                    raise
                self._recover(error)
                continue
            if event is None or (_is_event(event) and getattr(event, "job", None) == job):
                return event
            self._keep(event)

    def _keep(self, message: Message) -> None:
        """Puts an event aside for its reader. An answer that nobody waits for matters only if it is an error."""
        if _is_event(message):
            self._events.append(message)
        elif isinstance(message, ErrorIs):
            raise message.error.exception()


def _of_kind(kind: type[Answer], answer: Message, question: Message) -> Answer:
    if not isinstance(answer, kind):
        raise DreamError("bad_message", f"The daemon answered {question.type} by {answer.type}.")
    return answer


def _is_event(message: Message) -> bool:
    return isinstance(message, (Progress, PreviewIs, *ENDS))


class Job:
    """A job that was accepted: iterate over it for its events, the last of which is `Done`.

    Events are `Progress`, `PreviewIs` and `Done`. A job that fails raises its `DreamError`, one that was cancelled
    `JobCancelledError`. Between two events nothing is lost by doing something else.
    """

    def __init__(self, client: Client, job_id: str, position: int) -> None:
        self._client = client
        self.id = job_id
        self.position = position
        self._cancelled = False

    def __iter__(self) -> Iterator[Message]:
        while True:
            event = self.next(None)
            if event is not None:
                yield event
                if isinstance(event, Done):
                    return

    def next(self, timeout: float | None) -> Message | None:
        """The next event, or None if there is none within `timeout` seconds; see `Job` for what it raises."""
        try:
            event = self._client._event(self.id, timeout)
        except ConnectionError:
            if self._cancelled:  # with its daemon
                raise JobCancelledError from None
            raise
        if isinstance(event, ENDS):
            # A result that is not acknowledged would be kept for us. Nor would it be by a daemon that is gone.
            with contextlib.suppress(ConnectionError):
                self._client._send(Ack(job=self.id))
        if isinstance(event, Failed):
            raise event.error.exception()
        if isinstance(event, Cancelled):
            raise JobCancelledError
        return event

    def cancel(self) -> None:
        """Asks for the job's end without a result: `JobCancelledError` follows, or a result already on its way."""
        self._cancelled = True
        with contextlib.suppress(ConnectionError):
            self._ask(Cancel(job=self.id))

    def stop(self) -> None:
        """Asks for the job's end with what it has come to: `Done` follows."""
        self._ask(Stop(job=self.id))

    def _ask(self, wish: Message) -> None:
        """Has a job ended, which is not begun anew then if its daemon is lost: nobody wants all of it."""
        self._client._under_way.pop(self.id, None)
        self._client._send(wish)


class JobCancelledError(Exception):
    """The job was cancelled."""


__all__ = ["Client", "Done", "Image", "Job", "JobCancelledError"]

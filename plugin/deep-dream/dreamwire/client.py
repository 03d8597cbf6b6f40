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
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
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
from .transport import Transport, connect

Answer = TypeVar("Answer", bound=Message)

#: Bytes of the largest frame taken from a daemon, which is the user's own: 256 megapixels of float32 RGBA.
MAX_FRAME = 4 << 30
#: Seconds in which the daemon answers whatever is not a job; it does so at once unless the machine is suspended.
PATIENCE = 10.0


@dataclass(frozen=True)
class Image:
    """Pixels for a job: bytes from the top left, `shape` (height, width, channels), `dtype` as in `Array`."""

    pixels: Buffer
    shape: tuple[int, int, int]
    dtype: str = "float32"


class Client:
    """A connection to the daemon, which is started if there is none; one thread uses it at a time.

    `endpoint` is as in `DEEPDREAM_ENDPOINT`, by default the user's own daemon. With `start` false a missing daemon
    is an error; `starting` is called before one is started, to tell the user. Raises `UnreachableError` when no
    daemon can be had, `DreamError` version or unauthorized when it will not have us.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        start: bool = True,
        starting: Callable[[], None] | None = None,
        name: str = "python",
    ) -> None:
        try:
            self.endpoint = endpoint or paths.default_endpoint()
        except PermissionError as error:
            raise UnreachableError(str(error)) from error
        self._name = f"{name} {__version__}"
        self._requests = 0
        # Events of jobs that came while something else was waited for.
        self._events: list[Message] = []
        self._transport = self._reach(start, starting)
        try:
            self.welcome = self._request(self._hello(), Welcome)
        except BaseException as error:
            self.close()
            if isinstance(error, DreamError) and error.code == "version":
                error.command = launch.typed("stop", "--endpoint", self.endpoint)
            raise

    def _reach(self, start: bool, starting: Callable[[], None] | None) -> Transport:
        transport = self._try()
        if transport is not None:
            return transport
        if not start:
            raise NobodyListensError(
                f"No Deep Dream daemon answers at {self.endpoint}. Start one with `deepdream serve`.",
                launch.typed("serve", "--endpoint", self.endpoint),
            )
        if starting is not None:
            starting()
        launch.start(self.endpoint, self._answers)
        transport = self._try()
        if transport is None:
            raise UnreachableError(f"The daemon at {self.endpoint} went away as soon as it had answered.")
        return transport

    def _try(self) -> Transport | None:
        try:
            return connect(self.endpoint, max_frame=MAX_FRAME)
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
                f"What listens at {self.endpoint} does not answer as a Deep Dream daemon: it is suspended, or"
                f" another program. {error}"
            ) from error

    def _answers(self) -> bool:
        transport = self._try()
        if transport is not None:
            transport.close()
        return transport is not None

    def _hello(self) -> Hello:
        token = ""
        if self.endpoint.startswith("tcp://"):
            with contextlib.suppress(OSError, ValueError):
                file = paths.token_paths(self.endpoint)[0]
                token = os.environ.get("DEEPDREAM_TOKEN") or file.read_text().strip()
        return Hello(versions=(VERSION,), client=self._name, token=token)

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
    ) -> Job:
        """Sends a job; with `keep` it goes on when this connection ends, and can be attached to by its id.

        `mask` is of the image's size and one channel, all of the image if None; `guide` is of any size. Raises
        `DreamError` if the daemon refuses the job, `ConnectionError` if it is gone.
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
        accepted = self._request(submit, Accepted)
        return Job(self, submit.job, accepted.position)

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
        answer = self._answer(self._send(message), time.monotonic() + PATIENCE)
        if not isinstance(answer, kind):
            raise DreamError("bad_message", f"The daemon answered {message.type} by {answer.type}.")
        return answer

    def _send(self, message: Message) -> int:
        self._requests += 1
        self._transport.send(encode(replace(message, request=self._requests)))
        return self._requests

    def _answer(self, request: int, deadline: float | None) -> Message:
        """The answer to a request; events of jobs that come before it are kept for their readers."""
        while True:
            message = self._receive(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if message is None:
                raise UnreachableError(
                    f"The daemon at {self.endpoint} does not answer; its log says what it is at."
                )
            if message.request != request:
                self._keep(message)
            elif isinstance(message, (ErrorIs, Failed)):
                raise message.error.exception()
            else:
                return message

    def _receive(self, timeout: float | None) -> Message | None:
        frames = self._transport.recv(timeout)
        return None if frames is None else decode(frames)

    def _event(self, job: str, timeout: float | None) -> Message | None:
        """The next event of a job; those of other jobs are kept for their readers."""
        for index, message in enumerate(self._events):
            if getattr(message, "job", None) == job:
                return self._events.pop(index)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            event = self._receive(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if event is None or (_is_event(event) and getattr(event, "job", None) == job):
                return event
            self._keep(event)

    def _keep(self, message: Message) -> None:
        """Puts an event aside for its reader. An answer that nobody waits for matters only if it is an error."""
        if _is_event(message):
            self._events.append(message)
        elif isinstance(message, ErrorIs):
            raise message.error.exception()


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

    def __iter__(self) -> Iterator[Message]:
        while True:
            event = self.next(None)
            if event is not None:
                yield event
                if isinstance(event, Done):
                    return

    def next(self, timeout: float | None) -> Message | None:
        """The next event, or None if there is none within `timeout` seconds; see `Job` for what it raises."""
        event = self._client._event(self.id, timeout)
        if isinstance(event, ENDS):
            # A result that is not acknowledged would be kept for us.
            self._client._send(Ack(job=self.id))
        if isinstance(event, Failed):
            raise event.error.exception()
        if isinstance(event, Cancelled):
            raise JobCancelledError
        return event

    def cancel(self) -> None:
        """Asks for the job's end without a result: `JobCancelledError` follows, or a result already on its way."""
        self._client._send(Cancel(job=self.id))

    def stop(self) -> None:
        """Asks for the job's end with what it has come to: `Done` follows."""
        self._client._send(Stop(job=self.id))


class JobCancelledError(Exception):
    """The job was cancelled."""


__all__ = ["Client", "Done", "Image", "Job", "JobCancelledError"]

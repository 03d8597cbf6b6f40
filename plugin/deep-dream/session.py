"""A conversation with the daemon in a thread of its own, so that no window ever waits for it.

Knows neither GIMP nor GTK: `post` brings a call into the thread of whoever listens, as `GLib.idle_add` does.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from dreamwire.client import Client, Image, JobCancelledError
from dreamwire.errors import DreamError
from dreamwire.messages import Done, Message, Preview
from dreamwire.params import Value
from settings import chosen_endpoint

Answer = TypeVar("Answer")
Post = Callable[[Callable[[], None]], object]

#: Seconds within which a wish of the user reaches the daemon.
PROMPT = 0.03
#: What the session is at while no job tells how far it is.
STARTING, LOST = "Starting the daemon...", "The daemon ended. Starting it again, and this from the beginning..."


def advice(error: Exception) -> str:
    """An error as a sentence, with the way that GIMP's menu offers."""
    text = str(error) or type(error).__name__
    if isinstance(error, DreamError) and error.code in ("unknown_network", "checksum", "download"):
        text += "\nIn GIMP: Filters > Deep Dream > Networks... fetches it."
    return text


class DaemonLostError(Exception):
    """The daemon ended, or was ended, in the middle of something, and so did the one started in its place."""

    def __init__(self) -> None:
        super().__init__(
            "The Deep Dream daemon ended before it was done. Try again: it is started anew."
            " About and Diagnostics... shows where its log is."
        )


class Session:
    """One client, which connects when it is first needed; what it is asked for is done one after another.

    `tell`, which may be changed, is told what the session is at when a daemon is started, or lost.
    """

    def __init__(self, post: Post, tell: Callable[[str], None] = lambda text: None) -> None:
        self._post = post
        self.tell = tell
        self._todo: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._client: Client | None = None
        # A daemon thread, in the other sense of the word: the plug-in ends even if it hangs.
        self._thread = threading.Thread(target=self._work, name="deep-dream", daemon=True)
        self._thread.start()

    def ask(
        self,
        question: Callable[[Client], Answer],
        then: Callable[[Answer], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Has `question` answered in the session's thread, and `then` or `failed` told in the listener's."""

        def work() -> None:
            try:
                answer = question(self._connected())
            except Exception as error:
                problem = self._lost() if isinstance(error, ConnectionError) else error
                self._post(lambda: failed(problem))
            else:
                self._post(lambda: then(answer))

        self._todo.put(work)

    def dream(self, dream: Dream) -> Dream:
        """Has a dream dreamt; its listener is told what becomes of it."""
        self.ask(lambda client: dream.run(client, self._post), dream.done, dream.failed)
        return dream

    def reconnect(self) -> None:
        """Has what is asked for from now on asked of the daemon that is chosen by then."""
        self._todo.put(self._lost)

    def close(self) -> None:
        """Ends the conversation after what has been asked for; the daemon drops a job that is still running."""
        self._todo.put(None)

    def _work(self) -> None:
        while (work := self._todo.get()) is not None:
            work()
        if self._client is not None:
            self._client.close()

    def _connected(self) -> Client:
        if self._client is None:
            self._client = Client(
                chosen_endpoint(),
                name="gimp",
                starting=partial(self._say, STARTING),
                lost=partial(self._say, LOST),
            )
        return self._client

    def _say(self, text: str) -> None:
        self._post(lambda: self.tell(text))

    def _lost(self) -> Exception:
        if self._client is not None:
            self._client.close()
        self._client = None
        return DaemonLostError()


class Listener(Protocol):
    """Who wants a dream: is told how it goes, and then exactly one of the two ends, unless it has let go."""

    def on_event(self, event: Message) -> None:
        """Progress, or a preview."""

    def on_done(self, done: Done) -> None:
        """The dream is there."""

    def on_failed(self, error: Exception) -> None:
        """There is none: `JobCancelledError` after `cancel`, or what went wrong."""


@dataclass
class Dream:
    """A job as it is wanted: what is sent, and who is told."""

    listener: Listener | None
    params: Mapping[str, Value]
    image: Image
    mask: Image | None = None
    preview: Preview | None = None
    kind: str = "dream"
    guide: Image | None = None
    _wish: str = ""

    def stop(self) -> None:
        """Ends it with what it has come to."""
        self._wish = "stop"

    def cancel(self) -> None:
        """Ends it without a result."""
        self._wish = "cancel"

    def let_go(self) -> None:
        """Cancels it, and nobody is told anything more, whatever was on its way."""
        self.listener = None
        self.cancel()

    def run(self, client: Client, post: Post) -> Done:
        """Follows the job to its end, in the session's thread."""
        if self._wish == "cancel":
            raise JobCancelledError
        job = client.submit(
            self.kind,
            self.params,
            image=self.image,
            mask=self.mask,
            guide=self.guide,
            preview=self.preview,
            wanted=lambda: self._wish != "cancel",
        )
        heard = ""
        while True:
            if self._wish != heard:
                heard = self._wish
                (job.stop if heard == "stop" else job.cancel)()
            event = job.next(PROMPT)
            if isinstance(event, Done):
                return event
            if event is not None:
                post(partial(self.event, event))

    # In the listener's thread: by then it may have let go.

    def event(self, event: Message) -> None:
        if self.listener is not None:
            self.listener.on_event(event)

    def done(self, done: Done) -> None:
        if self.listener is not None:
            self.listener.on_done(done)

    def failed(self, error: Exception) -> None:
        if self.listener is not None:
            self.listener.on_failed(error)

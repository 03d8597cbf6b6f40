"""A daemon that says what a test wants to hear, for what no real one says: that it is of another version, say."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import zmq

from dreamwire.messages import Error, ErrorIs, Hello, Message, Welcome, decode, encode

Answers = Callable[[Message], Message]


@contextlib.contextmanager
def fake_daemon(
    folder: Path, answers: Answers, then: Callable[[Message], Iterable[Message]] = lambda _: ()
) -> Iterator[str]:
    """Serves at the endpoint that comes back, until the end of the block; what it says `then` nobody has asked."""
    endpoint = f"ipc://{folder / 'fake.sock'}"
    ended = threading.Event()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.linger = 0
        router.bind(endpoint)

        def serve() -> None:
            while not ended.is_set():
                if router.poll(20):
                    client, *frames = router.recv_multipart()
                    message = decode(frames)
                    router.send_multipart([client, *encode(replace(answers(message), request=message.request))])
                    for event in then(message):
                        router.send_multipart([client, *encode(event)])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield endpoint
        finally:
            ended.set()
            thread.join(5)


def of_version(version: str, otherwise: Answers) -> Answers:
    """Answers of a daemon that calls itself of this version, and says `otherwise` to all but a greeting."""

    def answer(message: Message) -> Message:
        if isinstance(message, Hello):
            return Welcome(version=1, daemon=version, instance="fake", capabilities=("dream",), limits={})
        return otherwise(message)

    return answer


def of_protocol(version: int) -> Answers:
    """Answers of a daemon that speaks this version of the protocol alone."""

    refusal = (
        f"The daemon (9.0) speaks version {version} of the protocol, gimp 0.1.0 speaks 1. Install the same"
        " version of both, then run `deepdream stop`, or end the process 4711."
    )
    return lambda _: ErrorIs(error=Error("version", refusal))

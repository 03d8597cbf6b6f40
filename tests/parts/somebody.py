"""Somebody who dreams one little dream after the other: `python somebody.py ENDPOINT`, until its input ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dreamwire.client import Client, Done, Image


def dream(client: Client) -> None:
    """A dream that takes a blink."""
    params = {"layers": "blocks.2", "octaves": 1, "steps": 1}
    *_, done = client.submit("dream", params, image=Image(b"\x7f" * 3072, (32, 32, 3), "uint8"))
    assert isinstance(done, Done)


@dataclass
class Somebody:
    """How many dreams somebody has had, once he has stopped."""

    dreams: int = 0


@contextmanager
def somebody_dreaming(endpoint: str) -> Iterator[Somebody]:
    """Somebody else who dreams all the while, after his first dream; whatever goes wrong for him is an error."""
    somebody = Somebody()
    command = [sys.executable, __file__, endpoint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "dreaming\n"
            yield somebody
            process.stdin.close()
            somebody.dreams = int(process.stdout.readline())
            assert process.wait(60) == 0
        finally:
            process.kill()


def main(endpoint: str) -> None:
    """Dreams until the standard input ends, and tells how often."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    dreams = 0
    with Client(endpoint, start=False, name="somebody") as client:
        dream(client)
        print("dreaming", flush=True)
        while not over.is_set():
            client.ping()
            dream(client)
            dreams += 1
    print(dreams, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

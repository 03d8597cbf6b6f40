"""A studio whose daemon is open to a laptop: both are this computer, with folders and keys of their own.

127.0.0.2 and 127.0.0.3 are not what either takes for itself.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from dreamwire.client import Client
from real_daemon import Daemon
from slow_line import Line


@dataclass
class Computers:
    """The studio with its daemon, which the laptop reaches by the `line`."""

    studio: Daemon
    laptop: Daemon
    port: int
    line: Line

    @property
    def endpoint(self) -> str:
        return self.line.endpoint

    def client(self, **options: Any) -> Client:
        """On the laptop, which this process is then to be."""
        return Client(self.endpoint, name="laptop test", **options)

    @property
    def refusals(self) -> dict[str, int]:
        with self.studio.client() as client:
            found: dict[str, int] = client.status()["remote"]["refusals"]
        return found


def met(studio: Daemon, laptop: Daemon) -> Computers:
    """Both know each other, and the studio's daemon is started."""
    port = free_port()
    studio.options = ("--listen", f"tcp://127.0.0.2:{port}")
    line = Line(port)
    say(studio, "allow", key_of(laptop), "--name", "laptop")
    say(laptop, "allow", key_of(studio), "--at", line.endpoint)
    studio.start()
    return Computers(studio, laptop, port, line)


def key_of(computer: Daemon) -> str:
    """A new key of a computer."""
    return say(computer, "new").split()[4].rstrip(".")


def say(computer: Daemon, *arguments: str) -> str:
    """What `deepdream keys` answers there."""
    done = computer.run("keys", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.2", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port

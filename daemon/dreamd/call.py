"""One call of the command line: its arguments, and how it talks to the user and to the daemon."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dreamwire import __version__

if TYPE_CHECKING:
    from dreamwire.client import Client

#: Exit codes, as `deepdream --help` explains them.
OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Call:
    """What every command gets. Its result goes to standard output, all else that it says to standard error."""

    arguments: argparse.Namespace

    def client(self, *, start: bool = True) -> Client:
        """A connection to the daemon, which is started, and said to be, if there is none."""
        # Half of what the command imports, and not every command needs it.
        from dreamwire.client import Client  # noqa: PLC0415

        client = Client(
            self.arguments.endpoint,
            start=start,
            starting=lambda: self.say("Starting the daemon..."),
            lost=lambda: self.say("The daemon ended in the middle of this. It is begun anew."),
            name="deepdream",
        )
        if client.welcome.daemon != __version__:
            self.say(
                f"Note: the daemon is of version {client.welcome.daemon}, this command of {__version__}."
                " `deepdream stop` ends it; the next command starts one of its own version."
            )
        return client

    def say(self, text: str) -> None:
        """Tells the user something that is not the command's result."""
        over = "\r\033[K" if sys.stderr.isatty() else ""  # there may be a bar
        print(f"{over}{text}", file=sys.stderr, flush=True)

    def result(self, value: object, text: str) -> None:
        """The command's result: `value` for programs, `text` for people."""
        write(json.dumps(value, indent=2) if self.arguments.json else text)


def write(text: str) -> None:
    """Prints to standard output, unless whoever reads it has had enough."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Python would try once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

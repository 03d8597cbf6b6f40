"""`deepdream serve`."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

import zmq

from dreamwire import paths
from dreamwire.errors import DreamError

from . import logs
from .activation import endpoint_of, handed_over
from .door import AlreadyRunningError
from .limits import Limits
from .options import Options
from .relay import MOST, Relay
from .remote import Remote
from .server import Front
from .sockets import listen


def serve(arguments: argparse.Namespace) -> int:
    """Runs the daemon until it is stopped; 0 also if another one serves already."""
    os.umask(0o077)  # nothing that a daemon writes is for others
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    handed = None
    try:
        handed = handed_over()
        given["endpoint"] = _endpoint(given.get("endpoint"), handed)
        options = Options(**_of(Options, given), limits=Limits(**_of(Limits, given)))
        _raise_descriptor_limit()
        with zmq.Context() as context:
            listener = listen(context, options.endpoint, options.limits.frame, handed)
            try:
                logs.configure(options.log, foreground=_is_terminal())
                remote = Remote(options, listener.token) if options.listen else None
                Front(context, listener, options, remote).serve()
            finally:
                listener.close()
    except AlreadyRunningError:
        if given.get("listen"):
            print(f"A daemon serves {given['endpoint']} already: run `deepdream stop` first.", file=sys.stderr)
            return 1
        print(f"A daemon serves {given['endpoint']} already; nothing to do.", file=sys.stderr)
        return 1 if handed else 0  # who has handed us a socket waits for us to serve it
    except (OSError, ValueError, DreamError) as error:
        print(f"deepdream: The daemon cannot start. {_reason(error)}", file=sys.stderr)
        return 1
    return 0


def relay(arguments: argparse.Namespace) -> int:
    """Runs a relay for the daemon at `arguments.far`; 0 also if another one does already."""
    os.umask(0o077)
    log = getattr(arguments, "log", None) or paths.log_dir() / "daemon.log"
    try:
        endpoint = arguments.endpoint or paths.relay_endpoint(arguments.far)
        _raise_descriptor_limit()
        with zmq.Context() as context:
            listener = listen(context, endpoint, MOST)
            try:
                logs.configure(log, foreground=_is_terminal())
                standing = Relay(context, listener, arguments.far)
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, lambda *_: standing.end())
                standing.run()
            finally:
                listener.close()
    except AlreadyRunningError:
        print(f"A relay for {arguments.far} is there already; nothing to do.", file=sys.stderr)
    except (OSError, ValueError, DreamError) as error:
        print(f"deepdream: {_reason(error)}", file=sys.stderr)
        return 1
    return 0


def _reason(error: Exception) -> str:
    """What an error says, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _is_terminal() -> bool:
    """Whether somebody looks on."""
    return sys.stderr is not None and sys.stderr.isatty()


def _of(kind: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given for the fields of a dataclass."""
    return {field.name: given[field.name] for field in dataclasses.fields(kind) if field.name in given}


def _endpoint(wish: str | None, handed: socket.socket | None) -> str:
    """Where to serve. Raises `ValueError` for a wish that a socket handed over cannot fulfil."""
    if handed is None:
        return wish or paths.default_endpoint()
    endpoint = endpoint_of(handed)
    if wish not in (None, endpoint):
        raise ValueError(f"The socket of {endpoint} was handed over, but --endpoint asks for {wish}.")
    return endpoint


def _raise_descriptor_limit() -> None:
    """Lets many clients connect: libzmq aborts the process when descriptors run out on ipc (its issue 1306)."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

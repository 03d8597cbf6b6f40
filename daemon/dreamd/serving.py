"""`deepdream serve`."""

from __future__ import annotations

import argparse
import dataclasses
import sys

import zmq

from dreamwire import paths

from . import logs
from .options import Options
from .server import Front
from .sockets import AlreadyRunningError, listen


def serve(arguments: argparse.Namespace) -> int:
    """Runs the daemon until it is stopped; 0 also if another one serves already."""
    given = {field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(Options)}
    try:
        given["endpoint"] = given["endpoint"] or paths.default_endpoint()
        options = Options(**{name: value for name, value in given.items() if value is not None})
        _raise_descriptor_limit()
        with zmq.Context() as context:
            listener = listen(context, options.endpoint, options.max_frame)
            try:
                logs.configure(options.log, foreground=sys.stderr.isatty())
                Front(context, listener, options).serve()
            finally:
                listener.close()
    except AlreadyRunningError:
        print(f"A daemon serves {given['endpoint']} already; nothing to do.", file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f"deepdream: The daemon cannot start. {error}", file=sys.stderr)
        return 1
    return 0


def _raise_descriptor_limit() -> None:
    """Lets many clients connect: libzmq aborts the process when descriptors run out on ipc (its issue 1306)."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415 - not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

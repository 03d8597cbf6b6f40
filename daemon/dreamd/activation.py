"""Sockets that a service manager has opened for the daemon, before it was started: sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket

#: The descriptor of the first socket that is handed over.
FIRST = 3


def handed_over() -> socket.socket | None:
    """The listening socket that systemd, or another manager of services, has handed over; None if there is none.

    Raises `ValueError` for anything but one listening socket.
    """
    ours = os.environ.get("LISTEN_PID") == str(os.getpid())
    count = os.environ.get("LISTEN_FDS", "0")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)  # they are meant for us, and for no process of ours
    if not ours or count == "0":
        return None
    if count != "1":
        raise ValueError(f"{count} sockets were handed over, but a daemon serves one; have a service for each.")
    handed = socket.socket(fileno=FIRST)
    handed.set_inheritable(False)
    if handed.type != socket.SOCK_STREAM or not handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError("The socket that was handed over does not listen; it must be one of ListenStream=.")
    return handed


def endpoint_of(handed: socket.socket) -> str:
    """The endpoint of a listening socket, as clients write it."""
    name = handed.getsockname()
    if handed.family == getattr(socket, "AF_UNIX", None):
        return f"ipc://{os.fsdecode(name)}"
    host, port, *_ = name
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

"""Where things are on this computer: weights, logs, settings, cache, and the folder of the daemon's socket.

Linux follows the XDG base directories, macOS `~/Library`, Windows `%LOCALAPPDATA%`. `DEEPDREAM_DATA`,
`DEEPDREAM_LOGS`, `DEEPDREAM_CONFIG`, `DEEPDREAM_CACHE`, `DEEPDREAM_RUNTIME` and `DEEPDREAM_ENDPOINT` override
each.
Only `runtime_dir`, and `default_endpoint` by it, make or change anything.

A GIMP in a sandbox shares neither environment nor all folders with the daemon on the host. It may not start
programs there, but use the network: so it speaks TCP, to a fixed port, and finds the token for it in `data_dir`,
which there is a folder that both sides see.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import warnings
from pathlib import Path

from .private import secure_dir

APP = "deep-dream"
SOCKET = "daemon.sock"
#: Bytes that fit into `sun_path` beside its closing zero: unix(7), and <sys/un.h> of macOS.
SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
#: For Windows, where libzmq has no ipc, and for sandboxes; a port of the range that no service has registered.
LOOPBACK_ENDPOINT = "tcp://127.0.0.1:47615"
FLATPAK_INFO = Path("/.flatpak-info")


def sandbox() -> str:
    """The sandbox that this process runs in, `flatpak` or `snap`, or the empty text."""
    if FLATPAK_INFO.exists():
        return "flatpak"
    # Other snaps, such as terminals, hand their variables on to whatever is started in them.
    return "snap" if os.environ.get("SNAP_NAME") == "gimp" and _absolute("SNAP_USER_COMMON") else ""


def data_dir() -> Path:
    """The folder of what is kept: `DEEPDREAM_DATA`, else `XDG_DATA_HOME/deep-dream` and its like."""
    return _override("DEEPDREAM_DATA") or _place(
        "XDG_DATA_HOME", ".local/share", macos=f"Application Support/{APP}", together=APP
    )


def client_dirs() -> list[Path]:
    """The folders in which clients look for the daemon's command and token: `data_dir`, and that of GIMP's snap.

    A snap sees no hidden folder of the home but its own, so whoever writes these writes them there too.
    """
    common = Path.home() / "snap" / "gimp" / "common"
    snap = [common / APP] if common.is_dir() and not _override("DEEPDREAM_DATA") else []
    return list(dict.fromkeys([data_dir(), *snap]))


def weights_dir() -> Path:
    """The folder of fetched weights."""
    return data_dir() / "weights"


def log_dir() -> Path:
    """The folder of logs: `DEEPDREAM_LOGS`, else `XDG_STATE_HOME/deep-dream` and its like."""
    return _override("DEEPDREAM_LOGS") or _place(
        "XDG_STATE_HOME", ".local/state", macos=f"Logs/{APP}", together=f"{APP}/logs"
    )


def cache_dir() -> Path:
    """The folder of what can be made again: `DEEPDREAM_CACHE`, else `XDG_CACHE_HOME/deep-dream` and its like."""
    return _override("DEEPDREAM_CACHE") or _place(
        "XDG_CACHE_HOME", ".cache", macos=f"Caches/{APP}", together=f"{APP}/cache"
    )


def config_dir() -> Path:
    """The folder of settings: `DEEPDREAM_CONFIG`, else `XDG_CONFIG_HOME/deep-dream` and its like."""
    return _override("DEEPDREAM_CONFIG") or _place(
        "XDG_CONFIG_HOME", ".config", macos=f"Application Support/{APP}/config", together=f"{APP}/config"
    )


def runtime_dir() -> Path:
    """The folder of the daemon's socket and lock: `runtime_place`, made and verified by `secure_dir`."""
    return secure_dir(runtime_place())


def runtime_place() -> Path:
    """Where `runtime_dir` is or would be; nothing is made.

    `DEEPDREAM_RUNTIME`, else `XDG_RUNTIME_DIR/deep-dream` if that is ours, else `/tmp/deep-dream-UID`. The last
    also stands in, with a warning, for a folder whose name is too long for a socket: then all that belongs
    together still lies together, and every client finds it.
    """
    override = _override("DEEPDREAM_RUNTIME")
    if sys.platform == "win32":
        return override or data_dir() / "run"
    xdg = _absolute("XDG_RUNTIME_DIR")
    folder = override or (xdg / APP if xdg and _is_ours(xdg) else _temporary())
    length = len(os.fsencode(folder / SOCKET))
    if length > SOCKET_PATH_LIMIT:
        warnings.warn(
            f"{folder / SOCKET} has {length} bytes, but the path of a socket has room for {SOCKET_PATH_LIMIT}:"
            f" {_temporary()} is used instead. Set DEEPDREAM_RUNTIME to a folder with a shorter name.",
            stacklevel=3,
        )
        folder = _temporary()
    return folder


def default_endpoint() -> str:
    """The daemon's address: `DEEPDREAM_ENDPOINT`, else a socket in `runtime_dir`.

    On Windows and in a sandbox it is a loopback port instead. Raises `PermissionError` as `runtime_dir` does.
    """
    given = os.environ.get("DEEPDREAM_ENDPOINT")
    if given:
        return given
    if sys.platform == "win32" or sandbox():
        return LOOPBACK_ENDPOINT
    return f"ipc://{runtime_dir() / SOCKET}"


def is_elsewhere(endpoint: str) -> bool:
    """Whether an endpoint is to be reached by a relay: any of TCP but those of this machine alone."""
    return re.match(r"tcp://(127\.0\.0\.1|\[?::1\]?|localhost):\d+$", endpoint) is None and "tcp://" in endpoint


def relay_endpoint(far: str) -> str:
    """Where the relay for a daemon on another machine is reached on this one. Raises as `default_endpoint`."""
    number = hashlib.sha256(far.encode()).digest()
    if sys.platform == "win32" or sandbox():
        # Below the ports that systems give to whoever asks for any.
        return f"tcp://127.0.0.1:{20_000 + int.from_bytes(number[:2], 'big') % 10_000}"
    return f"ipc://{runtime_dir() / f'relay-{number.hex()[:8]}'}"


def token_paths(endpoint: str) -> list[Path]:
    """The files in which clients find the token of a tcp endpoint such as `tcp://127.0.0.1:47615`.

    They lie in `DEEPDREAM_RUNTIME`, else in `run` in each of `client_dirs`; a client reads the first. Whoever
    writes them makes these folders the user's alone, and gives them mode 0600. Raises `ValueError` for an endpoint
    that is no tcp address.
    """
    address = re.fullmatch(r"tcp://([\w.:\[\]-]+):(\d{1,5})", endpoint, re.ASCII)
    if address is None:
        raise ValueError(f"{endpoint!r:.80} has no token; only tcp://HOST:PORT has one.")
    host = re.sub(r"[:\[\]]", "_", address[1])  # IPv6, and Windows allows no colon in a name
    override = _override("DEEPDREAM_RUNTIME")
    folders = [override] if override else [folder / "run" for folder in client_dirs()]
    return [folder / f"token-{host}-{address[2]}" for folder in folders]


def _temporary() -> Path:
    # A fixed name, not a random one: daemon and clients must meet. `secure_dir` makes it safe in a shared folder.
    return Path(f"/tmp/{APP}-{os.getuid()}")  # noqa: S108


def _is_ours(folder: Path) -> bool:
    """Whether a folder exists and belongs to this user; after `su` or `sudo -E` it is still the other's."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _place(xdg: str, otherwise: str, *, macos: str, together: str) -> Path:
    """Folder of this program on this platform: by an XDG variable or `otherwise`, or as macOS has it.

    Where there is one folder for all, on Windows and in a snap, it is `together` there.
    """
    if sys.platform == "darwin":
        return Path.home() / "Library" / macos
    if sys.platform == "win32":
        return (_absolute("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / together
    common = _absolute("SNAP_USER_COMMON")
    if common and sandbox() == "snap":
        return common / together
    if sandbox() == "flatpak":  # whose own variables name folders that nobody else looks into
        xdg = f"HOST_{xdg}"
    return (_absolute(xdg) or Path.home() / otherwise) / APP


def _override(variable: str) -> Path | None:
    """The folder named by a variable of our own; `~` and relative names are taken as a shell would."""
    value = os.environ.get(variable)
    return Path(value).expanduser().absolute() if value else None


def _absolute(variable: str) -> Path | None:
    """The folder named by a variable of the platform; the XDG specification has relative names ignored."""
    value = Path(os.environ.get(variable) or ".")
    return value if value.is_absolute() else None

"""`deepdream doctor`: is everything here and in order, and if not, what to do."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamwire import __version__, paths
from dreamwire.client import Client
from dreamwire.errors import DreamError, UnreachableError
from dreamwire.networks import NETWORKS
from dreamwire.params import PARAMS

from . import weights

#: What the daemon cannot do without; the lowest version that is safe, where one is known.
PACKAGES = {"torch": (2, 10), "numpy": (), "pyzmq": (), "msgpack": (), "pyvips": ()}


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found and, if that is bad, how to mend it."""

    name: str
    ok: bool
    found: str
    cure: str = ""


def examine(endpoint: str | None) -> list[Check]:
    """Every check, in the order in which trouble is best mended. Starts the daemon if none runs."""
    checks: tuple[Callable[[], Iterator[Check]], ...] = (_python, _packages, _weights, _folders)
    return [check for look in checks for check in look()] + list(_daemon(endpoint))


def _python() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 10)
    yield Check("python", ok, f"{version} at {sys.executable}", "" if ok else "Install with Python 3.10 or newer.")


def _packages() -> Iterator[Check]:
    for name, lowest in PACKAGES.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(name, False, "missing", "Install again: `python3 install/install.py`.")
            continue
        number = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
        ok = number >= lowest
        cure = (
            ""
            if ok
            else f"Older ones can be tricked by weights files; install {'.'.join(map(str, lowest))} or newer."
        )
        yield Check(name, ok, version, cure)


def _weights() -> Iterator[Check]:
    default = str(PARAMS["network"].default)
    for row in NETWORKS.values():
        path = weights.locate(row)
        if path is None and row.name != default:
            continue
        try:
            yield Check(row.name, True, str(weights.require(row)))
        except DreamError as error:
            yield Check(row.name, False, str(path or "no weights"), error.message)


def _folders() -> Iterator[Check]:
    for name, find in (("runtime", paths.runtime_dir), ("weights", paths.weights_dir), ("logs", paths.log_dir)):
        try:
            folder = find()
            _try_writing(folder)
            yield Check(name, True, str(folder))
        except OSError as error:
            yield Check(name, False, error.strerror or "unsafe", f"{error}")


def _try_writing(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    probe = folder / ".doctor"
    probe.write_bytes(b"")
    probe.unlink()


def _daemon(endpoint: str | None) -> Iterator[Check]:
    try:
        with Client(endpoint, name="doctor") as client:
            status = client.status()
    except (UnreachableError, ConnectionError, TimeoutError, DreamError) as error:
        yield Check("daemon", False, "does not answer", str(error))
        return
    same = status["version"] == __version__
    yield Check(
        "daemon",
        same,
        f"{status['version']}, process {status['pid']}, at {status['endpoint']}",
        ""
        if same
        else f"This command is {__version__}. Run `deepdream stop`; the next command starts the new one.",
    )
    for worker in status["workers"]:
        found = f"{worker['device']} {worker.get('device_name', '')}".strip()
        yield Check("worker", True, found if worker["running"] else f"{worker['device']}, asleep")
    if status["last_error"]:
        yield Check("last error", True, status["last_error"])

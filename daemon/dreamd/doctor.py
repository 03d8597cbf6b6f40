"""`deepdream doctor`: is everything here and in order, and if not, what to do."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from dreamwire import __version__, paths
from dreamwire.client import Client
from dreamwire.errors import DreamError, UnreachableError
from dreamwire.launch import COMMAND_FILE, INSTALL, daemon_command
from dreamwire.networks import NETWORKS
from dreamwire.params import PARAMS

from . import weights
from .gimps import Place, places, record
from .health import Check, parts

#: The name under which this project is installed.
DISTRIBUTION = "deep-dream-gimp"
AGAIN = f"Run `{INSTALL}` again."
#: Seconds without a word after which a worker hangs. It may have to start, on a slow disk, and load its network.
SILENCE = 60.0


def examine(connect: Callable[[], Client]) -> Iterator[Check]:
    """Every check, in the order in which trouble is best mended. `connect` starts the daemon if none runs."""
    yield _python()
    yield from _packages()
    yield from _weights()
    yield from _folders()
    yield _program()
    yield from _plugins()
    yield from _daemon(connect)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    ok = sys.version_info >= (3, 10)
    return Check(
        "python", ok, f"{version} at {sys.executable}", "" if ok else "Install with Python 3.10 or newer."
    )


def _packages() -> Iterator[Check]:
    """The packages that this project asks for when it is installed, and their lowest versions."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check(DISTRIBUTION, False, "not installed in this Python", AGAIN)
        return
    for requirement in requirements:
        match = re.match(r"([\w.-]+)(?:>=([\d.]+))?", requirement)
        if match and "extra ==" not in requirement:
            yield _package(match[1], match[2] or "0")


def _package(name: str, lowest: str) -> Check:
    cure = f'Run `"{sys.executable}" -m pip install "{name}>={lowest}"`.'
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "missing", cure)
    if _number(version) < _number(lowest):
        return Check(name, False, f"{version} is older than {lowest}", cure)
    return Check(name, True, version)


def _number(version: str) -> list[int]:
    """`2.10.0+cpu` -> `[2, 10, 0]`: enough to compare releases."""
    found = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in found[0].split(".")] if found else []


def _weights() -> Iterator[Check]:
    """The weights of the default network, and those of others that are here."""
    for row in NETWORKS.values():
        path = weights.locate(row)
        if path is None and row.name != PARAMS["network"].default:
            continue
        try:
            yield Check(row.name, True, str(weights.require(row)))
        except DreamError as error:
            yield Check(row.name, False, str(path or "no weights"), error.message)


def _folders() -> Iterator[Check]:
    for name, find, variable in (
        ("runtime folder", paths.runtime_dir, "DEEPDREAM_RUNTIME"),
        ("weights folder", paths.weights_dir, "DEEPDREAM_DATA"),
        ("log folder", paths.log_dir, "DEEPDREAM_LOGS"),
    ):
        try:
            folder = find()
        except OSError as error:  # of the runtime folder alone, which must be safe
            yield Check(name, False, "unsafe", str(error))
            continue
        try:
            _try_writing(folder)
            yield Check(name, True, str(folder))
        except OSError as error:
            cure = f"Make it a folder that you may write to, or name another one by {variable}."
            yield Check(name, False, f"{folder}: {error.strerror}", cure)


def _try_writing(folder: Path) -> None:
    """Raises OSError if no file can be made in the folder or, as long as there is none, beside it."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass


def _program() -> Check:
    """What clients start when there is no daemon."""
    try:
        command = daemon_command()
    except UnreachableError as error:
        return Check("program", False, "not found", str(error))
    found = " ".join(command)
    cure = f"{paths.data_dir() / COMMAND_FILE} names it. {AGAIN}"
    if not shutil.which(command[0]):
        return Check("program", False, f"{found!r} cannot be run", cure)
    try:
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("program", False, f"{found!r}: {error}", cure)
    version = said.stdout.strip().removeprefix("deepdream ")
    if version != __version__:
        why = f"is of version {version}, not {__version__}" if version else "does not work"
        return Check("program", False, f"{found!r} {why}", cure)
    return Check("program", True, found)


def _plugins() -> Iterator[Check]:
    """The plug-in, in each folder where a GIMP looks."""
    found = places()
    if not found:
        cure = f"To dream in GIMP, start it once, and run `{INSTALL}`."
        yield Check("GIMP", True, "no folder of a GIMP 3", cure)
    yield from map(_plugin, found)


def _plugin(place: Place) -> Check:
    plugin = place.plugin
    if not os.path.lexists(plugin):
        cure = f"To dream in this GIMP, run `{INSTALL}`."
        return Check(place.name, str(place.folder) not in record()["gimp"], f"no plug-in in {place.folder}", cure)
    program = plugin / f"{plugin.name}.py"
    cure = f"Move {plugin} away, and run `{INSTALL}`." if place.is_taken else AGAIN
    if not program.is_file():
        return Check(place.name, False, f"{program} is missing", cure)
    if place.version != __version__:
        version = place.version or "nothing known"
        return Check(place.name, False, f"{plugin} is of version {version}, not {__version__}", cure)
    if not os.access(program, os.X_OK):
        return Check(place.name, False, f"{program} may not be run", f'Run `chmod +x "{program}"`.')
    if not (plugin / "carried" / "msgpack" / "fallback.py").is_file():
        return Check(place.name, False, f"{plugin / 'carried'} is missing", cure)
    return Check(place.name, True, str(plugin))


def _daemon(connect: Callable[[], Client]) -> Iterator[Check]:
    try:
        with connect() as client:
            status = client.status()
            ours = status["version"] == __version__
            cure = f"This command is {__version__}. Run `deepdream stop`; the next command starts its own."
            found = f"version {status['version']}, process {status['pid']}, at {status['endpoint']}"
            yield Check("daemon", ours, found, "" if ours else cure)
            if ours:
                yield from parts(client, status, SILENCE)
                for error in status["last_errors"][:1]:
                    found = f"{error['code']}: {error['message']}"
                    yield Check("last error", True, found, f"{status['log']} may say more.")
    except DreamError as error:
        yield Check("daemon", False, "does not serve us", error.message)
    except (UnreachableError, OSError) as error:
        yield Check("daemon", False, "does not answer", f"{error} {paths.log_dir() / 'daemon.log'} may say why.")

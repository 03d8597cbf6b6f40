"""`install.py --uninstall`: takes away all that was installed, and what the daemon has kept, but nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import service
from dreamd.gimps import PROCEDURE, RECORD, Place, places, record
from dreamwire import paths
from dreamwire.launch import COMMAND_FILE


@dataclass
class Removal:
    """What has been removed, what is left and why."""

    removed: list[tuple[Path, int]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def remove(self, path: Path) -> None:
        """Removes a file or a folder with all that is in it; of a link, the link."""
        if not os.path.lexists(path):
            return
        size = _size(path)
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            self.left.append(f"{path} is left: {error.filename or path} cannot be removed ({error.strerror}).")
        else:
            self.removed += [(path, size)] * bool(size)  # of an empty folder nobody needs to hear

    def remove_folder(self, folder: Path, patterns: Iterable[str]) -> None:
        """Removes a folder, or, if there are patterns, what they match in it, and it itself once it is empty.

        A folder that is a link has been moved elsewhere by the user, who may have other things there.
        """
        if folder.is_symlink():
            self.left.append(f"{folder} is a link, so only that is removed; {folder.resolve()} is left.")
        elif folder.is_dir() and patterns:
            for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
                self.remove(path)
            if any(folder.iterdir()):
                self.left.append(f"{folder} is left: there is something in it that is not ours.")
                return
        self.remove(folder)


def uninstall(gimp_dirs: Iterable[Path]) -> Removal:
    """Removes everything. The daemon must have ended."""
    removal = Removal()
    known = record()
    for place in dict.fromkeys([*places(), *map(Place, gimp_dirs)]):
        if place.is_taken:
            removal.left.append(f"{place.plugin} is left: it was not made by this installer.")
        else:
            removal.remove(place.plugin)
        for rest in (*place.plugin.parent.glob(f".{place.plugin.name}.*"), *_settings(place)):
            removal.remove(rest)
    with service.forgotten() as files:
        for file in files:
            removal.remove(file)
    for folder, patterns in _folders():
        removal.remove_folder(folder, patterns)
    # The innermost come last in the record.
    for folder in map(Path, reversed(known["made"])):
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    return removal


def _settings(place: Place) -> Iterator[Path]:
    """What GIMP has kept of the plug-in's last run."""
    return (place.folder / "plug-in-settings").glob(f"{PROCEDURE}*")


def _folders() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Our folders, and what in them is ours if they are not ours altogether, because the user has named them."""
    with contextlib.suppress(PermissionError):  # somebody else's, which was never used
        yield paths.runtime_dir(), _if_named("DEEPDREAM_RUNTIME", "daemon.sock*", "worker-*", "token-*")
    yield paths.log_dir(), _if_named("DEEPDREAM_LOGS", "daemon.*")
    yield paths.config_dir(), _if_named("DEEPDREAM_CONFIG", "*.json", "gimp-daemon", "keys")
    yield paths.cache_dir(), _if_named("DEEPDREAM_CACHE", "catalogue")
    data = ("venv", "cache", "weights", "run", COMMAND_FILE, RECORD, "install.log", "service.xml")
    yield from ((folder, _if_named("DEEPDREAM_DATA", *data)) for folder in paths.client_dirs())


def _if_named(variable: str, *patterns: str) -> tuple[str, ...]:
    return patterns if os.environ.get(variable) else ()


def _size(path: Path) -> int:
    """Bytes of a file, or of all in a folder, links not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)

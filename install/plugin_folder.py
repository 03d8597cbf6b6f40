"""Our plug-in in a folder of GIMP: copied or linked, and whole at every moment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import project
from dreamd.gimps import MARK, PLUGIN, Place
from dreamwire import __version__

SOURCE = project.ROOT / "plugin" / PLUGIN
PROGRAM = f"{PLUGIN}.py"


class RefusedError(Exception):
    """The plug-in cannot be put there; the message says why, and what to do."""


def put(place: Place, packages: Path, *, linked: bool = False) -> list[Path]:
    """Puts the plug-in there, in the place of an older one; the folders that had to be made for it.

    `packages` holds msgpack, whose plain Python is carried along for a GIMP that has none. Raises `RefusedError`.
    """
    if place.is_taken:
        raise RefusedError(
            f"{place.plugin} was not made by this installer, and is left as it is. Move it away, and run this"
            " again."
        )
    new, old = (place.plugin.with_name(f".{PLUGIN}.{what}") for what in ("new", "old"))
    try:
        made = make_folder(place.plugin.parent)
        if old.exists() and not place.plugin.exists():
            old.rename(place.plugin)  # a run was ended between the two renames below
        for rest in (new, old):
            if rest.exists():
                shutil.rmtree(rest)
        _fill(new, packages, linked=linked)
        _swap(new, place.plugin, old)
    except OSError as error:
        raise RefusedError(
            f"{error.filename or place.plugin.parent} cannot be written ({error.strerror or error}), so this GIMP"
            " has not got the plug-in. See that you may write there, and run this again, or name another folder"
            " by --gimp-dir."
        ) from error
    return made


def _fill(folder: Path, packages: Path, *, linked: bool) -> None:
    if linked:
        folder.mkdir()
        for each in sorted(SOURCE.iterdir()):
            if each.name != "__pycache__":
                (folder / each.name).symlink_to(each, target_is_directory=each.is_dir())
    else:
        shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
        shutil.copy(project.ROOT / "LICENSE", folder)
    program = folder / PROGRAM
    program.chmod(0o755)
    program.touch()  # GIMP asks a plug-in for its arguments again only when this file looks new
    _carry(packages, folder / "carried")
    how = "linked to" if linked else "copied from"
    (folder / MARK).write_text(f"{project.NAME} {__version__}, {how} {SOURCE}\n", encoding="utf-8")


def _carry(packages: Path, folder: Path) -> None:
    """The plain Python of msgpack, which does without its compiled half, and its licence."""
    msgpack = folder / "msgpack"
    msgpack.mkdir(parents=True)
    licences = [*packages.glob("msgpack-*.dist-info/**/COPYING*"), *packages.glob("msgpack-*.dist-info/**/LICEN*")]
    for file in (*(packages / "msgpack").glob("*.py"), *licences):
        shutil.copy(file, msgpack)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Puts `new` in the place of `folder`: a break leaves the one or the other."""
    replaces = folder.exists()
    if replaces:
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if replaces:
            old.rename(folder)
        raise
    if replaces:
        shutil.rmtree(old)


def make_folder(folder: Path) -> list[Path]:
    """Makes a folder; the ones that were not there before, the outermost first."""
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]

"""The GIMPs of this user: where each looks for plug-ins, and what is there of ours; for installer and doctor."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamwire import paths

PLUGIN = "deep-dream"
PROCEDURE = "plug-in-deep-dream"
#: In a plug-in's folder: says that the installer has put it there, so that it may replace and remove it.
MARK = "INSTALLED"
#: In the folder of data: what the installer has done, for when it is to be undone.
RECORD = "installed.json"


@dataclass(frozen=True)
class Place:
    """A configuration folder of GIMP, such as ~/.config/GIMP/3.0, and the sandbox whose own it is."""

    folder: Path
    sandbox: str = ""

    @property
    def name(self) -> str:
        return f"GIMP {self.folder.name}" + (f" ({self.sandbox})" if self.sandbox else "")

    @property
    def plugin(self) -> Path:
        """Where our plug-in is, or would be."""
        return self.folder / "plug-ins" / PLUGIN

    @property
    def is_taken(self) -> bool:
        """Whether something is there that the installer has not put there."""
        there = os.path.lexists(self.plugin)
        return there and (self.plugin.is_symlink() or not (self.plugin / MARK).is_file())

    @property
    def version(self) -> str:
        """The version of the plug-in that is there; empty where there is none, or no sound one."""
        try:
            source = (self.plugin / "dreamwire" / "__init__.py").read_text(encoding="utf-8")
        except OSError:
            return ""
        found = re.search(r'^__version__ = "(.+)"', source, re.MULTILINE)
        return found[1] if found else ""


def bases() -> dict[Path, str]:
    """The folders that hold GIMP's configuration folders, if they are there, and the sandbox whose own each is."""
    home = Path.home()
    if sys.platform == "darwin":
        return {home / "Library" / "Application Support" / "GIMP": ""}
    if sys.platform == "win32":
        return {Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming") / "GIMP": ""}
    return {
        # From 3.2 on the flatpak uses this one, too.
        _config_home() / "GIMP": "",
        home / ".var" / "app" / "org.gimp.GIMP" / "config" / "GIMP": "flatpak",
        # `current` is the revision that runs; snapd copies its folders to the next one.
        home / "snap" / "gimp" / "current" / ".config" / "GIMP": "snap",
    }


def _config_home() -> Path:
    given = Path(os.environ.get("XDG_CONFIG_HOME") or ".")
    return given if given.is_absolute() else Path.home() / ".config"


def places() -> list[Place]:
    """Every configuration folder of a GIMP 3, those that the installer was told of included."""
    found = [
        Place(folder, sandbox)
        for base, sandbox in bases().items()
        for folder in sorted(base.glob("3.*"))
        if re.fullmatch(r"3\.\d+", folder.name) and folder.is_dir()
    ]
    known = {place.folder for place in found}
    own = os.environ.get("GIMP3_DIRECTORY")  # GIMP's own variable, below the home unless it is absolute
    told = [*([Path.home() / own] if own else []), *map(Path, record()["gimp"])]
    return found + [Place(folder) for folder in dict.fromkeys(told) if folder not in known and folder.is_dir()]


def record() -> dict[str, list[str]]:
    """What the installer has done: the configuration folders with our plug-in, and the folders it has made."""
    try:
        found: Any = json.loads((paths.data_dir() / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    return {name: list(found.get(name, ())) if isinstance(found, dict) else [] for name in ("gimp", "made")}


def write_record(gimp: Iterable[Path] = (), made: Iterable[Path] = ()) -> None:
    """Writes down what the installer has done, beside what it had done before."""
    before = record()
    added = {"gimp": list(map(str, gimp)), "made": list(map(str, made))}
    whole = {name: list(dict.fromkeys([*before[name], *added[name]])) for name in before}
    (paths.data_dir() / RECORD).write_text(json.dumps(whole, indent=2), encoding="utf-8")

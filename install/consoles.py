"""The GIMPs of this machine that can be started without a window and asked something."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamd.gimps import PLUGIN, PROCEDURE, Place

APP = "org.gimp.GIMP"
#: Seconds for a GIMP to start; the first time takes it ten, on a machine with other things to do.
PATIENCE = 180
#: What a GIMP says about us: printed in two parts, lest the command itself be taken for the answer.
ANSWER = "deep-dream-is"
QUESTION = f"""
from gi.repository import Gimp
there = Gimp.get_pdb().procedure_exists({PROCEDURE!r})
print({ANSWER!r} + ("-there" if there else "-missing"), flush=True)
"""


class SilentError(Exception):
    """A GIMP that cannot be run, or does not answer."""


@dataclass(frozen=True)
class Console:
    """A GIMP, how to start it, and the sandbox that it runs in."""

    command: tuple[str, ...]
    version: str
    sandbox: str = ""

    def __str__(self) -> str:
        return f"GIMP {self.version} ({' '.join(self.command)})"

    @property
    def release(self) -> str:
        """As its configuration folder is called: 3.0."""
        return ".".join(self.version.split(".")[:2])

    @property
    def is_three(self) -> bool:
        """Whether it is a GIMP that our plug-in is made for."""
        return self.version.startswith("3.")

    def uses(self, place: Place) -> bool:
        """Whether it looks for plug-ins there. A flatpak from 3.2 on uses the folder of the host."""
        shared = self.sandbox == "flatpak" and not place.sandbox
        return self.release == place.folder.name and (shared or place.sandbox == self.sandbox)

    def ask(self, place: Place | None = None) -> tuple[bool, str]:
        """Starts it, and asks whether it lists our plug-in; and what the plug-in has complained of.

        Where it has never been started before, it makes its folders. Raises `SilentError`.
        """
        # Sandboxes would not be told, and know of no other folder anyway.
        environment = {"GIMP3_DIRECTORY": str(place.folder)} if place else {}
        without_window = ["-n", "-i", "-d", "-f", "--quit", "--batch-interpreter", "python-fu-eval"]
        said = _run([*self.command, *without_window, "-b", QUESTION], PATIENCE, environment)
        answer = re.search(rf"^{ANSWER}-(there|missing)", said, re.MULTILINE)
        if answer is None:
            raise SilentError(f"It says: {' '.join(said.split())[-300:] or 'nothing'}")
        complaint = re.search(rf"{PLUGIN}\.py\".*?^(\w+Error: [^\n]*)", said, re.DOTALL | re.MULTILINE)
        return answer[1] == "there", complaint[1] if complaint else ""


def find() -> list[Console]:
    """Every GIMP that answers to `--version`, of other releases too, one for each version and sandbox."""
    found: dict[tuple[str, str], Console] = {}
    for command, sandbox in _commands():
        try:
            said = _run([*command, "--version"], 60)
        except SilentError:
            continue
        version = re.search(r"version (\d+\.\d+\.\d+)", said)
        if version:
            found.setdefault((version[1], sandbox), Console(tuple(command), version[1], sandbox))
    return list(found.values())


def _commands() -> Iterator[tuple[list[str], str]]:
    """How GIMPs may be started, the ones that need no screen first."""
    if sys.platform == "win32":
        folders = [Path(os.environ.get("PROGRAMFILES", "C:/Program Files"))]
        folders.append(Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "Programs")
        for folder in folders:
            yield from (([str(program)], "") for program in sorted(folder.glob("GIMP 3/bin/gimp-console-3*.exe")))
        return
    if sys.platform == "darwin":
        for folder in (Path("/Applications"), Path.home() / "Applications"):
            yield from (
                ([str(each)], "") for each in sorted(folder.glob("GIMP*.app/Contents/MacOS/gimp-console*"))
            )
    for pattern in (r"gimp-console(-3(\.\d+)?)?", r"gimp(-3(\.\d+)?)?"):
        for program in _on_path(pattern):
            # What snapd puts there are links to itself.
            yield [str(program)], "snap" if program.resolve().name == "snap" else ""
    flatpak = shutil.which("flatpak")
    if flatpak:
        yield [flatpak, "run", APP], "flatpak"


def _on_path(pattern: str) -> list[Path]:
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    names = {each.name for folder in folders for each in folder.glob("gimp*") if re.fullmatch(pattern, each.name)}
    found = {name: shutil.which(name) for name in sorted(names, reverse=True)}
    return [Path(program) for program in found.values() if program]


def _run(command: Sequence[str], patience: float, environment: dict[str, str] | None = None) -> str:
    """What a command says, whether it succeeds or not. Raises `SilentError` if it does not run, or not end."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=patience,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except OSError as error:
        raise SilentError(f"It cannot be run: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise SilentError(f"It did not answer within {patience:g} s.") from error
    return done.stdout.decode(errors="replace")

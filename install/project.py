"""Pythons of their own with the project in them: `.venv` for the checkout, and what `install.py` makes for a user.

Needs nothing but a Python 3.10+ with venv, or uv. A second run finds everything done and takes no time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / ".venv.log"
NAME = "deep-dream-gimp"
CONSTRAINTS = ("-c", str(ROOT / "constraints.txt"))
ADVICE = "Is there a connection, and room on the disk? Debian and Ubuntu need the package python3-venv."


@dataclass(frozen=True)
class Venv:
    """A virtual environment. `backend` is uv's name for the build of torch; what installers say goes to `log`."""

    folder: Path
    log: Path = LOG
    backend: str = "auto"
    #: Whether to get uv where there is none: it alone can choose torch's build.
    fetch_uv: bool = False

    @property
    def python(self) -> Path:
        return self.program("python")

    def program(self, name: str) -> Path:
        """Where a command is."""
        return self.folder / (f"Scripts/{name}.exe" if sys.platform == "win32" else f"bin/{name}")

    def install(self, packages: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Installs by uv if that can be, else by pip. Exits with advice if neither can."""
        if not self._install_by_uv(packages, environment):
            self._pip(packages, "Installing, torch takes longest", environment)

    def _pip(self, packages: Sequence[str], what: str, environment: Mapping[str, str] | None) -> None:
        if not self.program("pip").is_file():  # uv makes environments without
            run([sys.executable, "-m", "venv", self.folder], f"Making {self.folder}", self.log)
        pip: list[str | Path] = [self.python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        run([*pip, *packages], what, self.log, environment)

    def _install_by_uv(self, packages: Sequence[str], environment: Mapping[str, str] | None) -> bool:
        """Installs by uv: it is quick, and chooses torch's build by the machine. Whether it could."""
        mark = self.folder / "made-by-uv"
        if self.python.is_file() and not mark.exists():
            return False  # it was tried in vain before
        try:
            uv = self._uv(environment)
            if uv is None:
                return False
            mark.touch()
            install: list[str | Path] = [
                uv,
                "pip",
                "install",
                "--python",
                self.python,
                "--torch-backend",
                self.backend,
            ]
            # Of a folder whose pyproject.toml is the same, uv would take the wheel that it made before.
            run([*install, "--reinstall-package", NAME, *packages], "Installing by uv", self.log, environment)
        except SystemExit as failure:
            reason = _last_words(self.log, 200) or failure
            print(
                f"uv could not: {reason}\nTrying again with pip, which takes torch as it comes.", file=sys.stderr
            )
            mark.unlink(missing_ok=True)
            return False
        return True

    def _uv(self, environment: Mapping[str, str] | None) -> str | Path | None:
        """The uv to use: the user's, after it has made the environment, or one in the environment itself."""
        if uv := shutil.which("uv"):
            if not self.python.is_file():
                make: list[str | Path] = [uv, "venv", "--allow-existing", "--python", sys.executable, self.folder]
                run(make, f"Making {self.folder}", self.log)
            return uv
        own = self.program("uv")
        if self.fetch_uv and not own.is_file():
            self._pip(["uv"], "Getting uv, which can choose torch's build", environment)
        return own if self.fetch_uv else None


VENV = Venv(ROOT / ".venv")


def ready(extra: str = "") -> float:
    """Sees that `.venv` holds the project with an extra; the seconds it took. Exits with advice if it cannot."""
    started = time.monotonic()
    wanted = fingerprint(ROOT / "pyproject.toml", ROOT / "constraints.txt")
    # What was installed with an extra serves without it, too.
    if any(done.read_text() == wanted for done in VENV.folder.glob(f"installed-{extra or '*'}")):
        return 0.0
    VENV.install([*CONSTRAINTS, "-e", f"{ROOT}[{extra}]" if extra else str(ROOT)])
    (VENV.folder / f"installed-{extra or 'plain'}").write_text(wanted)
    return time.monotonic() - started


def fingerprint(*files: Path) -> str:
    """Changes when what has to be installed does."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() + sys.version


def run(
    command: Sequence[str | Path],
    what: str,
    log_file: Path = LOG,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs what takes a while, showing on one line what it is at; its words are kept in `log_file`."""
    started = time.monotonic()
    with log_file.open("w+", errors="replace") as log:
        try:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, **(environment or {})}
            )
        except OSError as error:
            sys.exit(f"{what} failed: {command[0]} cannot be run ({error.strerror}).")
        try:
            while process.poll() is None:
                _show(f"{what}: {time.monotonic() - started:.0f} s  {_last_words(log_file)}")
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.terminate()
            _show("")
        if process.returncode:
            log.seek(0)
            words = log.read().strip()
            sys.exit(f"{words[-2000:]}\n\n{what} failed. {ADVICE} The whole story is in {log_file}.")
    print(f"{what}: done in {time.monotonic() - started:.0f} s.", file=sys.stderr, flush=True)


def _last_words(log: Path, most: int = 70) -> str:
    """What the installer said last."""
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    return next((line.strip()[:most] for line in reversed(lines) if line.strip()), "")


def _show(text: str) -> None:
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print("\r" + text[:width] + "\033[K", end="", file=sys.stderr, flush=True)

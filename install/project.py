"""Makes `.venv` with the project in it: what `./install/try` and `./install/test` stand on.

Needs nothing but a Python 3.10+ with venv, or uv. A second run finds everything done and takes no time.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
LOG = ROOT / ".venv.log"
ADVICE = "Is there a connection, and room on the disk? Debian and Ubuntu need the package python3-venv."


def ready(extra: str = "") -> float:
    """Sees that `.venv` holds the project with an extra; the seconds it took. Exits with advice if it cannot."""
    started = time.monotonic()
    stamp = VENV / f"installed-{extra or 'plain'}"
    wanted = _fingerprint()
    # What was installed with an extra serves without it, too.
    if any(done.read_text() == wanted for done in VENV.glob(f"installed-{extra or '*'}")):
        return 0.0
    packages = ["-c", str(ROOT / "constraints.txt"), "-e", f"{ROOT}[{extra}]" if extra else str(ROOT)]
    if not _install_by_uv(packages):
        if not PYTHON.is_file():
            run([sys.executable, "-m", "venv", str(VENV)], "Making .venv")
        pip = [str(PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        run([*pip, *packages], "Installing, torch takes longest")
    stamp.write_text(wanted)
    return time.monotonic() - started


def _install_by_uv(packages: Sequence[str]) -> bool:
    """Installs by uv if it is there: it is quick, and chooses torch's build by the machine. Whether it could."""
    uv = shutil.which("uv")
    if uv is None or (PYTHON.is_file() and not (VENV / "uv").exists()):
        return False
    try:
        run([uv, "venv", "--allow-existing", "--python", sys.executable, str(VENV)], "Making .venv")
        (VENV / "uv").touch()
        install = [uv, "pip", "install", "--python", str(PYTHON), "--torch-backend", "auto"]
        run([*install, *packages], "Installing by uv")
    except SystemExit as failure:
        print(f"{failure}\nTrying again with pip.", file=sys.stderr)
        shutil.rmtree(VENV, ignore_errors=True)
        return False
    return True


def _fingerprint() -> str:
    """Changes when what has to be installed does."""
    files = (ROOT / "pyproject.toml", ROOT / "constraints.txt")
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() + sys.version


def run(command: Sequence[str | Path], what: str) -> None:
    """Runs what takes a while, showing on one line what it is at; its words are kept in `.venv.log`."""
    started = time.monotonic()
    with LOG.open("w+") as log:
        try:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        except OSError as error:
            sys.exit(f"{what} failed: {command[0]} cannot be run ({error.strerror}).")
        try:
            while process.poll() is None:
                _show(f"{what}: {time.monotonic() - started:.0f} s  {_last_words()}")
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.terminate()
            _show("")
        if process.returncode:
            log.seek(0)
            words = log.read().strip()
            sys.exit(f"{words[-2000:]}\n\n{what} failed. {ADVICE} The whole story is in {LOG}.")
    print(f"{what}: done in {time.monotonic() - started:.0f} s.", file=sys.stderr, flush=True)


def _last_words() -> str:
    """What the installer said last."""
    lines = LOG.read_text(errors="replace").splitlines()
    return lines[-1].strip()[:70] if lines else ""


def _show(text: str) -> None:
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        print("\r" + text[:width] + "\033[K", end="", file=sys.stderr, flush=True)

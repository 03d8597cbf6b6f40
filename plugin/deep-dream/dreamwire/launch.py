"""Starting a daemon where none runs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from . import paths
from .errors import UnreachableError
from .private import require_ours, secure_file

#: A file with the daemon's command, one argument a line, written by the installer for clients in other Pythons.
COMMAND_FILE = "daemon-command"
INSTALL = "python3 install/install.py"
#: Of GIMP's own Python where a bundle brings one; the daemon's is another.
FOREIGN = ("PYTHONHOME", "PYTHONPATH")
#: Seconds in which a daemon that has been started must answer; it needs a fraction of one.
PATIENCE = 20.0


def daemon_command() -> Sequence[str]:
    """How to start the daemon: what the installer wrote down, or a daemon in this Python, or one on the path.

    Raises `UnreachableError` when none is installed.
    """
    written = paths.data_dir() / COMMAND_FILE
    if written.is_file():
        try:
            require_ours(written)  # it is going to be run
        except PermissionError as error:
            raise UnreachableError(f"{error} Then install the daemon again with `{INSTALL}`.", INSTALL) from error
        if command := written.read_text(encoding="utf-8").splitlines():
            return command
    beside = Path(sys.executable).with_name("deepdream.exe" if sys.platform == "win32" else "deepdream")
    found = str(beside) if beside.is_file() else shutil.which("deepdream")
    if found is None:
        raise UnreachableError(
            "The Deep Dream daemon is not installed, or not where it was. Install it with"
            f" `{INSTALL}`, or start it yourself with `deepdream serve`.",
            INSTALL,
        )
    return [found]


def typed(*arguments: str) -> str:
    """The daemon's command with these arguments, as it is typed in a terminal."""
    try:
        command = daemon_command()
    except UnreachableError:
        command = ["deepdream"]
    return (subprocess.list2cmdline if sys.platform == "win32" else shlex.join)([*command, *arguments])


def start(endpoint: str, answers: Callable[[], bool], *, far: str = "") -> None:
    """Starts a daemon at `endpoint`, or a relay for the `far` one, and waits until `answers` says that it does.

    It is apart from this process. Raises `UnreachableError` with its last words if it does not come, or if this
    process may not start one.
    """
    what = "relay" if far else "daemon"
    arguments = ["relay", far, "--endpoint", endpoint] if far else ["serve", "--endpoint", endpoint]
    command = [*daemon_command(), *arguments]
    if sandbox := paths.sandbox():
        by_hand = typed(*arguments)
        raise UnreachableError(
            f"No Deep Dream {what} answers at {endpoint}, and this GIMP may not start one, because it is a"
            f" {sandbox}. Start it in a terminal by `{by_hand}`, leave that open, and try again.",
            by_hand,
        )
    with _words() as words:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                # It must outlive us, Ctrl-C in our terminal, and GIMP's way of killing plug-ins.
                start_new_session=True,
                cwd=Path(sys.executable).anchor,
                env={name: value for name, value in os.environ.items() if name not in FOREIGN},
            )
        except OSError as error:
            raise UnreachableError(
                f"The daemon could not be started with {command[0]}: {error.strerror}. Install it again with"
                f" `{INSTALL}`.",
                INSTALL,
            ) from error
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if answers():
                return
            # A daemon that finds another one at work ends with status 0, and that one answers soon.
            if process.poll() not in (None, 0):
                break
            time.sleep(0.02)
        said = Path(words.name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    log = paths.log_dir() / "daemon.log"
    last = said[-1].removeprefix("deepdream: ") if said else f"It said nothing; see {log}."
    raise UnreachableError(last if far and said else f"A {what} was started, but does not answer. {last}")


def _words() -> IO[bytes]:
    """A file for the daemon's words: `daemon.out` beside its log; if there can be none, one that goes with us."""
    folder = paths.log_dir()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open(folder / "daemon.out", "wb", opener=secure_file)
    except OSError:
        return tempfile.NamedTemporaryFile()

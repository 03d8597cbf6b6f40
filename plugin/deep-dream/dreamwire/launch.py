"""Starting a daemon where none runs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import paths
from .errors import UnreachableError

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
    command = written.read_text(encoding="utf-8").splitlines() if written.is_file() else []
    if command:
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


def start(endpoint: str, answers: Callable[[], bool]) -> None:
    """Starts a daemon at `endpoint`, apart from this process, and waits until `answers` says that it does.

    Its words go to `daemon.out` beside its log. Raises `UnreachableError` with its last words if it does not come,
    or if this process may not start one.
    """
    command = [*daemon_command(), "serve", "--endpoint", endpoint]
    if sandbox := paths.sandbox():
        by_hand = typed("serve", "--endpoint", endpoint)
        raise UnreachableError(
            f"No Deep Dream daemon answers at {endpoint}, and this GIMP may not start one, because it is a"
            f" {sandbox}. Start it in a terminal by `{by_hand}`, leave that open, and try again.",
            by_hand,
        )
    log_dir = paths.log_dir()
    words = log_dir / "daemon.out"
    try:
        log_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        output = words.open("wb")
    except OSError as error:
        raise UnreachableError(
            f"The daemon cannot write its log into {log_dir} ({error.strerror}). Mend that folder, or name another"
            " one by DEEPDREAM_LOGS."
        ) from error
    try:
        with output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
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
    said = words.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = said[-1].removeprefix("deepdream: ") if said else f"It said nothing; see {log_dir / 'daemon.log'}."
    raise UnreachableError(f"A daemon was started, but does not answer. {last}")

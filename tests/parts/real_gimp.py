"""A real GIMP for tests, with or without a window: in a root of `install/gimp_roots.py`, or the system's own.

A script inside GIMP, the probe, runs the Python that a test sends it, so that one GIMP serves many tests and a
test sees what GIMP sees. With a window there are hands and eyes: xdotool and screenshots.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

import gimp_roots

#: The variable that names the folder in which pictures of the screen are kept to be looked at.
SHOTS = "DEEPDREAM_SHOTS"
#: Seconds for GIMP to be there, and for whatever else is waited for; on a quiet machine they are ten and one.
START, PATIENCE = 120.0, 90.0

PLUGIN = Path(__file__).parents[2] / "plugin" / "deep-dream"
#: Runs inside GIMP until it is told to quit: takes Python from a socket, answers the value of `result` as JSON.
PROBE = """
import json, os, socket, sys, traceback
from gi.repository import Gegl, Gimp, GLib, Gio, GObject
space = {"Gegl": Gegl, "Gimp": Gimp, "GLib": GLib, "Gio": Gio, "GObject": GObject}
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["PROBE"])
listener.listen()
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rw", encoding="utf-8") as file:
        code = json.loads(file.readline())
        if code == "quit":
            break
        space.pop("result", None)
        try:
            exec(code, space)
            answer = json.dumps({"result": space.get("result")})
        except BaseException as error:
            answer = json.dumps({"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()})
        file.write(answer + "\\n")
"""


class GimpError(Exception):
    """What went wrong inside GIMP."""


@dataclass(frozen=True)
class System:
    """A system that holds a GIMP: a root's folder, or the machine itself (`root` None)."""

    name: str
    root: Path | None

    def command(
        self, argv: Sequence[str], shared: Sequence[Path], *, bare: bool = True, stays: bool = False
    ) -> list[str]:
        """How to run `argv` there, with the folders `shared` at their own places, and a process table of its own.

        What is run ends with the command, whatever it started, and so do all mounts; with `stays`, only when it is
        killed, for a daemon that outlives the GIMP that started it. `/tmp/host` is the machine itself, for such a
        daemon. With `bare` its Python has neither pyzmq nor msgpack.
        """
        if self.root is None:
            return list(argv)
        root = str(self.root)
        lines = [
            f"mount -t proc proc {root}/proc",
            f"mount --rbind /dev {root}/dev",
            f"mount -t tmpfs tmpfs {root}/tmp",
            f"mkdir -p {root}/tmp/host && mount --rbind / {root}/tmp/host",
        ]
        if bare:
            lines.append(f"mount --bind {root}/usr/lib/python3/bare-packages {root}/usr/lib/python3/dist-packages")
        for folder in shared:
            lines.append(f"mkdir -p {root}{folder} && mount --bind {folder} {root}{folder}")
        end = "sleep infinity" if stays else "exit $?"
        script = "\n".join(["set -e", *lines, "set +e", f'chroot {root} "$@"', end])
        # The shell stays: the first process of a process table is spared most signals, which GIMP and Xvfb need.
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]
        # It ends with the tests too, should they be killed.
        return ["setpriv", "--pdeathsig", "KILL", *unshare, *argv]


def systems() -> list[System]:
    """Every GIMP that tests can run in: the roots, or else the system's own."""
    roots = [System(f"gimp-{root.gimp}", root.folder) for root in gimp_roots.roots() if root.folder.is_dir()]
    if roots:
        return roots
    found = shutil.which("gimp-console-3.0") or shutil.which("gimp-console")
    if found:
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
        if "version 3." in version:
            return [System("gimp", None)]
    return []


@dataclass
class Gimp:
    """One GIMP process; `folder` is its home, short because sockets lie in it, and the same inside and outside."""

    system: System
    folder: Path
    window: bool = False
    bare: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    shared: tuple[Path, ...] = ()
    arguments: tuple[str, ...] = ()
    keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self.display = ""
        (self.folder / "probe.py").write_text(PROBE)

    @property
    def config(self) -> Path:
        """GIMP's configuration folder."""
        release = self.system.name.removeprefix("gimp-") if self.system.root else "3.0"
        return self.folder / ".config" / "GIMP" / release

    @property
    def words(self) -> str:
        """What GIMP and its plug-ins have printed."""
        return (self.folder / "gimp.out").read_text(errors="replace")

    def add_plugin(self) -> Path:
        """Puts the plug-in where GIMP looks for it; its folder."""
        folder = self.config / "plug-ins" / "deep-dream"
        shutil.copytree(PLUGIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
        carried = folder / "carried" / "msgpack"
        carried.mkdir(parents=True)
        for file in Path(msgpack.__file__).parent.glob("*.py"):
            shutil.copy(file, carried)
        return folder

    def start(self) -> Gimp:
        """Starts it and waits until the probe answers."""
        self.config.mkdir(parents=True, exist_ok=True)
        settings = [
            "(show-welcome-dialog no)",
            f'(config-version "{self.config.name}.99")',  # else it welcomes whoever starts it for the first time
            "(check-updates no)",
            "(save-session-info no)",
        ]
        (self.config / "gimprc").write_text("\n".join(settings))
        # Keys for entries of the menu, because the menu's own depend on what else is in it.
        keys = [f'(action "{name}" "{key}")' for name, key in self.keys.items()]
        (self.config / "shortcutsrc").write_text("\n".join(["(file-version 1)", *keys]))
        run_probe = f"exec(open('{self.folder}/probe.py').read())"
        batch = ["--batch-interpreter", "python-fu-eval", "-b", run_probe]
        if self.window:
            self.display = self._start_screen()
            self._start(["dbus-run-session", "gimp", "-n", "-s", *self.arguments, *batch])
        else:
            self._start(["gimp-console", "-i", "-d", "-f", "--quit", *self.arguments, *batch])
        wait_for(lambda: self.probe.exists() and self.eval("result = 1") == 1, "GIMP", lambda: self.words, START)
        return self

    def _start_screen(self) -> str:
        """An X server of its own and a window manager; its display."""
        read, write = os.pipe()
        server = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1440x900x24", "-ac", "-nolisten", "tcp"]
        with (self.folder / "x.out").open("wb") as output:
            self._processes.append(
                subprocess.Popen(
                    self.system.command(server, self._shared, bare=self.bare),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[write],
                )
            )
        os.close(write)
        with os.fdopen(read) as pipe:
            self.display = f":{pipe.readline().strip()}"
        self._start(["openbox"])
        return self.display

    @property
    def probe(self) -> Path:
        return self.folder / "probe"

    @property
    def _shared(self) -> tuple[Path, ...]:
        return (self.folder, *self.shared)

    @property
    def _environment(self) -> dict[str, str]:
        base = {
            name: os.environ[name] for name in ("PATH", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ
        }
        return (
            base
            | {"HOME": str(self.folder), "LC_ALL": "C.UTF-8", "PROBE": str(self.probe), "NO_AT_BRIDGE": "1"}
            | ({"DISPLAY": self.display} if self.display else {})
            | self.environment
        )

    def _start(self, argv: Sequence[str]) -> None:
        with (self.folder / "gimp.out").open("ab") as output:
            command = self.system.command(argv, self._shared, bare=self.bare, stays=True)
            self._processes.append(
                subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=self._environment, cwd="/")
            )

    def run(self, *argv: str, timeout: float = 60) -> str:
        """Runs a command beside GIMP, on its display, and returns what it printed."""
        done = subprocess.run(
            self.system.command(argv, self._shared, bare=self.bare),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd="/",
        )
        if done.returncode:
            raise GimpError(f"{' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout.strip()

    # Hands and eyes

    def press(self, *keys: str, window: str = "") -> None:
        """Presses keys, as `ctrl+z`; in a window, which gets the keyboard first."""
        focus = ["windowfocus", "--sync", window] if window else []
        self.run("xdotool", *focus, "key", "--delay", "40", *keys)

    def type(self, text: str) -> None:
        self.run("xdotool", "type", "--delay", "20", text)

    def click(self, left: int, top: int, window: str = "") -> None:
        """Clicks at a place of the screen, or of a window."""
        where = ["mousemove", *(["--window", window] if window else []), str(left), str(top)]
        self.run("xdotool", *where, "click", "1")

    def windows(self, title: str) -> list[str]:
        """The visible windows whose title matches a regular expression."""
        try:
            return self.run("xdotool", "search", "--onlyvisible", "--name", title).split()
        except GimpError:
            return []  # xdotool's way to say that there is none

    def window_of(self, title: str) -> str:
        """The window of that title, as soon as it is there."""
        found = wait_for(lambda: self.windows(title), f"a window {title}", lambda: self.words)
        return str(found[-1])

    def shot(self, name: str, window: str = "root") -> Path:
        """A picture of the screen or a window; a copy goes into the folder that `SHOTS` names, if it does."""
        path = self.folder / f"{self.system.name}-{name}.png"
        self.run("import", "-window", window, str(path))
        if SHOTS in os.environ:
            folder = Path(os.environ[SHOTS])
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder)
        return path

    def eval(self, code: str, timeout: float = 120) -> Any:
        """Runs Python inside GIMP, with Gimp and Gegl at hand; the value that it gives to `result`."""
        return self._ask(textwrap.dedent(code), timeout)

    def _ask(self, code: str, timeout: float) -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(self.probe))
            with connection.makefile("rw", encoding="utf-8") as file:
                file.write(json.dumps(code) + "\n")
                file.flush()
                if code == "quit":
                    return None
                line = file.readline()
        if not line:
            raise GimpError(f"GIMP went away.\n{self.words[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise GimpError(f"{answer['error']}\n{answer['trace']}")
        return answer["result"]

    def end(self) -> None:
        """Ends GIMP with all that it started."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM if self.system.root is None else signal.SIGKILL)
        for process in self._processes:
            process.wait(30)
        self._processes.clear()


def wait_for(
    condition: Callable[[], Any], what: str, story: Callable[[], str] = lambda: "", seconds: float = PATIENCE
) -> Any:
    """The first true value of `condition`; if none comes, an AssertionError that tells the story."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            value = condition()
        except OSError:
            value = None
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"no sign of {what} for {seconds:g} s\n{story()[-3000:]}")
        time.sleep(0.05)


if __name__ == "__main__":
    print([system.name for system in systems()], file=sys.stderr)

"""A user's home for tests of the installer: with GIMPs that are said to be there, and nothing of the machine's.

The daemon in it is this Python's, which saves a minute for each test; one test installs a real one.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import msgpack

import install
import machine

INSTALL = Path(install.__file__)
PACKAGES = Path(msgpack.__file__).parents[1]


@dataclass
class Home:
    """`folder` is short, because a socket lies below it; the home in it has a name as users have them."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path = self.folder / "Zoë K"
        self.programs = self.folder / "bin"
        runtime = self.folder / "run"
        for folder in (self.path, self.programs, runtime):
            folder.mkdir(mode=0o700)
        self.environment = {
            "HOME": str(self.path),
            "PATH": str(self.programs),
            "XDG_RUNTIME_DIR": str(runtime),
            "LC_ALL": "C.UTF-8",
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "0",
        } | self.environment
        # Where packages come from is the machine's affair.
        self.environment |= {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("PIP_", "UV_", "SSL_")) or name.lower().endswith("_proxy")
        }

    @property
    def data(self) -> Path:
        return self.path / ".local" / "share" / "deep-dream"

    @property
    def config(self) -> Path:
        """Where the folders of a GIMP that is no flatpak and no snap lie."""
        return self.path / ".config" / "GIMP"

    @property
    def command(self) -> list[str]:
        """What clients start the daemon by."""
        return (self.data / "daemon-command").read_text(encoding="utf-8").splitlines()

    def plugin(self, release: str = "3.0") -> Path:
        return self.config / release / "plug-ins" / "deep-dream"

    def install(self, *arguments: str, status: int = 0, timeout: float = 120, **extra: str) -> str:
        """Runs the installer as a user does; what it says, after it ended with this status."""
        done = self.run([sys.executable, str(INSTALL), *arguments], timeout=timeout, **extra)
        assert done.returncode == status, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def run(self, command: list[str], *, timeout: float = 120, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def program(self, name: str, script: str) -> None:
        """Puts a program on the path, in the language of the shell."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin\n{script}\n")
        path.chmod(0o755)

    def gimp(self, version: str, says: str = "deep-dream-is-there", name: str = "gimp-console") -> None:
        """Puts a GIMP on the path that makes its folder when it is started, and then says this."""
        folder = self.config / version.rpartition(".")[0] / "plug-ins"
        self.program(
            name,
            f"""case "$*" in
            --version) echo "GNU Image Manipulation Program version {version}" ;;
            *) mkdir -p {shlex.quote(str(folder))}; echo {shlex.quote(says)} ;;
            esac""",
        )

    def with_daemon(self, build: str = "", data: Path | None = None) -> Home:
        """As after a first run that has installed the daemon: it is this Python, and knows its answer already.

        `build` is the torch that it was installed with, by itself the one for this machine.
        """
        programs = (data or self.data) / "venv" / "bin"
        programs.mkdir(parents=True)
        with mock.patch.dict(os.environ, PATH=self.environment["PATH"]):
            wanted = machine.Build(build, "cpu", "", 0) if build else machine.choose()
        device = "processor" if wanted.backend == "cpu" else "card"
        about = json.dumps({"torch": "0", "device": device, "packages": str(PACKAGES)})
        for name, script in {
            "python": f"echo {shlex.quote(about)}",
            "deepdream": f'exec {shlex.quote(sys.executable)} -m dreamd "$@"',
        }.items():
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        (programs.parent / install.STAMP).write_text(json.dumps(install.fingerprints(wanted)))
        return self

    def tree(self) -> Mapping[str, str]:
        """Every file and folder in the home, with what is in it."""
        found = {}
        for folder, folders, files in os.walk(self.path):
            for name in [*folders, *files]:
                path = Path(folder) / name
                what = str(path.readlink()) if path.is_symlink() else path.is_dir() or path.read_bytes().hex()
                found[str(path.relative_to(self.path))] = str(what)
        return found

    def end(self) -> None:
        """Ends the daemon, if one was started."""
        if (self.data / "daemon-command").is_file():
            self.run([*self.command, "stop"])

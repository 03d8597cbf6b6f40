"""A real daemon for every test that wants one: its own process, socket, folders; ended by its own process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dreamwire.client import Client
from dreamwire.errors import UnreachableError


@dataclass
class Daemon:
    """A daemon process and where it lives. `folder` is short, because a socket's path must be."""

    folder: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = {name: str(self.folder / name.lower()) for name in ("DATA", "LOGS", "CONFIG", "CACHE", "RUNTIME")}
        self.environment |= {f"DEEPDREAM_{name}": place for name, place in places.items()}
        self.environment["DEEPDREAM_ENDPOINT"] = self.endpoint

    @property
    def socket(self) -> Path:
        return self.folder / "runtime" / "d.sock"

    @property
    def endpoint(self) -> str:
        return f"ipc://{self.socket}"

    @property
    def log(self) -> str:
        return (self.folder / "logs" / "daemon.log").read_text()

    def start(self) -> Daemon:
        command = [sys.executable, "-m", "dreamd", "serve", *self.options]
        self.process = subprocess.Popen(command, env=os.environ | self.environment)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.client().close()
            except UnreachableError:
                time.sleep(0.01)
            else:
                return self
        raise AssertionError("the daemon does not answer")

    def answers(self) -> bool:
        """Whether anybody serves here."""
        try:
            self.client().close()
        except UnreachableError:
            return False
        return True

    def client(self) -> Client:
        return Client(self.endpoint, start=False, name="test")

    def worker(self) -> psutil.Process:
        """The worker's process, as soon as there is one."""
        deadline = time.monotonic() + 20
        with self.client() as client:
            while time.monotonic() < deadline:
                if pid := client.status()["workers"][0]["pid"]:
                    return psutil.Process(pid)
                time.sleep(0.01)
        raise AssertionError("no worker runs")

    def kill(self) -> float:
        """Ends whatever serves here as `kill -9` does, and returns when it was: it has no last word."""
        victims = self._mine()
        assert victims, "no daemon serves here"
        killed = time.monotonic()
        for process in victims:
            process.kill()
        psutil.wait_procs(victims, timeout=10)
        if self.process is not None:
            self.process.wait(10)
        return killed

    def run(self, *arguments: str, timeout: float = 120, **extra: str) -> subprocess.CompletedProcess[str]:
        """Runs `deepdream` against this daemon."""
        return subprocess.run(
            [sys.executable, "-m", "dreamd", *arguments],
            env=os.environ | self.environment | extra,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=self.folder,
        )

    def end(self) -> None:
        """Ends whatever serves here, also a daemon that a client has started, with its workers."""
        for process in self._mine():
            process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(self._mine(), timeout=5)
        for process in left:
            process.kill()
        if self.process is not None:
            self.process.wait(5)

    def _mine(self) -> list[psutil.Process]:
        """Daemons and relays by their folder in their environment: no other process can have it."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("DEEPDREAM_RUNTIME") == self.environment["DEEPDREAM_RUNTIME"]:
                    mine += [process] * bool({"serve", "relay"}.intersection(process.cmdline()))
            except psutil.Error:
                continue
        return mine

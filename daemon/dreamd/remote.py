"""The front's side of the gate: the process that lets clients of other machines in."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any

from dreamwire.errors import DreamError

from . import keys
from .options import SECRET, Options

log = logging.getLogger(__name__)

#: Seconds in which a gate opens, those between two tries, and those in which it ends.
PATIENCE, PAUSE, GRACE = 20.0, 5.0, 2.0


class Remote:
    """Starts the gate at `options.listen`, starts it again if it ends, and knows what it tells.

    `token` is what it says to the front, as any client. Raises `DreamError` unauthorized without a key of our own,
    or any that may come, and `OSError` if nobody can listen there.
    """

    def __init__(self, options: Options, token: str) -> None:
        self._options, self._token = options, token
        self._process: subprocess.Popen[str] | None = None
        self._started, self._restarts = 0.0, 0
        self._told: dict[str, Any] = {}
        keys.own()
        if not keys.clients():
            raise DreamError(
                "unauthorized",
                "No key of another computer is known here, so nobody could come. There `deepdream keys new` makes"
                " one, and tells it; then type here `deepdream keys allow KEY --name NAME`.",
            )
        self._start()
        deadline = time.monotonic() + PATIENCE
        while not self._told and time.monotonic() < deadline and self._process and self._process.poll() is None:
            time.sleep(0.01)
        if "clients" not in self._told:
            self.stop()
            raise OSError(
                f"At {options.listen} nobody can listen: {self._told.get('error', 'it takes too long')}."
            )
        log.info("open to other computers at %s", options.listen)

    def _start(self) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "dreamd.gate", "--listen", self._options.listen,
                "--endpoint", self._options.endpoint, "--most", str(2 * self._options.limits.frame),
                "--log", str(self._options.log),
            ],
            # It ends when this line to us does, however we end.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {SECRET: self._token},
        )  # fmt: skip
        lines = self._process.stdout or ()
        threading.Thread(target=self._listen, args=(lines,), daemon=True, name="gate").start()

    def _listen(self, lines: Iterable[str]) -> None:
        """In a thread of its own: hears what the gate tells."""
        for line in lines:
            self._told = json.loads(line)

    def look(self) -> None:
        """Starts the gate again if it has ended."""
        if self._process is None or self._process.poll() is None or time.monotonic() - self._started < PAUSE:
            return
        log.error("the gate has ended with status %d", self._process.returncode)
        self._close()
        self._restarts += 1
        self._start()

    def described(self) -> dict[str, Any]:
        """For `status`: who is in, and who was not let in, by what they did, since the gate was started."""
        running = self._process is not None and self._process.poll() is None
        told = {name: self._told.get(name, kind()) for name, kind in (("clients", list), ("refusals", dict))}
        return {"endpoint": self._options.listen, "running": running, "restarts": self._restarts} | told

    def stop(self) -> None:
        """Ends the gate, by force if it does not go by itself."""
        process = self._process
        if process is not None:
            self._close()
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()

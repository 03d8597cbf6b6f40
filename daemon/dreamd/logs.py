"""The daemon's log: one rotating file for front and workers, readable by the user alone."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import time
from io import TextIOWrapper
from pathlib import Path

from dreamwire.private import secure_file

#: Lines a second, warnings and errors apart, that the log takes.
LINES = 20
FORMAT = "%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner may read, and that leads nowhere else."""

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, opener=secure_file)


class _Calm(logging.Filter):
    """Lets `LINES` a second through and counts the others: no flood washes away what the log says of before."""

    def __init__(self) -> None:
        super().__init__()
        self._second = self._lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.INFO:
            return True
        second, left_out = int(time.monotonic()), self._lines - LINES
        if second != self._second:
            self._second, self._lines = second, 0
            if left_out > 0:
                record.msg = f"({left_out} lines were left out) {record.msg}"
        self._lines += 1
        return self._lines <= LINES


def configure(path: Path, *, foreground: bool = False) -> None:
    """Logs to `path`, at most 1 MiB and three older ones, and in the `foreground` to standard error too.

    A log that cannot be written is said so once and costs nothing else.
    """
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    if foreground:
        root.addHandler(logging.StreamHandler(sys.stderr))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = _PrivateFile(path, maxBytes=1 << 20, backupCount=3, encoding="utf-8")
        file.addFilter(_Calm())
        root.addHandler(file)
    except OSError as error:
        root.addHandler(logging.StreamHandler(sys.stderr))
        root.warning("no log file: %s", error)
    for handler in root.handlers:
        handler.setFormatter(logging.Formatter(FORMAT))

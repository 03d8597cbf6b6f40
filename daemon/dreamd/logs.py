"""The daemon's log: one rotating file for front and workers, readable by the user alone."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from io import TextIOWrapper
from pathlib import Path

FORMAT = "%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"


class _PrivateFile(logging.handlers.RotatingFileHandler):
    """A rotating file that only its owner may read."""

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        Path(self.baseFilename).chmod(0o600)
        return stream


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
        root.addHandler(_PrivateFile(path, maxBytes=1 << 20, backupCount=3, encoding="utf-8"))
    except OSError as error:
        root.addHandler(logging.StreamHandler(sys.stderr))
        root.warning("no log file: %s", error)
    for handler in root.handlers:
        handler.setFormatter(logging.Formatter(FORMAT))

"""A process that ends when the one that has started it does."""

from __future__ import annotations

import os
import threading


def end_with_parent() -> None:
    """Ends this process when the front does, however that ends: its end of our standard input is then closed."""

    def watch() -> None:
        # Not by sys.stdin, whose lock would trouble an interpreter that ends by itself.
        while os.read(0, 1024):
            pass
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()

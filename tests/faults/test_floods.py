"""Whoever sends faster than the daemon answers, or more than it takes, neither starves others nor costs memory."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from floods import FLOODS, flooded
from real_daemon import Daemon
from somebody import dream

#: Bytes that the front may take more while it is flooded: what the limits below let wait, and what malloc keeps.
ROOM = 96 << 20
OPTIONS = ("--per-client", "4", "--queue", "12", "--megapixels", "2", "--results-memory", "16")


@pytest.fixture(scope="module")
def flooded_daemon() -> Iterator[Daemon]:
    """One daemon for all floods, as it would have to live through them."""
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    daemon = Daemon(folder, OPTIONS).start()
    yield daemon
    daemon.end()
    shutil.rmtree(folder, ignore_errors=True)


class Peak:
    """The most memory that a process takes within a `with`, in bytes; looked at a hundred times a second."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._over = process, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.bytes = 0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.bytes = max(self.bytes, self._process.memory_info().rss)


@pytest.mark.parametrize("name", FLOODS)
def test_others_are_served_and_memory_stays(
    flooded_daemon: Daemon, name: str, long: bool, figure: Callable[[str, str], None]
) -> None:
    assert flooded_daemon.process is not None
    front = psutil.Process(flooded_daemon.process.pid)
    with flooded_daemon.client() as client:
        dream(client)
        instance, before = client.welcome.instance, front.memory_info().rss
        with Peak(front) as peak, flooded(name, flooded_daemon.endpoint) as flood:
            for _ in range(20 if long else 2):
                client.ping()
                dream(client)
            assert flood.poll() is None, "the flood has ended by itself"
        dream(client)
        worker = client.status()["workers"][0]
    with flooded_daemon.client() as later:
        assert later.welcome.instance == instance
        dream(later)
    grown = peak.bytes - before
    figure(f"flood: {name.replace('_', ' ')}", f"the front's memory grows by {grown / 1e6:.1f} MB at most")
    assert grown < ROOM
    assert worker["starts"] == 1
    assert "serving at" in flooded_daemon.log, "what the log said before was washed away"
    assert "Traceback" not in flooded_daemon.log

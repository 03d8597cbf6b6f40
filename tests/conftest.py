"""Fixtures for all tests."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from real_daemon import Daemon
from weights_server import Server, needs_to_fetch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="long forms of the tests of faults")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in the same hook, and would come before
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share something costly go to the same process: those of one GIMP, and those of one file."""
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        system = params.get("system")
        item.add_marker(pytest.mark.xdist_group(system.name if system else str(item.path)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tests that belong together and are spread all the same fail now and then: better at once."""
    if getattr(session.config.option, "loadgroup", False):
        apart = [item.nodeid for item in session.items if "@" not in item.nodeid]
        if apart:
            raise pytest.UsageError(f"This pytest-xdist does not keep tests together: {apart[0]}.")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder with a path short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def place(short_path: Path) -> Iterator[Daemon]:
    """Where a daemon can live, not started yet."""
    daemon = Daemon(short_path)
    yield daemon
    daemon.end()


@pytest.fixture
def daemon(place: Daemon) -> Daemon:
    """A daemon of the test's own."""
    return place.start()


@pytest.fixture(scope="session")
def shared_daemon() -> Iterator[Daemon]:
    """A daemon for tests that leave it as they found it: its network is loaded once for all."""
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    daemon = Daemon(folder).start()
    yield daemon
    daemon.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(short_path: Path) -> Iterator[Server]:
    folder = short_path / "served"
    folder.mkdir()
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def remote(place: Daemon, server: Server) -> Daemon:
    """A daemon that has to fetch a network from the server."""
    return needs_to_fetch(place, server)

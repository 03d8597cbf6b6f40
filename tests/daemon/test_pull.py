"""Fetching a network through a real daemon: real weights, served by a server of the test's own."""

from __future__ import annotations

import http.server
import importlib.util
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dreamwire.client import Client, Done, Image
from dreamwire.errors import DreamError
from dreamwire.networks import NETWORKS
from real_daemon import Daemon

ROW = NETWORKS["efficientnet_lite1"]


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on loopback and counts what is asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


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
    """A daemon that finds an empty package where Lite1's weights would be, and the server as its mirror."""
    package = place.folder / "shadow" / ROW.weights.package
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    place.environment |= {
        "PYTHONPATH": str(package.parent),
        "DEEPDREAM_WEIGHTS_URL": f"http://127.0.0.1:{server.server_port}/",
    }
    place.options = ("--preload", "")
    return place.start()


def serve(daemon: Daemon, content: bytes) -> None:
    (daemon.folder / "served" / ROW.weights.file).write_bytes(content)


def published() -> bytes:
    spec = importlib.util.find_spec(ROW.weights.package)
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "models" / ROW.weights.file).read_bytes()


def is_here(client: Client) -> bool:
    return any(row["here"] for row in client.networks() if row["name"] == ROW.name)


def dream(client: Client) -> Done:
    image = Image(np.full((40, 40, 3), 100, np.uint8).tobytes(), (40, 40, 3), "uint8")
    params = {"network": ROW.name, "octaves": 1, "steps": 1}
    *_, done = client.submit("dream", params, image=image)
    assert isinstance(done, Done)
    return done


def test_a_network_is_fetched_with_progress_and_then_dreams(remote: Daemon, server: Server) -> None:
    serve(remote, published())
    with remote.client() as client:
        with pytest.raises(DreamError, match="not here"):
            dream(client)
        assert not is_here(client)
        events = list(client.pull(ROW.name))
        assert [event.bytes for event in events] == sorted(event.bytes for event in events)
        assert events[-1].bytes == events[-1].total == len(published())
        assert is_here(client)
        assert dream(client).info["network"] == ROW.name
        list(client.pull(ROW.name))  # asked again, nothing is fetched
    assert len(server.asked) == 1


def test_what_is_not_the_published_file_is_refused_and_thrown_away(remote: Daemon) -> None:
    serve(remote, b"rubbish" * 1000)
    with remote.client() as client:
        with pytest.raises(DreamError) as caught:
            list(client.pull(ROW.name))
        assert caught.value.code == "checksum"
        assert not is_here(client)
        client.ping()
    assert not list((remote.folder / "data").rglob("*.pth*"))


def test_a_server_that_has_it_not_is_an_error_that_says_what_to_do(remote: Daemon) -> None:
    with remote.client() as client, pytest.raises(DreamError, match="--weights") as caught:
        list(client.pull(ROW.name))
    assert caught.value.code == "download"


def test_two_who_ask_at_once_share_one_download(remote: Daemon, server: Server) -> None:
    serve(remote, published())
    with remote.client() as one, remote.client() as other:
        first, second = one.pull(ROW.name), other.pull(ROW.name)
        assert next(first).network == next(second).network == ROW.name
        list(first)
        list(second)
    assert len(server.asked) == 1

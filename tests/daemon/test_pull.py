"""Fetching a network through a real daemon: real weights, served by a server of the test's own."""

from __future__ import annotations

import numpy as np
import pytest

from dreamwire.client import Client, Done, Image
from dreamwire.errors import DreamError
from real_daemon import Daemon
from weights_server import ROW, Server, published, serve


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

"""Weights that come damaged, in part or not at all: a clear error, no bad file left, and the next try works."""

from __future__ import annotations

import http.server
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamwire.errors import DreamError
from full_disk import enlarge, fill
from jobs_sent import dreamt, eventually
from real_daemon import Daemon
from weights_server import ROW, Server, needs_to_fetch, published, serve

Request = http.server.BaseHTTPRequestHandler
#: What a server does instead of sending the file.
Behaviour = Callable[[Request, bytes], None]


def head(request: Request, status: int, length: int, **headers: str) -> None:
    request.send_response(status)
    for name, value in {"Content-Length": str(length), "ETag": '"one"', **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()


def truncated(request: Request, file: bytes) -> None:
    """A shorter file, sent as if it were all."""
    head(request, 200, len(file) // 2)
    request.wfile.write(file[: len(file) // 2])


def wrong(request: Request, file: bytes) -> None:
    """As long, with one bit turned."""
    head(request, 200, len(file))
    request.wfile.write(file[:-1] + bytes([file[-1] ^ 1]))


def rubbish(request: Request, file: bytes) -> None:
    """No HTTP at all."""
    request.wfile.write(os.urandom(1000))


def a_login_page(request: Request, file: bytes) -> None:
    page = b"<html>Please log in to the network of this hotel."
    head(request, 200, len(page), Content_Type="text/html")
    request.wfile.write(page)


def elsewhere(request: Request, file: bytes) -> None:
    """To another scheme, which nobody asked for."""
    head(request, 302, 0, Location="ftp://127.0.0.1/weights")


def an_error(request: Request, file: bytes) -> None:
    head(request, 503, 0)


def endless(request: Request, file: bytes) -> None:
    """Far more than the file."""
    head(request, 200, 100 * len(file))
    request.wfile.write(file)


@pytest.mark.parametrize(
    ("behaviour", "code", "says"),
    [
        (truncated, "checksum", "It was deleted"),
        (wrong, "checksum", "It was deleted"),
        (a_login_page, "checksum", "login page"),
        (rubbish, "download", "does not answer as a web server"),
        (elsewhere, "download", "leads from http to ftp"),
        (an_error, "download", "answered 503"),
        (endless, "download", "twice the size of the file"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_a_server_sends_instead_is_told_and_thrown_away_and_the_next_try_works(
    remote: Daemon, server: Server, behaviour: Behaviour, code: str, says: str
) -> None:
    file = published()
    serve(remote, file)
    server.script.append(lambda request: behaviour(request, file))
    with remote.client() as client:
        with pytest.raises(DreamError, match=says) as caught:
            list(client.pull(ROW.name))
        assert caught.value.code == code
        assert not left(remote)
        list(client.pull(ROW.name))
        assert left(remote) == [ROW.weights.file]
        assert dreamt(client, network=ROW.name).info["network"] == ROW.name


def left(daemon: Daemon) -> list[str]:
    """The files of weights, whole or not."""
    return sorted(file.name for file in (daemon.folder / "data").rglob("*") if file.is_file())


def ranged(request: Request, file: bytes) -> None:
    """The rest that was asked for."""
    start = int(re.fullmatch(r"bytes=(\d+)-", request.headers["Range"])[1])  # type: ignore[index]
    head(request, 206, len(file) - start, Content_Range=f"bytes {start}-{len(file) - 1}/{len(file)}")
    request.wfile.write(file[start:])


def kept(daemon: Daemon) -> int:
    """Bytes of a file that has come in part."""
    return sum(part.stat().st_size for part in (daemon.folder / "data").rglob("*.part"))


def test_a_download_that_was_cut_off_with_its_daemon_goes_on_where_it_was(remote: Daemon, server: Server) -> None:
    file = published()
    serve(remote, file)
    held = threading.Event()
    asked: list[str | None] = []

    def half(request: Request) -> None:
        head(request, 200, len(file))
        request.wfile.write(file[: len(file) // 2])
        request.wfile.flush()
        held.wait(60)

    def rest(request: Request) -> None:
        asked.append(request.headers["Range"])
        ranged(request, file)

    server.script += [half, rest]
    with remote.client() as client:
        coming = client.pull(ROW.name)
        next(coming)
        eventually(lambda: kept(remote) == len(file) // 2, "half of it")
        remote.kill()
        with pytest.raises(ConnectionError):
            list(coming)
    held.set()
    part = next((remote.folder / "data").rglob("*.part"))
    come = part.stat().st_size
    with remote.start().client() as client:
        list(client.pull(ROW.name))
        assert asked == [f"bytes={come}-"]
        assert left(remote) == [ROW.weights.file]
        dreamt(client, network=ROW.name)


def test_a_connection_that_breaks_in_the_middle_is_taken_up_by_itself(remote: Daemon, server: Server) -> None:
    file = published()
    serve(remote, file)

    def half(request: Request) -> None:
        head(request, 200, len(file))
        request.wfile.write(file[: len(file) // 2])

    server.script += [half, lambda request: ranged(request, file)]
    with remote.client() as client:
        list(client.pull(ROW.name))
        dreamt(client, network=ROW.name)
    assert len(server.asked) == 2


def test_a_server_that_stalls_is_given_up_and_cancelled_by_who_leaves(
    remote: Daemon, server: Server, long: bool
) -> None:
    """After half a minute, in the long form; in the short one whoever waits goes away before."""
    file = published()
    serve(remote, file)
    held = threading.Event()

    def stalls(request: Request) -> None:
        head(request, 200, len(file))
        request.wfile.write(file[:1000])
        request.wfile.flush()
        held.wait(90)

    server.script.append(stalls)
    try:
        with remote.client() as client:
            coming = client.pull(ROW.name)
            next(coming)
            if long:
                with pytest.raises(DreamError, match="has sent nothing for 30 seconds; what has come is kept"):
                    list(coming)
        with remote.client() as client:
            dreamt(client)  # nobody else has to wait for it
    finally:
        held.set()
    with remote.client() as client:
        list(client.pull(ROW.name))
        assert left(remote) == [ROW.weights.file]


def test_weights_truncated_where_they_lie_are_not_opened_and_a_pull_mends_them(
    remote: Daemon, server: Server
) -> None:
    serve(remote, published())
    with remote.client() as client:
        list(client.pull(ROW.name))
        (file,) = (remote.folder / "data").rglob(ROW.weights.file)
        with file.open("r+b") as opened:
            opened.truncate(100_000)
        with pytest.raises(DreamError, match=r"is not the published .* It was not opened") as caught:
            dreamt(client, network=ROW.name)
        assert caught.value.code == "checksum"
        list(client.pull(ROW.name))
        dreamt(client, network=ROW.name)


def test_a_disk_that_is_full_is_told_and_when_there_is_room_the_weights_come(
    place: Daemon, server: Server, small_disk: Path
) -> None:
    place.environment["DEEPDREAM_DATA"] = str(small_disk / "data")
    serve(needs_to_fetch(place, server), published())
    full = fill(small_disk)
    with place.client() as client:
        with pytest.raises(DreamError, match=r"MB are needed, but the disk of .* has 0\.0 MB free\. Free some"):
            list(client.pull(ROW.name))
        assert not list(small_disk.rglob(f"{ROW.weights.file}*"))
        full.unlink()
        enlarge(small_disk)
        list(client.pull(ROW.name))
        dreamt(client, network=ROW.name)


def test_a_disk_that_fills_up_meanwhile_is_told_and_when_there_is_room_the_weights_come(
    place: Daemon, server: Server, small_disk: Path
) -> None:
    """The disk has room when the server says nothing of the size, and then has not."""
    place.environment["DEEPDREAM_DATA"] = str(small_disk / "data")
    file = published()
    serve(needs_to_fetch(place, server), file)

    def without_length(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(file)

    server.script.append(without_length)
    with place.client() as client, pytest.raises(DreamError, match=r"MB free|No space left") as caught:
        list(client.pull(ROW.name))
    assert caught.value.code == "download"
    assert not list(small_disk.rglob(ROW.weights.file))
    enlarge(small_disk)
    with place.client() as client:
        list(client.pull(ROW.name))
        dreamt(client, network=ROW.name)

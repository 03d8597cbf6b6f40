"""Every limit holds before anything is done, its refusal names it, and doing what that says helps."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgpack
import pytest

from dreamd.limits import ROWS, Limits, flag_of
from dreamwire import transport
from dreamwire.client import Client, Image, Job
from dreamwire.errors import DreamError
from dreamwire.messages import (
    MAGIC,
    MAX_DEPTH,
    MAX_FRAMES,
    MAX_HEADER,
    Array,
    ErrorIs,
    Hello,
    Message,
    Ping,
    Progress,
    Pull,
    Pulling,
    Submit,
    decode,
    encode,
)
from dreamwire.networks import is_of_timm
from dreamwire.params import JOBS, validate, work
from dreamwire.texts import LONGEST, parse_channels, parse_classes, parse_layers
from real_daemon import Daemon

BRIEF = {"layers": "blocks.2", "octaves": 1, "steps": 1}
ENDLESS = {"layers": "blocks.2", "octaves": 1, "steps": 1000}


def options(limits: Mapping[str, int]) -> tuple[str, ...]:
    return ("--preload", "", *(part for name, most in limits.items() for part in (flag_of(name), str(most))))


def gray(height: int, width: int = 1000) -> Image:
    return Image(bytes(height * width), (height, width, 1), "uint8")


def eventually(true: Callable[[], object]) -> None:
    """Waits for what must come true soon."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it did not come true in a minute"
        time.sleep(0.02)


def busy(client: Client) -> Job:
    """A job that keeps the only worker busy until its client goes."""
    job = client.submit("dream", ENDLESS, image=gray(20, 20))
    for event in job:
        if isinstance(event, Progress) and event.state == "dreaming":
            return job
    raise AssertionError


# Limits that are refused beyond


def a_large_picture(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.submit("dream", BRIEF, image=gray(1001))


def a_large_guide(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.submit("dream", BRIEF, image=gray(20, 20), guide=gray(1001))


def a_large_result(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.submit("enlarge", BRIEF | {"scale": 2.5}, image=gray(400))


def much_work(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.submit("dream", {"steps": 30, "octaves": 5}, image=gray(500))


def much_work_on_a_result(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.submit("enlarge", {"scale": 8, "steps": 10, "octaves": 2}, image=gray(64))


def jobs_that_wait(daemon: Daemon) -> None:
    with daemon.client() as client:
        busy(client)
        for _ in range(3):
            client.submit("dream", BRIEF, image=gray(20, 20))


def jobs_that_wait_by_several_connections(daemon: Daemon) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(daemon.client()) for _ in range(4)]
        busy(clients[0])
        for client in clients[1:]:
            client.submit("dream", BRIEF, image=gray(20, 20))


def large_pictures_that_wait(daemon: Daemon) -> None:
    with daemon.client() as client:
        busy(client)
        for _ in range(3):
            client.submit("dream", BRIEF, image=gray(900))


def downloads(daemon: Daemon) -> None:
    with ExitStack() as stack:
        for name in ("googlenet", "vgg16", "resnet50"):
            assert next(stack.enter_context(daemon.client()).pull(name)).network == name


@dataclass(frozen=True)
class Case:
    """What goes beyond a limit that is that low."""

    limit: str
    most: int
    do: Callable[[Daemon], None]

    @property
    def id(self) -> str:
        return self.do.__name__


REFUSED = (
    Case("megapixels", 1, a_large_picture),
    Case("megapixels", 1, a_large_guide),
    Case("megapixels", 2, a_large_result),
    Case("work", 60, much_work),
    Case("work", 80, much_work_on_a_result),
    Case("queue", 2, jobs_that_wait),
    Case("per_client", 2, jobs_that_wait),
    Case("per_client", 2, jobs_that_wait_by_several_connections),
    Case("queue_memory", 2, large_pictures_that_wait),
    Case("downloads", 2, downloads),
)


class Silent(BaseHTTPRequestHandler):
    """A server of weights that begins to answer and then says nothing more."""

    over = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "50000000")
        self.end_headers()
        self.wfile.write(bytes(1000))
        self.over.wait(120)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def silent_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Silent.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def limited(place: Daemon, silent_server: str) -> Callable[..., Daemon]:
    """Starts a daemon with these limits, after ending one with others."""
    place.environment["DEEPDREAM_WEIGHTS_URL"] = silent_server

    def start(**limits: int) -> Daemon:
        place.end()
        place.options = options(limits)
        return place.start()

    return start


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.limit}: {case.id.replace('_', ' ')}")
def test_what_is_beyond_a_limit_is_refused_and_raising_it_as_the_refusal_says_helps(
    limited: Callable[..., Daemon], case: Case
) -> None:
    with pytest.raises(DreamError) as caught:
        case.do(limited(**{case.limit: case.most}))
    error, row = caught.value, ROWS[case.limit]
    assert error.code == row.metadata["beyond"]
    assert error.retryable == (error.code == "queue_full")
    assert f"the limit is {case.most} {row.metadata['what']}." in error.message
    assert error.details == {"limit": case.limit, "most": case.most, "flag": flag_of(case.limit)}
    raised = re.search(r"`deepdream stop`, then `deepdream serve (\S+) (\d+)`", error.message)
    assert raised
    assert raised[1] == flag_of(case.limit)
    assert int(raised[2]) > case.most
    case.do(limited(**{case.limit: int(raised[2])}))


def test_the_greatest_ordinary_jobs_are_within_the_limits() -> None:
    """All steps of the defaults on the largest picture, and a thousand on one of a common size."""
    limits = Limits()
    for kind in JOBS:
        params = validate(kind, {"classes": "tabby"} if kind in ("adversarial", "fool") else {})
        assert work(params, limits.pixels) <= limits.work * 1_000_000, kind
    assert work(validate("dream", {"steps": 1000, "octaves": 4}), 12_000_000) <= limits.work * 1_000_000


# Limits beyond which something is forgotten


def kept(client: Client) -> list[str]:
    return [job["job"] for job in client.status()["jobs"]]


def ended(client: Client, picture: Image) -> str:
    """A job that has ended and is not acknowledged."""
    job = client.submit("dream", BRIEF, image=picture, keep=True)
    eventually(lambda: any(each["job"] == job.id and each["state"] == "done" for each in client.status()["jobs"]))
    return job.id


@pytest.mark.parametrize(
    ("limits", "left"), [({"results": 2}, 2), ({"results_memory": 1}, 1), ({"results_seconds": 1}, 0)], ids=str
)
def test_results_that_nobody_acknowledges_are_forgotten_the_oldest_first(
    limited: Callable[..., Daemon], limits: Mapping[str, int], left: int
) -> None:
    with limited(**limits).client() as client:
        jobs = [ended(client, gray(600)) for _ in range(3)]
        eventually(lambda: kept(client) == jobs[3 - left :])


def test_of_too_many_connections_the_one_unheard_of_for_longest_is_forgotten_unless_it_waits_for_a_job(
    limited: Callable[..., Daemon],
) -> None:
    daemon = limited(connections=2)
    with daemon.client() as dreaming, daemon.client() as idle:
        job = busy(dreaming)
        idle.ping()
        with daemon.client() as newest:
            newest.ping()
            with pytest.raises(DreamError, match="Say hello first"):
                idle.ping()
            job.cancel()


def test_every_limit_is_tried_out_here() -> None:
    assert {case.limit for case in REFUSED} | {"results", "results_memory", "results_seconds", "connections"} == {
        *ROWS
    }


def test_clients_are_told_every_limit(limited: Callable[..., Daemon]) -> None:
    with limited(megapixels=3, per_client=7).client() as client:
        told = client.welcome.limits
    assert set(ROWS) < set(told)
    assert (told["megapixels"], told["pixels"], told["frame"]) == (3, 3_000_000, 48_000_000)
    assert (told["per_client"], told["header"]) == (7, MAX_HEADER)


def test_a_frame_that_the_daemon_would_not_take_is_not_sent(limited: Callable[..., Daemon]) -> None:
    with limited(megapixels=1).client() as client, pytest.raises(DreamError, match="--megapixels") as caught:
        client.submit("dream", BRIEF, image=Image(bytes(16_000_016), (1000001, 4, 1), "float32"))
    assert caught.value.code == "limit"


def test_a_frame_that_is_too_large_ends_its_own_connection_alone(limited: Callable[..., Daemon]) -> None:
    daemon = limited(megapixels=1)
    with daemon.client() as other, transport.connect(daemon.endpoint) as line:
        with pytest.raises(ConnectionError):  # noqa: PT012 - while it is sent or after
            line.send([MAGIC, b"\x81\xa4type\xa4ping", bytes(16_000_001)])
            line.recv(60)
        other.ping()


# The protocol's own limits


DESCRIBED = {"name": "image", "frame": 0, "dtype": "uint8", "shape": [1, 1, 1]}


def submit(**changes: Any) -> list[bytes]:
    header = {"type": "submit", "job": str(uuid.uuid4()), "kind": "dream", "params": {}, "inputs": [DESCRIBED]}
    return [MAGIC, msgpack.packb(header | changes), b"\0"]


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else None


PROTOCOL = {
    "the header": (submit(params={"layers": "x" * MAX_HEADER}), "limit", str(MAX_HEADER)),
    "frames": ([*submit(), *[b"\0"] * MAX_FRAMES], "bad_message", f"at most {MAX_FRAMES} frames"),
    "depth": (submit(params={"x": nested(MAX_DEPTH)}), "bad_message", f"at most {MAX_DEPTH} deep"),
    "pictures": (submit(inputs=[DESCRIBED] * 9), "bad_message", "0 to 8 items"),
    "a side": (submit(inputs=[DESCRIBED | {"shape": [1, 2**24 + 1, 1]}]), "bad_message", str(2**24)),
    "a kind's name": (submit(kind="x" * 65), "bad_message", "at most 64 characters"),
    "a picture's name": (submit(inputs=[DESCRIBED | {"name": "x" * 65}]), "bad_message", "at most 64 characters"),
    "a parameter's text": (submit(params={"layers": "x" * 4001}), "bad_params", "at most 4000 characters"),
    "a network's name": (
        [MAGIC, msgpack.packb({"type": "unload", "network": "x" * 101})],
        "bad_message",
        "at most 100 characters",
    ),
    "a client's name": (
        [MAGIC, msgpack.packb({"type": "hello", "versions": [1], "client": "x" * 201})],
        "bad_message",
        "at most 200 characters",
    ),
}


@pytest.mark.parametrize(("frames", "code", "says"), PROTOCOL.values(), ids=PROTOCOL)
def test_the_protocols_own_limits_are_named_in_their_refusals(
    shared_daemon: Daemon, frames: list[bytes], code: str, says: str
) -> None:
    with transport.connect(shared_daemon.endpoint) as line:
        for message in (encode(Hello(versions=(1,), client="raw")), frames):
            line.send(message)
            answer = line.recv(60)
            assert answer is not None
    error = getattr(decode(answer), "error", None)
    assert error is not None
    assert error.code == code
    assert says in error.message


# What strangers write


#: Texts that are nearly right: a pattern that can be matched in many ways would be tried in all of them.
NEARLY = {
    "spaces": "a" + " " * (LONGEST - 2) + "!",
    "words": "a " * (LONGEST // 2 - 1) + "!",
    "digits": "a*" + "1" * (LONGEST - 3) + "!",
    "fractions": "a*" + "1" * 1999 + "." + "1" * 1990 + "!",
    "exponents": "a*1e" + "1" * (LONGEST - 5) + "!",
    "signs": "a*" + "+" * (LONGEST - 2),
    "stars": "a" + "*" * (LONGEST - 1),
    "sums": "+".join(f"a{number}*0.5" for number in range(400)) + "!",
    "ranges": ",".join(f"{number}-{number + 50000}" for number in range(360)) + "!",
    "ranks": "strongest" + " " * 3000 + "5" + " " * 900 + "!",
}


@pytest.mark.timeout(60)  # a pattern that backtracks takes minutes or years
@pytest.mark.parametrize("parse", [parse_layers, parse_classes, parse_channels])
@pytest.mark.parametrize("text", NEARLY.values(), ids=NEARLY)
def test_a_text_that_is_nearly_right_is_refused_at_once(parse: Callable[[str], object], text: str) -> None:
    assert len(text) <= LONGEST
    with pytest.raises(DreamError):
        parse(text)


def test_a_network_whose_name_is_too_long_for_a_file_is_unknown(shared_daemon: Daemon) -> None:
    name = "timm:" + "x" * 3000
    assert not is_of_timm(name)
    with shared_daemon.client() as client, pytest.raises(DreamError, match="no network called") as caught:
        client.submit("dream", {"network": name}, image=gray(20, 20))
    assert caught.value.code == "unknown_network"


def test_the_name_of_a_client_cannot_write_lines_of_its_own_into_the_log(daemon: Daemon) -> None:
    with transport.connect(daemon.endpoint) as line:
        line.send(encode(Hello(versions=(1,), client="gimp\n2026-01-01 a line of its own\x1b[2J")))
        assert line.recv(60) is not None
        picture = Array("image", 0, "uint8", (1, 1, 1))
        job = Submit(job=str(uuid.uuid4()), kind="dream", params=BRIEF, inputs=(picture,), frames=(b"\0",))
        line.send(encode(job))
        assert line.recv(60) is not None
    with daemon.client() as client:
        client.ping()
    assert "gimp?2026-01-01 a line of its own?[2J" in daemon.log
    assert "\x1b" not in daemon.log


def test_who_asks_again_for_a_download_is_answered_by_his_latest_request(limited: Callable[..., Daemon]) -> None:
    daemon = limited()

    def answer(message: Message) -> Message:
        line.send(encode(message))
        frames = line.recv(60)
        assert frames is not None
        return decode(frames)

    with transport.connect(daemon.endpoint) as line:
        answer(Hello(versions=(1,), client="raw"))
        first = answer(Pull(request=1, network="googlenet"))
        assert isinstance(first, Pulling)
        for request in range(2, 500):
            line.send(encode(Pull(request=request, network="googlenet")))
        ponged = answer(Ping(request=1000))
        while ponged.request != 1000:
            assert not isinstance(ponged, ErrorIs)
            ponged = decode(line.recv(60) or [])


def test_flags_ranges_and_help_are_those_of_the_table(place: Daemon) -> None:
    help_text = " ".join(place.run("serve", "--help").stdout.split())
    for name, row in ROWS.items():
        assert f"{flag_of(name)} N most {row.metadata['what']} (default {row.default})" in help_text
    for flag in (*map(flag_of, ROWS),):
        assert "less than 1" in place.run("serve", flag, "0").stderr

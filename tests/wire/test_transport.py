"""What a client may rely on, whichever transport it got: the same promises, kept by both, on ipc and on tcp."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import zmq

import dreamwire
from dreamwire import transport as transport_module
from dreamwire.client import Client
from dreamwire.errors import UnreachableError
from dreamwire.transport import Choice, PyzmqTransport, Transport, connect, parse_endpoint
from dreamwire.zmtp import Buffer, Frames, ZmtpDealer

MIB = 1 << 20
SOON = 2.0  # seconds within which a loss must be noticed

# What a ROUTER says until a connection stands, written out from the specification.
GREETING = bytes.fromhex("ff00000000000000007f0300") + b"NULL" + bytes(16) + bytes(32)
READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00"


@pytest.fixture(params=["pyzmq", "builtin"])
def prefer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Choice:
    monkeypatch.delenv("DEEPDREAM_TRANSPORT", raising=False)
    choice: Choice = request.param
    return choice


@pytest.fixture(params=["ipc", "tcp"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    """An endpoint at which nobody listens yet."""
    if request.param == "tcp":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        yield f"tcp://127.0.0.1:{port}"
    else:  # a short path, because tmp_path may exceed what a socket's path can hold
        with tempfile.TemporaryDirectory(prefix="dd-") as folder:
            yield f"ipc://{folder}/socket"


class Router:
    """A real ROUTER; libzmq's own thread serves its connections, so the test's thread may play both sides."""

    def __init__(self, endpoint: str, **options: int) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        for name, value in ({"linger": 0, "rcvtimeo": 10_000, "sndtimeo": 10_000} | options).items():
            setattr(self._socket, name, value)
        self._socket.bind(endpoint)
        self._peer = b""

    def recv(self) -> list[bytes]:
        self._peer, *frames = self._socket.recv_multipart()
        return frames

    def send(self, frames: Sequence[Buffer]) -> None:
        """To whoever was heard last."""
        self._socket.send_multipart([self._peer, *frames])

    def close(self, linger: int = 0) -> None:
        self._context.destroy(linger=linger)


@pytest.fixture
def router(endpoint: str) -> Iterator[Router]:
    peer = Router(endpoint)
    yield peer
    peer.close()


@pytest.fixture
def link(router: Router, endpoint: str, prefer: Choice) -> Iterator[Transport]:
    """A transport that the router has heard once, so that it can answer."""
    with connect(endpoint, prefer=prefer) as transport:
        transport.send([b"hello"])
        assert router.recv() == [b"hello"]
        yield transport


class RawPeer:
    """A socket that accepts one connection, says `opening`, and then what the test says, byte for byte."""

    def __init__(self, endpoint: str, opening: bytes) -> None:
        address = parse_endpoint(endpoint)
        self._listener = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self._listener.bind(address)
        self._listener.listen()
        self._opening = opening
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        self._listener.settimeout(10)
        self._stream, _ = self._listener.accept()
        with contextlib.suppress(OSError):  # the client may have seen enough
            self._stream.sendall(self._opening)

    @property
    def stream(self) -> socket.socket:
        self._thread.join(10)
        return self._stream

    def close(self) -> None:
        self.stream.close()
        self._listener.close()


@pytest.fixture
def raw_peer(endpoint: str) -> Iterator[Callable[[bytes], RawPeer]]:
    peers: list[RawPeer] = []

    def start(opening: bytes) -> RawPeer:
        peers.append(RawPeer(endpoint, opening))
        return peers[0]

    yield start
    for peer in peers:
        peer.close()


def assert_lost(transport: Transport, operation: Callable[[], object]) -> None:
    """That a ConnectionError comes soon, and at once from then on."""
    start = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < start + SOON:
            operation()
            time.sleep(0.01)
    assert time.monotonic() - start < SOON
    with pytest.raises(ConnectionError):
        transport.send([b"more"])
    with pytest.raises(ConnectionError):
        transport.recv(10)


def test_kind(link: Transport, prefer: Choice) -> None:
    assert isinstance(link, {"pyzmq": PyzmqTransport, "builtin": ZmtpDealer}[prefer])


SIZES = [0, 1, 255, 256, 65536, 65537]


@pytest.mark.parametrize(
    "sizes", [*([size] for size in SIZES), SIZES, [0, 0, 0], [1] * 64, [64 * MIB, 3]], ids=str
)
def test_echo(link: Transport, router: Router, sizes: list[int]) -> None:
    sent = [os.urandom(min(size, MIB)) * max(1, size // MIB) for size in sizes]
    link.send(sent)
    assert router.recv() == sent
    router.send(sent)
    received = link.recv(10)
    assert received == sent
    assert [isinstance(frame, memoryview) for frame in received] == [size > 65536 for size in sizes]
    assert all(frame.readonly for frame in received if isinstance(frame, memoryview))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_sends_any_buffer(link: Transport, router: Router, kind: Callable[[bytes], Buffer]) -> None:
    link.send([kind(b"ab"), kind(b""), kind(bytes(100_000))])
    assert router.recv() == [b"ab", b"", bytes(100_000)]


def test_sends_the_bytes_of_wider_items(link: Transport, router: Router) -> None:
    floats = memoryview(bytes(range(16))).cast("f", (2, 2))  # four pixels, say
    link.send([floats])  # type: ignore[list-item]
    assert router.recv() == [bytes(range(16))]


def test_order_both_ways(link: Transport, router: Router) -> None:
    messages = [[b"%d" % number, b"x" * number] for number in range(500)]  # ZeroMQ's high-water mark is 1000
    for message in messages:
        link.send(message)
    assert [router.recv() for _ in messages] == messages
    for message in messages:
        router.send(message)
    assert [link.recv(10) for _ in messages] == messages


@pytest.mark.parametrize("timeout", [0, 0.05, 0.2])
def test_timeout(link: Transport, timeout: float) -> None:
    start = time.monotonic()
    assert link.recv(timeout) is None
    assert timeout - 0.01 <= time.monotonic() - start < timeout + 0.5


def test_waits_for_ever_when_told(link: Transport, router: Router) -> None:
    answer = threading.Timer(0.2, router.send, [[b"at last"]])
    answer.start()
    assert link.recv(None) == [b"at last"]
    answer.join()


@pytest.mark.parametrize("count", [0, 65])
def test_number_of_frames_sent(link: Transport, router: Router, count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 64 frames, not {count}"):
        link.send([b""] * count)
    link.send([b"still well"])
    assert router.recv() == [b"still well"]


def test_65_frames_are_refused(link: Transport, router: Router) -> None:
    router.send([b""] * 65)
    with pytest.raises(ConnectionError, match="more than 64 frames"):
        link.recv(10)
    assert_lost(link, lambda: link.recv(0))


def test_largest_frame(router: Router, endpoint: str, prefer: Choice) -> None:
    with connect(endpoint, prefer=prefer, max_frame=100_000) as transport:
        transport.send([bytes(200_000)])  # the limit is for what comes in
        router.recv()
        router.send([bytes(100_000)])
        assert transport.recv(10) == [bytes(100_000)]
        router.send([bytes(100_001)])
        assert_lost(transport, lambda: transport.recv(1))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("size", [(1 << 30) + 1, 1 << 62, (1 << 64) - 1])
def test_oversized_frame_takes_no_memory(
    raw_peer: Callable[[bytes], RawPeer], endpoint: str, prefer: Choice, size: int
) -> None:
    peer = raw_peer(GREETING + READY)
    with connect(endpoint, prefer=prefer) as transport:
        before = resident_bytes()
        peer.stream.sendall(b"\x02" + size.to_bytes(8, "big") + bytes(1000))
        assert_lost(transport, lambda: transport.recv(1))
        assert resident_bytes() - before < 16 * MIB


def test_nobody_listens(endpoint: str, prefer: Choice) -> None:
    start = time.monotonic()
    with pytest.raises(ConnectionRefusedError, match="Nobody listens at"):
        connect(endpoint, prefer=prefer)
    assert time.monotonic() - start < SOON


def test_socket_file_of_the_dead(tmp_path: Path, prefer: Choice) -> None:
    with tempfile.TemporaryDirectory(prefix="dd-") as folder:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(f"{folder}/socket")
        with pytest.raises(ConnectionRefusedError, match="Nobody listens at"):
            connect(f"ipc://{folder}/socket", prefer=prefer)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses")
def test_peer_too_busy_to_accept(prefer: Choice) -> None:
    with tempfile.TemporaryDirectory(prefix="dd-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(f"{folder}/socket")
            with pytest.raises(ConnectionError, match="cannot be reached") as caught:
                connect(f"ipc://{folder}/socket", prefer=prefer, timeout=0.5)
    assert not isinstance(caught.value, ConnectionRefusedError)  # no reason to start another daemon


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a socket's mode may mean nothing")
def test_socket_of_another_user(prefer: Choice) -> None:
    with tempfile.TemporaryDirectory(prefix="dd-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen()
        Path(folder, "socket").chmod(0)
        with as_nobody(), pytest.raises(PermissionError):
            connect(f"ipc://{folder}/socket", prefer=prefer)
        with (
            as_nobody(),
            pytest.raises(UnreachableError, match="belongs to another one"),
        ):
            Client(f"ipc://{folder}/socket")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may connect to every socket: for a moment this process is not root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_path_that_is_no_socket(prefer: Choice) -> None:
    with tempfile.NamedTemporaryFile(prefix="dd-") as file, pytest.raises(ConnectionError):
        connect(f"ipc://{file.name}", prefer=prefer)


def test_host_that_does_not_exist(prefer: Choice) -> None:
    with pytest.raises(ConnectionError, match=r"tcp://nowhere\.invalid:5555 cannot be reached"):
        connect("tcp://nowhere.invalid:5555", prefer=prefer)


@pytest.mark.parametrize(
    ("opening", "message"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", "does not speak ZeroMQ|handshake", id="ssh"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, "does not speak ZeroMQ|handshake", id="http"),
        pytest.param(bytes(200), "does not speak ZeroMQ|handshake", id="zeros"),
        pytest.param(b"", "handshake within 0.5 s", id="silence"),
        pytest.param(GREETING, "handshake within 0.5 s", id="half"),
        pytest.param(GREETING.replace(b"NULL", b"PLAI"), "PLAI|handshake|does not speak", id="mechanism"),
        pytest.param(GREETING + READY.replace(b"ROUTER", b"PULL.."), "ROUTER", id="type"),
    ],
)
def test_who_is_no_router(
    raw_peer: Callable[[bytes], RawPeer], endpoint: str, prefer: Choice, opening: bytes, message: str
) -> None:
    raw_peer(opening)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=message) as caught:
        connect(endpoint, prefer=prefer, timeout=0.5)
    assert not isinstance(caught.value, ConnectionRefusedError)  # somebody is there
    assert time.monotonic() - start < SOON


def test_peer_that_hangs_up_in_the_handshake(
    raw_peer: Callable[[bytes], RawPeer], endpoint: str, prefer: Choice
) -> None:
    peer = raw_peer(GREETING)
    hang_up = threading.Thread(target=lambda: peer.stream.close())  # noqa: PLW0108 - `stream` waits
    hang_up.start()
    with pytest.raises(ConnectionError):
        connect(endpoint, prefer=prefer)
    hang_up.join()


@pytest.mark.parametrize("operation", ["send", "recv"])
def test_peer_closes(link: Transport, router: Router, operation: str) -> None:
    router.close()
    assert_lost(link, lambda: link.send([b"x"]) if operation == "send" else link.recv(SOON))


def test_last_words_are_heard(link: Transport, router: Router) -> None:
    words = [b"farewell", bytes(16 * MIB)]
    router.send(words)
    router.send([b"now"])
    closing = threading.Thread(target=router.close, args=[5000])
    closing.start()
    time.sleep(0.2)  # the loss is known before anything is read
    assert link.recv(10) == words
    assert link.recv(10) == [b"now"]
    assert_lost(link, lambda: link.recv(1))
    closing.join()


def test_does_not_come_back_by_itself(link: Transport, router: Router, endpoint: str) -> None:
    router.close()
    assert_lost(link, lambda: link.recv(SOON))
    address = parse_endpoint(endpoint)
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as successor:
        successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if isinstance(address, str):
            Path(address).unlink(missing_ok=True)
        successor.bind(address)
        successor.listen()
        successor.settimeout(0.5)
        with pytest.raises(TimeoutError):
            successor.accept()


ROUTER_PROCESS = """
import sys, time, zmq
router = zmq.Context().socket(zmq.ROUTER)
router.bind(sys.argv[1])
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("operation", ["send", "recv"])
def test_peer_is_killed(endpoint: str, prefer: Choice, operation: str) -> None:
    with subprocess.Popen([sys.executable, "-c", ROUTER_PROCESS, endpoint], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            with connect(endpoint, prefer=prefer) as transport:
                assert transport.recv(0) is None
                process.kill()
                assert_lost(
                    transport, lambda: transport.send([b"x"]) if operation == "send" else transport.recv(9)
                )
        finally:
            process.kill()


def test_trickled_bytes(raw_peer: Callable[[bytes], RawPeer], endpoint: str, prefer: Choice) -> None:
    peer = raw_peer(GREETING + READY)
    with connect(endpoint, prefer=prefer) as transport:
        for byte in b"\x01\x05first\x02\0\0\0\0\0\0\x01\x2c" + b"y" * 300:
            assert transport.recv(0.001) is None
            peer.stream.sendall(bytes((byte,)))
        assert transport.recv(5) == [b"first", b"y" * 300]


@pytest.mark.parametrize(
    "start", [b"\x00", b"\x02\0\0", b"\x00\x05abc", b"\x01\x03abc", b"\x02" + bytes(5) + b"\x10"]
)
def test_peer_closes_within_a_message(
    raw_peer: Callable[[bytes], RawPeer], endpoint: str, prefer: Choice, start: bytes
) -> None:
    peer = raw_peer(GREETING + READY)
    with connect(endpoint, prefer=prefer) as transport:
        peer.stream.sendall(b"\x00\x05whole" + start)
        assert transport.recv(5) == [b"whole"]
        assert transport.recv(0.02) is None
        peer.stream.shutdown(socket.SHUT_RDWR)
        assert_lost(transport, lambda: transport.recv(1))


def test_two_at_a_time(router: Router, endpoint: str, prefer: Choice) -> None:
    with connect(endpoint, prefer=prefer) as one, connect(endpoint, prefer=prefer) as other:
        for transport, word in ((one, b"one"), (other, b"other"), (one, b"one again")):
            transport.send([word])
            assert router.recv() == [word]
            router.send([word])
        one.close()
        assert other.recv(5) == [b"other"]


def test_one_in_each_of_eight_threads(endpoint: str, prefer: Choice) -> None:
    results: list[Frames | None] = []

    def talk(number: int) -> None:
        with connect(endpoint, prefer=prefer) as transport:
            for _ in range(20):
                transport.send([b"%d" % number, bytes(100_000)])
                results.append(transport.recv(10))

    peer = Router(endpoint)
    threads = [threading.Thread(target=talk, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(8 * 20):
        peer.send(peer.recv())
    for thread in threads:
        thread.join(10)
    peer.close()
    for number in range(8):
        assert results.count([b"%d" % number, bytes(100_000)]) == 20


def test_close_is_immediate(raw_peer: Callable[[bytes], RawPeer], endpoint: str, prefer: Choice) -> None:
    raw_peer(GREETING + READY)  # and never reads
    transport = connect(endpoint, prefer=prefer, timeout=0.3)
    with contextlib.suppress(TimeoutError):  # libzmq takes it all and has it unsent; the other one notices
        transport.send([bytes(64 * MIB)])
    start = time.monotonic()
    transport.close()
    transport.close()
    assert time.monotonic() - start < 0.2
    with pytest.raises(ConnectionError, match="closed"):
        transport.send([b"x"])
    with pytest.raises(ConnectionError, match="closed"):
        transport.recv(1)


def test_peer_sees_the_close(raw_peer: Callable[[bytes], RawPeer], endpoint: str, prefer: Choice) -> None:
    peer = raw_peer(GREETING + READY)
    with connect(endpoint, prefer=prefer):
        peer.stream.settimeout(SOON)
        peer.stream.recv(1)
    while peer.stream.recv(1000):
        pass


def test_heartbeats_are_answered(endpoint: str, prefer: Choice) -> None:
    peer = Router(endpoint, heartbeat_ivl=100, heartbeat_timeout=100)
    with connect(endpoint, prefer=prefer) as transport:
        for _ in range(8):
            assert transport.recv(0.1) is None
        transport.send([b"still here"])
        peer.send(peer.recv())
        assert transport.recv(5) == [b"still here"]
    peer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_behind(router: Router, endpoint: str, prefer: Choice) -> None:
    def held() -> int:
        return len(os.listdir("/proc/self/fd")) + len(os.listdir("/proc/self/task"))  # noqa: PTH208

    def visit() -> None:
        with connect(endpoint, prefer=prefer) as transport:
            transport.send([bytes(100_000)])
            router.recv()

    visit()  # pyzmq starts one thread, once, to release what was sent without a copy
    before = held()
    for _ in range(20):
        visit()
    deadline = time.monotonic() + SOON
    while held() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # the router needs a moment to notice
    assert held() <= before


@pytest.mark.parametrize(
    "endpoint",
    [
        "", "socket", "/run/socket", "ipc://", "ipc://relative", "ipc://@abstract", "ipc:///a\0b", "tcp://", "tcp://host",
        "tcp://host:", "tcp://:5555", "tcp://*:5555", "tcp://host:0", "tcp://host:65536", "tcp://host:port",
        "tcp://::1:5555", "tcp://a;b:5555", "tcp://host:5555/x", "inproc://x", "http://host:80", "TCP://host:80",
    ],
)  # fmt: skip
def test_bad_endpoint(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"must be ipc:///PATH or tcp://HOST:PORT"):
        connect(endpoint)


def test_path_too_long() -> None:
    assert parse_endpoint("ipc:///" + "a" * 102) == "/" + "a" * 102
    with pytest.raises(ValueError, match="at most 103 bytes"):
        connect("ipc:///" + "a" * 103)


def test_system_without_unix_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ValueError, match="cannot be used on this system; tcp://"):
        connect("ipc:///tmp/socket")


def test_ipv6(prefer: Choice) -> None:
    with socket.socket(socket.AF_INET6) as free:
        try:
            free.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        endpoint = f"tcp://[::1]:{free.getsockname()[1]}"
    peer = Router(endpoint, ipv6=1)
    with connect(endpoint, prefer=prefer) as transport:
        transport.send([b"six"])
        assert peer.recv() == [b"six"]
    peer.close()


@pytest.mark.parametrize(
    ("environment", "prefer", "expected"),
    [
        ("", "auto", PyzmqTransport),
        ("", "builtin", ZmtpDealer),
        ("builtin", "auto", ZmtpDealer),
        ("builtin", "pyzmq", ZmtpDealer),
        ("pyzmq", "builtin", PyzmqTransport),
        ("auto", "builtin", PyzmqTransport),
    ],
)
def test_choice(
    router: Router,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    environment: str,
    prefer: Choice,
    expected: type[Transport],
) -> None:
    monkeypatch.setenv("DEEPDREAM_TRANSPORT", environment)
    with connect(endpoint, prefer=prefer) as transport:
        assert type(transport) is expected


def test_choice_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPDREAM_TRANSPORT", "pigeon")
    with pytest.raises(ValueError, match="'pigeon', but must be one of auto, pyzmq, builtin"):
        connect("tcp://127.0.0.1:9")


@pytest.mark.parametrize("reason", ["missing", "old"])
def test_pyzmq_that_cannot_be_used(
    router: Router, endpoint: str, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.delenv("DEEPDREAM_TRANSPORT", raising=False)
    if reason == "missing":
        monkeypatch.setattr(transport_module, "zmq", None)
    else:
        monkeypatch.setattr(zmq, "pyzmq_version_info", lambda: (22, 3, 0))
    with connect(endpoint) as transport:
        assert isinstance(transport, ZmtpDealer)
    with pytest.raises(ImportError, match="pyzmq, version 23 or later"):
        connect(endpoint, prefer="pyzmq")


BARE_CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
from dreamwire.transport import connect
with connect(sys.argv[2]) as transport:
    transport.send([b"bare", bytes(1 << 20)])
    assert transport.recv(10) == [b"welcome"]
foreign = {name.split(".")[0] for name in sys.modules} - sys.stdlib_module_names - {"__main__", "dreamwire"}
assert not foreign, foreign
"""


def test_python_without_any_package(router: Router, endpoint: str) -> None:
    command = [sys.executable, "-I", "-S", "-c", BARE_CLIENT, str(Path(dreamwire.__path__[0]).parent), endpoint]
    with subprocess.Popen(command) as process:
        try:
            assert router.recv() == [b"bare", bytes(MIB)]
            router.send([b"welcome"])
            assert process.wait(10) == 0
        finally:
            process.kill()

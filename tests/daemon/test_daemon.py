"""The daemon as a client sees it: a real process, real sockets, the real embedded network."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zmq
from numpy.typing import NDArray

from dreamwire import transport
from dreamwire.client import Client, Image, Job, JobCancelledError
from dreamwire.crop import crop
from dreamwire.errors import DreamError, UnreachableError
from dreamwire.messages import (
    Array,
    Cancel,
    Done,
    ErrorIs,
    Failed,
    Hello,
    JobIs,
    Message,
    Ping,
    Preview,
    PreviewIs,
    Progress,
    Submit,
    decode,
    encode,
)
from dreamwire.params import validate
from real_daemon import Daemon

#: A dream that takes a blink, and one that takes longer than any test.
BRIEF = {"layers": "blocks.2", "octaves": 1, "steps": 1}
ENDLESS = {"layers": "blocks.2", "octaves": 1, "steps": 1000}
WHITE = {"uint8": 255, "uint16": 65535, "float32": 1}


def picture(height: int = 48, width: int = 64, channels: int = 3, dtype: str = "uint8") -> NDArray[Any]:
    values = np.random.default_rng(1).random((height, width, channels))
    return (values * WHITE[dtype]).astype(dtype)


def image(pixels: NDArray[Any]) -> Image:
    height, width, channels = pixels.shape
    return Image(pixels.tobytes(), (height, width, channels), pixels.dtype.name)


def spot(height: int = 48, width: int = 64) -> NDArray[np.float32]:
    mask = np.zeros((height, width, 1), np.float32)
    mask[10:30, 20:50] = 1
    mask[10:12] *= 0.5
    return mask


def last(job: Job) -> Done:
    *_, done = job
    assert isinstance(done, Done)
    return done


def pixels(done: Done) -> NDArray[Any]:
    (described,) = done.outputs
    return np.frombuffer(done.frames[0], described.dtype).reshape(described.shape)


def dreamt(client: Client, source: NDArray[Any], mask: NDArray[Any] | None = None, **params: Any) -> Done:
    return last(
        client.submit("dream", BRIEF | params, image=image(source), mask=None if mask is None else image(mask))
    )


def eventually(true: Callable[[], object]) -> None:
    """Waits for what must come true soon."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "it did not come true in 10 s"
        time.sleep(0.02)


def running(client: Client, **kwargs: Any) -> Job:
    """An endless job that has made its first steps."""
    job = client.submit("dream", ENDLESS, image=image(picture()), **kwargs)
    for event in job:
        if isinstance(event, Progress) and event.state == "dreaming":
            return job
    raise AssertionError


@pytest.fixture(params=["pyzmq", "builtin"])
def client(
    request: pytest.FixtureRequest, shared_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client of the shared daemon, over either transport."""
    monkeypatch.setenv("DEEPDREAM_TRANSPORT", request.param)
    with shared_daemon.client() as client:
        yield client


# Dreams


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_kind_of_picture_is_dreamt_and_keeps_its_bits_outside(
    client: Client, channels: int, dtype: str
) -> None:
    source, mask = picture(channels=channels, dtype=dtype), spot()
    if channels in (2, 4):
        source[15:20, 25:30, -1] = 0  # a hole in the region
    done = dreamt(client, source, mask)
    assert done.box == (10, 20, 20, 30)
    part, inside = source[10:30, 20:50], mask[10:30, 20:50, 0] > 0
    if channels in (2, 4):
        inside = inside & (part[..., -1] > 0)
        assert np.array_equal(pixels(done)[..., -1], part[..., -1])
    colours = 3 if channels > 2 else 1
    assert pixels(done).dtype == source.dtype
    assert np.array_equal(pixels(done)[~inside], part[~inside])
    assert (pixels(done)[..., :colours] != part[..., :colours]).any(-1)[inside].mean() > 0.7


def test_a_cut_out_has_the_mask_in_its_alpha(client: Client) -> None:
    source, mask = picture(channels=4, dtype="float32"), spot()
    mask[10:30, 20:35] = 0.5
    done, full = dreamt(client, source, mask, edge="alpha"), dreamt(client, source, mask, edge="full")
    assert np.array_equal(pixels(done)[..., :3], pixels(full)[..., :3])
    assert np.array_equal(pixels(done)[..., 3:], (source * mask)[10:30, 20:50, 3:])
    assert np.array_equal(pixels(full)[..., 3], source[10:30, 20:50, 3])


def test_a_cut_out_of_a_picture_without_alpha_is_refused(client: Client) -> None:
    with pytest.raises(DreamError, match="no alpha to cut out by"):
        dreamt(client, picture(), spot(), edge="alpha")


def test_without_a_mask_all_of_the_picture_is_dreamt(client: Client) -> None:
    assert dreamt(client, picture(17, 23)).box == (0, 0, 17, 23)


def test_the_same_job_gives_the_same_bytes_and_says_how_it_was_made(client: Client) -> None:
    first, second = dreamt(client, picture(), spot(), seed=5), dreamt(client, picture(), spot(), seed=5)
    assert bytes(first.frames[0]) == bytes(second.frames[0])
    assert first.params == validate("dream", BRIEF | {"seed": 5})
    assert first.info["network"] == "efficientnet_lite0"
    assert first.info["objective"] == "blocks.2"
    assert len(first.info["weights_sha256"]) == 64
    assert bytes(dreamt(client, picture(), spot(), seed=6).frames[0]) != bytes(first.frames[0])


def test_sending_only_the_crop_gives_the_dream_of_the_whole_to_the_bit(client: Client) -> None:
    params = {"layers": "blocks.3", "octaves": 2, "steps": 2, "jitter": 8}
    source = picture(400, 420, dtype="float32")
    mask = np.zeros((400, 420, 1), np.float32)
    mask[190:220, 200:240] = 1
    top, left, height, width = crop("dream", (190, 200, 30, 40), (400, 420), validate("dream", params))
    assert height < 400
    here = np.s_[top : top + height, left : left + width]
    whole = last(client.submit("dream", params, image=image(source), mask=image(mask)))
    part = last(client.submit("dream", params, image=image(source[here]), mask=image(mask[here])))
    assert (part.box[0] + top, part.box[1] + left) == whole.box[:2] == (190, 200)
    assert np.array_equal(pixels(part), pixels(whole))


def test_previews_show_the_region_and_are_no_larger_than_asked(client: Client) -> None:
    params = BRIEF | {"octaves": 3, "steps": 3}
    job = client.submit(
        "dream", params, image=image(picture()), mask=image(spot()), preview=Preview(interval_ms=20, max_side=16)
    )
    events = list(job)
    shown = [event for event in events if isinstance(event, PreviewIs)]
    assert shown
    assert {event.box for event in shown} == {(10, 20, 20, 30)}
    assert {event.array.shape for event in shown} == {(11, 16, 3)}
    assert isinstance(events[-1], Done)


def test_progress_counts_octaves_and_steps_and_rises(client: Client) -> None:
    events = list(client.submit("dream", BRIEF | {"octaves": 2, "steps": 40}, image=image(picture(128, 128))))
    told = [event for event in events if isinstance(event, Progress) and event.state == "dreaming"]
    fractions = [event.fraction for event in told]
    assert fractions == sorted(fractions)
    assert {(event.octaves, event.steps) for event in told} == {(2, 40)}


# Refusals


def refused(client: Client, code: str, *, kind: str = "dream", params: Any = BRIEF, **inputs: Image) -> str:
    inputs = {"image": image(picture())} | inputs
    with pytest.raises(DreamError) as caught:
        last(client.submit(kind, params, **inputs))  # type: ignore[arg-type]
    assert caught.value.code == code
    return caught.value.message


@pytest.mark.parametrize(
    ("params", "code", "says"),
    [
        pytest.param({"steps": 0}, "bad_params", "1 to 1000", id="out of range"),
        pytest.param({"strength": "much"}, "bad_params", "a number", id="wrong kind"),
        pytest.param({"stepz": 5}, "bad_params", "did you mean steps", id="unknown parameter"),
        pytest.param({"layers": "blocks.99"}, "bad_params", "deepdream layers", id="unknown layer"),
        pytest.param({"network": "lenet"}, "unknown_network", "googlenet", id="unknown network"),
        pytest.param({"network": "googlenet"}, "unknown_network", "deepdream pull googlenet", id="no weights"),
    ],
)
def test_bad_parameters_are_refused_with_what_to_do(client: Client, params: Any, code: str, says: str) -> None:
    assert says in refused(client, code, params=params)


def test_bad_pixels_are_refused_with_what_to_do(client: Client) -> None:
    nan = picture(dtype="float32")
    nan[3, 3, 1] = np.nan
    assert "no numbers" in refused(client, "bad_input", image=image(nan))
    assert "65504" in refused(client, "bad_input", image=image(np.full((9, 9, 3), 1e18, np.float32)))
    assert "mask is empty" in refused(client, "bad_input", mask=image(np.zeros((48, 64, 1), np.float32)))
    assert "between 0 and 1" in refused(client, "bad_input", mask=image(2 * spot()))
    assert "64x48" in refused(client, "bad_input", mask=image(spot(47, 64)))
    assert "channels" in refused(client, "bad_input", image=image(np.zeros((5, 5, 5), np.uint8)))
    transparent = picture(channels=4)
    transparent[..., 3] = 0
    assert "transparent" in refused(client, "bad_input", image=image(transparent))
    assert "no job called" in refused(client, "bad_params", kind="nightmare")
    dreamt(client, picture())  # and the daemon goes on


def test_a_picture_beyond_the_limit_is_refused_and_the_limit_named(place: Daemon) -> None:
    place.options = ("--megapixels", "1", "--preload", "")
    with place.start().client() as client:
        assert "megapixels" in refused(client, "limit", image=Image(bytes(1001 * 1000), (1001, 1000, 1), "uint8"))


# Cancel, stop, disconnect


def test_a_cancelled_job_ends_at_once_and_the_next_one_runs(client: Client) -> None:
    job = running(client)
    job.cancel()
    with pytest.raises(JobCancelledError):
        last(job)
    assert pixels(dreamt(client, picture())).shape == (48, 64, 3)


def test_a_waiting_job_can_be_cancelled(client: Client) -> None:
    first = running(client)
    second = client.submit("dream", BRIEF, image=image(picture()))
    assert second.position == 0
    second.cancel()
    with pytest.raises(JobCancelledError):
        last(second)
    first.cancel()
    with pytest.raises(JobCancelledError):
        last(first)


def test_a_stopped_job_gives_what_it_has(client: Client) -> None:
    job = running(client)
    job.stop()
    done = last(job)
    assert done.info["stopped"]
    assert not np.array_equal(pixels(done), picture())


def test_cancelling_and_stopping_what_is_not_there_is_no_error(client: Client) -> None:
    nobody = str(uuid.uuid4())
    assert client._request(Cancel(job=nobody), JobIs).state == "gone"
    with pytest.raises(DreamError, match="knows no job"):
        client.attach(nobody)


def jobs_of(daemon: Daemon) -> list[str]:
    with daemon.client() as client:
        return [job["job"] for job in client.status()["jobs"] if job["state"] in ("queued", "running")]


def test_the_job_of_a_client_that_goes_away_is_dropped(shared_daemon: Daemon) -> None:
    client = shared_daemon.client()
    job = running(client)
    assert job.id in jobs_of(shared_daemon)
    client.close()
    eventually(lambda: not jobs_of(shared_daemon))


def test_a_job_that_is_to_be_kept_goes_on_and_its_result_can_be_fetched(shared_daemon: Daemon) -> None:
    client = shared_daemon.client()
    job = client.submit("dream", BRIEF | {"steps": 20}, image=image(picture()), keep=True)
    client.close()
    with shared_daemon.client() as other:
        assert pixels(last(other.attach(job.id))).shape == (48, 64, 3)
        eventually(lambda: not any(each["job"] == job.id for each in other.status()["jobs"]))


def test_a_result_is_kept_for_the_next_one_who_asks_until_acknowledged(shared_daemon: Daemon) -> None:
    with shared_daemon.client() as client:
        job = client.submit("dream", BRIEF, image=image(picture()), keep=True)
        eventually(
            lambda: any(each["state"] == "done" for each in client.status()["jobs"] if each["job"] == job.id)
        )
    with shared_daemon.client() as other:
        first = other.attach(job.id)
        assert isinstance(first.next(10), Done)
        with pytest.raises(DreamError, match="knows no job"):
            other.attach(job.id)


def test_the_same_job_sent_twice_is_one_job_and_another_of_its_id_is_a_conflict(client: Client) -> None:
    name = str(uuid.uuid4())
    first = client.submit("dream", ENDLESS, image=image(picture()), job=name)
    client.submit("dream", ENDLESS, image=image(picture()), job=name)
    with pytest.raises(DreamError) as caught:
        client.submit("dream", BRIEF, image=image(picture()), job=name)
    assert caught.value.code == "conflict"
    first.cancel()
    with pytest.raises(JobCancelledError):
        last(first)


# Many clients


def test_jobs_of_several_clients_are_all_done(shared_daemon: Daemon) -> None:
    clients = [shared_daemon.client() for _ in range(4)]
    jobs = [
        client.submit("dream", BRIEF | {"seed": seed}, image=image(picture()))
        for seed, client in enumerate(clients * 2)
    ]
    assert [last(job).params["seed"] for job in reversed(jobs)] == [7, 6, 5, 4, 3, 2, 1, 0]
    for client in clients:
        client.close()


def test_every_device_has_a_worker_of_its_own(place: Daemon) -> None:
    place.options = ("--device", "cpu,cpu")
    with place.start().client() as client:
        jobs = [running(client), running(client)]
        workers = client.status()["workers"]
        assert {worker["job"] for worker in workers} == {job.id for job in jobs}
        assert len({worker["pid"] for worker in workers}) == 2
        for job in jobs:
            job.cancel()
            with pytest.raises(JobCancelledError):
                last(job)


def test_a_full_queue_is_said(place: Daemon) -> None:
    place.options = ("--queue", "1")
    with place.start().client() as client:
        running(client)
        client.submit("dream", BRIEF, image=image(picture()))
        with pytest.raises(DreamError) as caught:
            client.submit("dream", BRIEF, image=image(picture()))
    assert caught.value.code == "queue_full"


def test_a_client_that_does_not_read_holds_nobody_up(shared_daemon: Daemon) -> None:
    lazy = shared_daemon.client()
    lazy.submit("dream", ENDLESS, image=image(picture()), preview=Preview(interval_ms=20))
    with shared_daemon.client() as busy:
        for _ in range(50):
            busy.ping()
    lazy.close()
    eventually(lambda: not jobs_of(shared_daemon))


# The protocol's edges


def raw(daemon: Daemon, *messages: Message | list[bytes]) -> Message:
    """The answer to the last of some messages, sent as they are."""
    with transport.connect(daemon.endpoint) as line:
        for message in messages:
            line.send(message if isinstance(message, list) else encode(message))
            answer = line.recv(10)
            assert answer is not None
    return decode(answer)


HELLO = Hello(versions=(1,), client="raw")


def test_whoever_has_not_said_hello_is_told_to(shared_daemon: Daemon) -> None:
    answer = raw(shared_daemon, Ping(request=7))
    assert isinstance(answer, ErrorIs)
    assert (answer.error.code, answer.request) == ("unauthorized", 7)


def test_a_client_of_another_version_is_told_what_to_do(shared_daemon: Daemon) -> None:
    answer = raw(shared_daemon, Hello(versions=(98, 99), client="newer 9.9"))
    assert isinstance(answer, ErrorIs)
    assert answer.error.code == "version"
    assert "deepdream stop" in answer.error.message


@pytest.mark.parametrize(
    "rubbish", [[b"DD1"], [b"DD1", b"\xc1"], [b"GET / HTTP/1.1", b""], [b"DD1", b"\x80", b"x" * 100]], ids=repr
)
def test_rubbish_is_answered_and_the_connection_goes_on(shared_daemon: Daemon, rubbish: list[bytes]) -> None:
    answer = raw(shared_daemon, HELLO, rubbish)
    assert isinstance(answer, ErrorIs)
    assert answer.error.code == "bad_message"
    with shared_daemon.client() as client:
        client.ping()


def test_a_refused_job_has_failed(shared_daemon: Daemon) -> None:
    described = Array("image", 0, "uint8", (1, 1, 3))
    job = Submit(job=str(uuid.uuid4()), kind="dream", params={"steps": -1}, inputs=(described,), frames=(b"abc",))
    answer = raw(shared_daemon, HELLO, job)
    assert isinstance(answer, Failed)
    assert answer.job == job.job


# The daemon's own life


def test_the_front_never_loads_torch(daemon: Daemon) -> None:
    with daemon.client() as client:
        dreamt(client, picture())
    front = psutil.Process(daemon.process.pid if daemon.process else 0)
    assert not any("torch" in file.path for file in front.memory_maps())


def test_a_killed_daemon_is_noticed_takes_its_worker_along_and_can_be_started_again(daemon: Daemon) -> None:
    assert daemon.process is not None
    with daemon.client() as client:
        job = running(client)
        worker = daemon.worker()
        daemon.process.kill()
        with pytest.raises(ConnectionError):
            last(job)
    eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    daemon.process.wait()
    assert daemon.socket.exists()  # what it left behind is no obstacle
    with daemon.start().client() as client:
        assert pixels(dreamt(client, picture())).shape == (48, 64, 3)


def test_a_worker_that_cannot_start_fails_the_job_and_not_the_daemon(place: Daemon) -> None:
    broken = place.folder / "broken"
    broken.mkdir()
    (broken / "torch.py").write_text("raise ImportError('no torch here')")
    place.environment["PYTHONPATH"] = str(broken)
    with place.start().client() as client:
        with pytest.raises(DreamError, match=r"cannot be started.*daemon\.log"):
            dreamt(client, picture())
        client.ping()


def test_a_stranger_at_the_workers_socket_gets_nothing(daemon: Daemon) -> None:
    """Over TCP the port of a worker can be found: whoever knocks first must neither get pixels nor keep it out."""
    with daemon.client() as client, zmq.Context() as context:
        dreamt(client, picture())
        (path,) = daemon.socket.parent.glob("worker-*")
        with context.socket(zmq.DEALER) as stranger:
            stranger.linger = 0
            stranger.connect(f"ipc://{path}")
            stranger.send_multipart([b"DD1", b"rubbish"])
            stranger.send_multipart(encode(Hello(versions=(1,), client="worker", token="ünknown")))  # noqa: S106
            assert pixels(dreamt(client, picture())).shape == (48, 64, 3)
            assert not stranger.poll(100)
    eventually(lambda: daemon.log.count("stranger") == 2)


def test_a_second_daemon_says_so_and_ends_well(daemon: Daemon) -> None:
    second = daemon.run("serve")
    assert second.returncode == 0
    assert "already" in second.stderr
    with daemon.client() as client:
        client.ping()


@pytest.mark.parametrize("how", ["shutdown", "SIGTERM"])
def test_a_daemon_that_is_ended_hands_its_job_back_and_leaves_nothing(daemon: Daemon, how: str) -> None:
    assert daemon.process is not None
    with daemon.client() as client:
        job = running(client)
        if how == "shutdown":
            client.shutdown()
        else:
            daemon.process.send_signal(signal.SIGTERM)
        with pytest.raises(DreamError) as caught:
            last(job)
        assert caught.value.code == "shutting_down"
    assert daemon.process.wait(10) == 0
    assert [file.name for file in daemon.socket.parent.iterdir()] == ["d.sock.lock"]


def test_an_idle_daemon_frees_its_memory_and_wakes_for_the_next_job(place: Daemon) -> None:
    place.options = ("--idle", "0.1")
    with place.start().client() as client:
        dreamt(client, picture())
        eventually(lambda: not client.status()["workers"][0]["running"])
        assert pixels(dreamt(client, picture())).shape == (48, 64, 3)


def test_networks_are_loaded_listed_and_unloaded(daemon: Daemon) -> None:
    def loaded() -> list[str]:
        return [row["name"] for row in client.networks() if row["loaded"]]

    with daemon.client() as client:
        dreamt(client, picture())
        eventually(loaded)
        assert loaded() == ["efficientnet_lite0"]
        assert client.unload() == ("efficientnet_lite0",)
        eventually(lambda: not loaded())
        with pytest.raises(DreamError):
            client.unload("lenet")


def test_only_its_user_can_reach_the_socket_and_read_the_log(daemon: Daemon) -> None:
    log = daemon.folder / "logs" / "daemon.log"
    modes = {file.name: stat.S_IMODE(file.lstat().st_mode) for file in (daemon.socket.parent, daemon.socket, log)}
    assert modes == {"runtime": 0o700, "d.sock": 0o600, "daemon.log": 0o600}


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to be somebody else")
def test_another_user_is_refused_even_with_the_door_open(daemon: Daemon) -> None:
    """The folder and the socket are opened by hand: the daemon still asks the system who is calling."""
    for path, mode in ((daemon.folder, 0o755), (daemon.socket.parent, 0o755), (daemon.socket, 0o777)):
        path.chmod(mode)
    script = (
        "import os, sys; sys.path[:0] = sys.argv[2:]; from dreamwire.client import Client; os.setuid(65534);"
        "Client(sys.argv[1], start=False)"
    )
    stranger = subprocess.run(
        [sys.executable, "-c", script, daemon.endpoint, *sys.path], capture_output=True, text=True, check=False
    )
    assert "does not know you" in stranger.stderr


def test_a_folder_that_others_may_enter_is_not_used(place: Daemon) -> None:
    place.socket.parent.mkdir(mode=0o755)
    place.socket.parent.chmod(0o755)
    run = place.run("serve", "--endpoint", place.endpoint)
    assert run.returncode == 1
    assert "chmod 700" in run.stderr
    assert stat.S_IMODE(place.socket.parent.lstat().st_mode) == 0o755


# TCP


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_over_tcp_the_token_opens_and_nothing_else_does(place: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    place.environment["DEEPDREAM_ENDPOINT"] = endpoint
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    process = subprocess.Popen([sys.executable, "-m", "dreamd", "serve"])
    try:

        def reached() -> bool:
            try:
                Client(endpoint, start=False).close()
            except (UnreachableError, DreamError):
                return False
            return True

        eventually(reached)
        with Client(endpoint, start=False) as client:
            assert pixels(dreamt(client, picture())).shape == (48, 64, 3)
        (token,) = Path(place.environment["DEEPDREAM_RUNTIME"]).glob("token-*[0-9]")
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        monkeypatch.setenv("DEEPDREAM_TOKEN", "0" * 64)
        with pytest.raises(DreamError) as caught:
            Client(endpoint, start=False)
        assert caught.value.code == "unauthorized"
    finally:
        process.terminate()
        process.wait(10)
    assert not token.exists()


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.7", "*"])  # noqa: S104
def test_an_address_that_others_could_reach_is_refused(place: Daemon, address: str) -> None:
    run = place.run("serve", "--endpoint", f"tcp://{address}:5555")
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1

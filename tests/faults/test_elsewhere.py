"""A daemon on another computer: those whose keys it knows use it as their own, over slow lines too; nobody else.

The daemon is in the studio, those who use it are at the laptop; both are this computer: `two_computers`.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from dreamwire.client import Client, JobCancelledError
from dreamwire.errors import DreamError
from dreamwire.messages import Done, Hello, Preview, Progress, encode
from jobs_sent import BRIEF, ENDLESS, dreaming, dreamt, eventually, image, last, picture, states
from real_daemon import Daemon
from two_computers import Computers, free_port, key_of, met, say

Figure = Callable[[str, str], None]
#: Bytes a second of a line of 10 Mbit/s, and its seconds each way, 200 ms there and back.
SLOW, FAR = 10e6 / 8, 0.1


@pytest.fixture
def computers(place: Daemon, use: Callable[[Daemon], Daemon]) -> Iterator[Computers]:
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    laptop = use(Daemon(folder))
    computers = met(place, laptop)
    yield computers
    computers.line.close()
    laptop.end()
    shutil.rmtree(folder, ignore_errors=True)


def test_nobody_is_let_in_before_keys_are_known(place: Daemon) -> None:
    place.options = ("--listen", f"tcp://127.0.0.2:{free_port()}")
    done = place.run("serve", *place.options)
    assert done.returncode == 1
    assert "Make one: `deepdream keys new`" in done.stderr
    key_of(place)
    done = place.run("serve", *place.options)
    assert done.returncode == 1
    assert "`deepdream keys allow KEY --name NAME`" in done.stderr
    done = place.run("serve", "--endpoint", "tcp://127.0.0.2:47616")
    assert done.returncode == 1
    assert "deepdream serve --listen tcp://127.0.0.2:47616" in done.stderr


def test_a_port_that_is_taken_is_said_at_once(place: Daemon) -> None:
    key_of(place)
    say(place, "allow", "a1" * 32, "--name", "laptop")
    with socket.create_server(("127.0.0.2", 0)) as taken:
        done = place.run("serve", "--listen", f"tcp://127.0.0.2:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "nobody can listen: Address already in use" in done.stderr
    assert not place.socket.exists()


def test_the_dream_is_the_same_as_in_the_studio(computers: Computers) -> None:
    shown = image(picture(300, 400))  # more than goes at once
    with computers.client() as far, computers.studio.client() as near:
        here, there = (
            last(client.submit("dream", BRIEF, image=shown, preview=Preview(interval_ms=20)))
            for client in (near, far)
        )
        assert bytes(here.frames[0]) == bytes(there.frames[0])
        assert near.status()["remote"]["clients"] == ["laptop"]
        assert near.status()["instance"] == far.welcome.instance
    assert "of laptop" in computers.studio.log


def test_the_command_line_uses_it_too(computers: Computers) -> None:
    done = computers.laptop.run("--endpoint", computers.endpoint, "status")
    assert done.returncode == 0, done.stderr
    assert f"tcp://127.0.0.2:{computers.port}" in done.stdout
    done = computers.laptop.run("--endpoint", computers.endpoint, "stop")
    assert done.returncode == 1
    assert "only be stopped on the computer where it runs" in done.stderr
    assert computers.studio.answers()


def test_a_key_that_is_not_known_is_refused_with_what_to_do(computers: Computers) -> None:
    say(computers.studio, "revoke", "laptop")
    time.sleep(1.5)  # the gate looks once a second
    with pytest.raises(DreamError, match="does not let this computer's key in") as refused:
        computers.client()
    assert refused.value.code == "unauthorized"
    own = say(computers.laptop, "list").split()[2]
    assert f"deepdream keys allow {own} --name" in str(refused.value)
    eventually(lambda: computers.refusals.get("unknown key"), "the count")
    say(computers.studio, "allow", own, "--name", "laptop")
    eventually(lambda: _answers(computers), "the laptop's return")


def _answers(computers: Computers) -> bool:
    try:
        computers.client().close()
    except DreamError:
        return False
    return True


def test_who_is_revoked_in_the_middle_of_a_dream_is_out_and_the_dream_ends(computers: Computers) -> None:
    with computers.client() as far:
        job = dreaming(far)
        say(computers.studio, "revoke", "laptop")
        with pytest.raises(DreamError, match="was revoked"):
            list(job)
    eventually(lambda: not states(computers.studio), "the end of the job")
    assert computers.refusals["revoked key"] == 1


def test_a_daemon_with_another_key_gets_nothing(computers: Computers) -> None:
    say(computers.laptop, "revoke", computers.endpoint)
    say(computers.laptop, "allow", "a1" * 32, "--at", computers.endpoint)
    with pytest.raises(DreamError, match="has another key than the one that is known here"):
        computers.client()
    assert b"laptop test" not in computers.line.sent


def test_nobody_there_is_said_with_what_to_do(computers: Computers) -> None:
    computers.studio.end()
    with pytest.raises(DreamError) as missing:
        computers.client()
    assert missing.value.code in ("unreachable", "unauthorized")  # the line takes the call, and ends it
    nowhere = f"tcp://127.0.0.2:{free_port()}"
    say(computers.laptop, "allow", "b2" * 32, "--at", nowhere)
    with pytest.raises(DreamError, match="No Deep Dream daemon answers at") as missing:
        Client(nowhere)
    assert missing.value.code == "unreachable"
    assert f"--listen tcp://0.0.0.0:{nowhere.rpartition(':')[2]}" in str(missing.value)


def test_plain_text_and_rubbish_are_refused_and_counted_and_others_are_served(computers: Computers) -> None:
    with computers.client() as far, zmq.Context() as context:
        address = ("127.0.0.2", computers.port)
        strangers = []
        for said in (b"GET / HTTP/1.1\r\n\r\n", bytes(200), b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)):
            stranger = socket.create_connection(address)
            stranger.sendall(said)
            strangers.append(stranger)
        plain = context.socket(zmq.DEALER)
        plain.linger = 0
        plain.connect(f"tcp://127.0.0.2:{computers.port}")
        plain.send_multipart(encode(Hello(versions=(1,), client="plain")))
        assert not plain.poll(1000)
        dreamt(far)
        eventually(lambda: sum(computers.refusals.values()) >= 2, "the count")
        plain.close()
        for stranger in strangers:
            stranger.close()
    assert "plain" not in computers.studio.log


def test_what_was_said_before_is_of_no_use_to_others(computers: Computers) -> None:
    with computers.client() as far:
        dreamt(far, seed=7)
        counted = far.status()["counts"]["done"]
    said = bytes(computers.line.sent)
    assert len(said) > 9000, "the picture was in it"
    assert picture().tobytes()[:64] not in said, "nobody on the way reads it"
    with socket.create_connection(("127.0.0.2", computers.port)) as stranger:
        stranger.settimeout(10)
        # Step by step, as it was said: a greeting, and what follows.
        with contextlib.suppress(OSError):
            for start, end in ((0, 64), (64, 266), (266, len(said))):
                stranger.sendall(said[start:end])
                time.sleep(0.3)
        with contextlib.suppress(OSError):
            while stranger.recv(1 << 16):
                pass
    eventually(lambda: computers.refusals, "the count")
    with computers.studio.client() as near:
        assert near.status()["counts"]["done"] == counted


def test_strangers_who_knock_by_the_thousand_keep_nobody_out(computers: Computers) -> None:
    def knock() -> None:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.2", computers.port)) as stranger:
                stranger.sendall(b"\xff" + bytes(8) + b"\x7f")

    with computers.client() as far:
        threads = [threading.Thread(target=knock) for _ in range(10)]
        for thread in threads:
            thread.start()
        dreamt(far)
        for thread in threads:
            thread.join()
        dreamt(far)
    with computers.studio.client() as near:
        assert near.status()["remote"]["restarts"] == 0
    lines = computers.studio.log.count("refused from elsewhere")
    assert lines < 500, "a flood fills no log"


def test_a_slow_line_lets_cancels_and_pings_pass_a_picture(computers: Computers, figure: Figure) -> None:
    computers.line.rate, computers.line.delay = SLOW, FAR
    shown = picture(1000, 1400)  # 4.2 MB: more than 3 s
    with computers.client() as far:
        started = time.monotonic()
        pinged: list[float] = []

        def wanted() -> bool:
            # In the middle of the upload: what is sent has not all left.
            if time.monotonic() - started < 1.5:
                return True
            before = time.monotonic()
            far.ping()
            pinged.append(time.monotonic() - before)
            assert len(computers.line.sent) < shown.nbytes, "the picture is on its way still"
            return False

        with pytest.raises(JobCancelledError):
            far.submit("dream", ENDLESS, image=image(shown), wanted=wanted)
        cancelled = time.monotonic() - started - 1.5 - pinged[0]
        assert len(computers.line.sent) < shown.nbytes
        assert "job" not in str(states(computers.studio))
        figure("10 Mbit/s, 200 ms: a ping while 4.2 MB are sent", f"{pinged[0]:.2f} s")
        figure("10 Mbit/s, 200 ms: a cancel while they are sent", f"{cancelled:.2f} s")
        started = time.monotonic()
        done = last(far.submit("dream", BRIEF, image=image(picture(512, 512)), preview=Preview(interval_ms=100)))
        figure(
            "10 Mbit/s, 200 ms: a dream of 512x512, 0.8 MB there and back",
            f"{time.monotonic() - started:.1f} s, of which {done.info['seconds']['dream']:.1f} dreaming",
        )


def test_a_dream_is_ended_over_a_slow_line_while_previews_come(computers: Computers) -> None:
    computers.line.rate, computers.line.delay = SLOW, FAR
    with computers.client() as far:
        job = dreaming(far, preview=Preview(interval_ms=20))
        job.stop()
        *_, done = job
    assert isinstance(done, Done)
    assert done.info["stopped"]


def test_a_line_that_breaks_costs_time_only(computers: Computers) -> None:
    shown = image(picture(200, 200))
    with computers.client(lost=lambda: None) as far:
        job = far.submit("dream", ENDLESS | {"steps": 12}, image=shown)
        for event in job:
            if isinstance(event, Progress) and event.state == "dreaming":
                computers.line.cut()
                break
        *_, done = job
    with computers.studio.client() as near:
        wanted = last(near.submit("dream", ENDLESS | {"steps": 12}, image=shown))
    assert isinstance(done, Done)
    assert np.array_equal(np.frombuffer(done.frames[0], np.uint8), np.frombuffer(wanted.frames[0], np.uint8))


def test_a_gate_that_dies_comes_again_and_the_front_never_notices(computers: Computers) -> None:
    losses: list[str] = []
    with computers.client(lost=lambda: losses.append("gate")) as far, computers.studio.client() as near:
        job = dreaming(far)
        (gate,) = [
            child
            for child in computers.studio._mine()[0].children(recursive=True)
            if "dreamd.gate" in child.cmdline()
        ]
        gate.kill()
        near.ping()
        eventually(lambda: near.status()["remote"]["restarts"] == 1, "the gate's return")
        while not losses:  # what was under way comes first
            job.next(None)
        job.next(None)  # of the same job, sent again
        job.stop()
        assert last(job).info["stopped"]

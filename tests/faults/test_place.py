"""Where clients find the daemon, and what it writes: taken by two at once, left by a dead one, gone, or full."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dreamwire.client import Client
from dreamwire.errors import DreamError, UnreachableError
from full_disk import fill, no_more_files
from jobs_sent import dreaming, dreamt, eventually, image, last
from real_daemon import Daemon

Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def serve(place: Daemon) -> Iterator[Serve]:
    """Starts daemons at the same place."""
    processes = []

    def serve(**options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dreamd", "serve", "--preload", ""]
        environment = os.environ | place.environment | options
        processes.append(process := subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        return process

    yield serve
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def test_of_two_daemons_started_at_once_one_serves_and_the_other_says_so(
    place: Daemon, serve: Serve, long: bool, figure: Callable[[str, str], None]
) -> None:
    """Again and again, with the socket and the lock that a killed one has left."""
    rounds = 100 if long else 10
    for _ in range(rounds):
        both = serve(), serve()
        eventually(lambda both=both: any(each.poll() is not None for each in both), "the end of one")
        one, other = sorted(both, key=lambda each: each.poll() is None)
        assert one.wait() == 0
        assert one.communicate()[1] == f"A daemon serves {place.endpoint} already; nothing to do.\n"
        eventually(place.answers, "an answer")
        assert other.poll() is None
        other.kill()
        other.wait()
        assert place.socket.exists(), "a killed daemon leaves its socket"
    figure("two daemons started at once, one of which serves, and is killed", f"{rounds} times of {rounds}")


def test_a_daemon_that_is_told_to_end_hands_its_jobs_back_and_says_which(daemon: Daemon) -> None:
    assert daemon.process is not None
    with daemon.client() as client:
        running, waiting = dreaming(client), client.submit("dream", image=image())
        daemon.process.send_signal(signal.SIGTERM)
        for job in (running, waiting):
            with pytest.raises(DreamError, match=r"nothing of it is kept\. Do it again") as caught:
                last(job)
            assert (caught.value.code, caught.value.retryable) == ("shutting_down", True)
    assert daemon.process.wait(20) == 0
    assert not daemon.socket.exists()
    assert "ending: 2 jobs are handed back, 0 results were not fetched" in daemon.log
    assert {f"job {job.id}: failed" in daemon.log for job in (running, waiting)} == {True}


# The runtime folder


def test_the_runtime_folder_removed_under_a_daemon_comes_back_and_its_clients_notice_nothing(
    daemon: Daemon,
) -> None:
    with daemon.client() as before:
        job = dreaming(before)
        shutil.rmtree(daemon.socket.parent)
        eventually(daemon.answers, "the socket")
        assert stat.S_IMODE(daemon.socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
        with daemon.client() as after:
            assert after.welcome.instance == before.welcome.instance
            daemon.worker().kill()  # the next one needs a socket of its own
            job.cancel()
            dreamt(after)
        dreamt(before)
    second = daemon.run("serve")
    assert (second.returncode, "already" in second.stderr) == (0, True)


def test_a_daemon_whose_place_another_one_has_taken_does_its_jobs_and_ends(
    daemon: Daemon, serve: Serve, stop: Callable[[int], None]
) -> None:
    assert daemon.process is not None
    with daemon.client() as client:
        job = dreaming(client)
        stop(daemon.process.pid)  # it notices nothing until the other one is there
        shutil.rmtree(daemon.socket.parent)
        serve()
        eventually(daemon.answers, "the other one")
        os.kill(daemon.process.pid, signal.SIGCONT)
        job.stop()
        assert last(job).info["stopped"]
        assert daemon.process.wait(60) == 0
    with daemon.client() as other:
        assert other.welcome.instance != client.welcome.instance
        dreamt(other)


def test_a_runtime_folder_that_cannot_come_back_is_told_and_comes_back_when_it_can(daemon: Daemon) -> None:
    folder = daemon.socket.parent
    with daemon.client() as client:
        shutil.rmtree(folder)
        folder.write_text("in the way")
        eventually(lambda: "No client finds the daemon" in str(client.status()["last_errors"]), "a word of it")
        with pytest.raises(DreamError, match="cannot be started"):  # its process needs the folder too
            dreamt(client)
        folder.unlink()
        eventually(daemon.answers, "the socket")
        dreamt(client)


def test_a_token_that_was_removed_comes_back(place: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    place.environment["DEEPDREAM_ENDPOINT"] = endpoint
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    folder = Path(place.environment["DEEPDREAM_RUNTIME"])
    with subprocess.Popen([sys.executable, "-m", "dreamd", "serve", "--preload", ""]) as process:
        try:
            eventually(lambda: list(folder.glob("token-*[0-9]")), "the token")
            shutil.rmtree(folder)
            (token,) = eventually(lambda: list(folder.glob("token-*[0-9]")), "the token again")
            assert stat.S_IMODE(token.stat().st_mode) == 0o600
            with Client(endpoint, start=False) as client:
                client.ping()
        finally:
            process.terminate()


# Full disks, and folders that cannot be written


def test_a_daemon_on_a_full_disk_says_so_and_starts_when_there_is_room(
    place: Daemon, serve: Serve, small_disk: Path
) -> None:
    place.environment |= {"DEEPDREAM_ENDPOINT": f"ipc://{small_disk}/d.sock", "DEEPDREAM_RUNTIME": str(small_disk)}
    taken = no_more_files(small_disk)
    refused = serve()
    assert refused.wait(60) == 1
    said = refused.communicate()[1]
    assert said == f"deepdream: The daemon cannot start. No space left on device: {small_disk}/d.sock.lock\n"
    shutil.rmtree(taken)
    served = serve()
    with eventually(lambda: reached(f"ipc://{small_disk}/d.sock"), "the daemon") as client:
        dreamt(client)
        said = told_without_room_for_a_worker(client, small_disk)
        assert re.search(r"cannot be started: No space left on device.*Free what is short", said)
        shutil.rmtree(taken)
        dreamt(client)
    served.terminate()
    assert served.wait(20) == 0


def told_without_room_for_a_worker(client: Client, disk: Path) -> str:
    """What a job is told that needs a new worker, which needs a socket of its own."""
    for _ in range(20):  # what the dead one's has taken may be free in time for the next one's
        no_more_files(disk)
        psutil.Process(client.status()["workers"][0]["pid"]).kill()
        try:
            dreamt(client)
        except DreamError as error:
            return error.message
    raise AssertionError("there is room again and again")


def reached(endpoint: str) -> Client | None:
    try:
        return Client(endpoint, start=False)
    except UnreachableError:
        return None


def test_a_log_on_a_disk_that_is_full_costs_no_dream(place: Daemon, small_disk: Path) -> None:
    place.environment["DEEPDREAM_LOGS"] = str(small_disk)
    full = fill(small_disk)
    with place.start().client() as client:
        dreamt(client)
        full.unlink()
        done = dreamt(client)
    eventually(lambda: f"job {done.job}: done" in (small_disk / "daemon.log").read_text(), "the log")


def test_a_log_folder_that_cannot_be_written_keeps_no_daemon_from_being_started(
    place: Daemon, use: Callable[[Daemon], Daemon]
) -> None:
    in_the_way = place.folder / "in the way"
    in_the_way.touch()
    place.environment["DEEPDREAM_LOGS"] = str(in_the_way / "logs")
    with Client(use(place).endpoint) as client:
        dreamt(client)


def test_a_daemon_that_fails_to_start_says_why_without_a_log_too(
    place: Daemon, use: Callable[[Daemon], Daemon]
) -> None:
    in_the_way = place.folder / "in the way"
    in_the_way.touch()
    place.environment["DEEPDREAM_LOGS"] = str(in_the_way / "logs")
    place.socket.parent.mkdir(mode=0o755)
    place.socket.parent.chmod(0o755)
    with pytest.raises(UnreachableError, match=r"does not answer\. The daemon cannot start\..*chmod 700"):
        Client(use(place).endpoint)

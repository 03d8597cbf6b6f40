"""`deepdream status` tells what the daemon is at, what it takes, what went wrong; nothing of anybody's files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from dreamd import devices, ram, telling
from dreamd.tally import LAST, LONGEST, Tally
from dreamwire.client import Client, Image, Job
from dreamwire.errors import DreamError
from dreamwire.messages import Progress
from real_daemon import Daemon

PIXELS = Image(bytes(range(256)) * 36, (48, 64, 3), "uint8")
BRIEF = {"layers": "blocks.2", "octaves": 1, "steps": 1}


def shown(daemon: Daemon) -> tuple[dict[str, Any], str]:
    """The status for programs, and for people."""
    plain, text = daemon.run("status", "--json"), daemon.run("status")
    assert (plain.returncode, text.returncode) == (0, 0), plain.stderr + text.stderr
    return json.loads(plain.stdout), text.stdout


def running(client: Client) -> Job:
    """A job without an end that has made its first steps."""
    job = client.submit("dream", BRIEF | {"steps": 1000}, image=PIXELS)
    while not (isinstance(event := job.next(30), Progress) and event.state == "dreaming"):
        pass
    return job


def refuse(client: Client, **params: Any) -> None:
    with pytest.raises(DreamError):
        client.submit("dream", params, image=PIXELS)


def eventually(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_under_way_and_what_it_takes(daemon: Daemon) -> None:
    with daemon.client() as client:
        first = running(client)
        second = client.submit("dream", BRIEF, image=PIXELS)
        status, text = shown(daemon)
        assert {name: status["queue"][name] for name in ("running", "waiting", "bytes", "limit", "unfetched")} == {
            "running": 1, "waiting": 1, "bytes": 9216, "limit": 64, "unfetched": 0,
        }  # fmt: skip
        jobs = {job["job"]: job for job in status["jobs"]}
        assert [jobs[job.id]["state"] for job in (first, second)] == ["running", "queued"]
        assert jobs[first.id]["kind"] == "dream"
        assert jobs[first.id]["seconds"] >= jobs[second.id]["seconds"] >= 0
        assert "1 running, 1 of at most 64 waiting, 0 MB of pictures" in text
        assert f"{second.id[:8]} dream, queued, 0 before it" in text

        (worker,) = status["workers"]
        assert status["pid"] == (daemon.process and daemon.process.pid)
        for told, pid in ((status["memory"], status["pid"]), (worker["memory"], worker["pid"])):
            assert 0.5 < told / psutil.Process(pid).memory_info().rss < 2
        assert worker["card"] is None
        assert 0 <= worker["silent_seconds"] < 30
        assert "memory    front " in text
        assert ", worker " in text
        assert status["uptime_seconds"] > 0
        assert "up for " in text


def test_refusals_and_failures_are_counted_by_code_and_the_last_told(daemon: Daemon) -> None:
    status, text = shown(daemon)
    assert (status["refusals"], status["failures"], status["last_errors"]) == ({}, {}, [])
    assert "error" not in text
    with daemon.client() as client:
        for _ in range(3):
            refuse(client, steps=-1)
        refuse(client, network="lenet")
        running(client)
        first = daemon.worker()
        first.kill()  # another one begins the job anew
        eventually(lambda: _other(client, first.pid))
        daemon.worker().kill()
        eventually(lambda: client.status()["failures"])
    status, text = shown(daemon)
    assert status["refusals"] == {"bad_params": 3, "unknown_network": 1}
    assert status["failures"] == {"internal": 1}
    assert status["counts"]["refused"] == 4
    assert [(each["code"], each["times"]) for each in status["last_errors"]] == [
        ("internal", 1), ("unknown_network", 1), ("bad_params", 3),
    ]  # fmt: skip
    assert "refused   3 bad_params, 1 unknown_network\n" in text
    assert "failed    1 internal\n" in text
    assert "3 times: steps is -1" in " ".join(text.split())


def _other(client: Client, pid: int) -> bool:
    """Whether another worker than that is at work."""
    worker = client.status()["workers"][0]
    return bool(worker["job"]) and worker["pid"] not in (None, pid)


def test_errors_tell_nothing_of_anybodys_files(daemon: Daemon) -> None:
    secrets = (
        "/home/user/Secret Wedding/cat.png",
        "Z:\\Zoe\\divorce.tif",
        "ipc:///home/user/affair",
        "divorce.jpg",
    )
    with daemon.client() as client:
        for secret in secrets:
            refuse(client, layers=secret)
    told = daemon.run("status", "--json").stdout + daemon.run("status").stdout
    for word in ("zoe", "Zoe", "Secret", "Wedding", "cat", "divorce", "affair"):
        assert word not in told, word
    assert "layers is '<file>'" in told


def test_the_last_errors_are_few_and_short() -> None:
    tally = Tally()
    for number in range(3 * LAST):
        tally.refuse(DreamError("bad_params", f"number {number} " + "x" * 3 * LONGEST))
    tally.fail("internal", f"number {3 * LAST - 2} ")
    told = tally.described()
    assert len(told["last_errors"]) == LAST
    assert all(len(each["message"]) <= LONGEST for each in told["last_errors"])
    assert told["last_errors"][1]["message"].startswith(f"number {3 * LAST - 1} ")
    assert told["refusals"] == {"bad_params": 3 * LAST}


def test_however_much_there_is_to_tell_it_can_be_told(place: Daemon) -> None:
    """All of it has to fit into a header of 64 KiB."""
    place.options = ("--per-client", "64")
    daemon = place.start()
    clients = [Client(daemon.endpoint, start=False, name="ü" * 150) for _ in range(4)]
    running(clients[0])
    for client in clients:
        for _ in range(15):
            client.submit("dream", BRIEF, image=PIXELS)
        for number in range(LAST):
            refuse(client, layers=f"{number}ü" * 300)
    assert len(clients[0].status()["jobs"]) == 61
    for client in clients:
        client.close()


def test_the_log_is_told_by_its_whole_path(place: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    place.options = ("--log", "my.log", "--preload", "")
    with place.start().client() as client:
        assert client.status()["log"] == str(place.folder / "my.log")
    assert (place.folder / "my.log").is_file()


def test_the_docs_tell_every_key(daemon: Daemon) -> None:
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", text.split("## Is it well?")[0], re.MULTILINE)
    told = {key: meaning for keys, meaning in rows for key in re.findall(r"`(\w+)`", keys)}
    with daemon.client() as client:
        running(client)
        status = client.status()
    assert set(told) == set(status)
    for name in ("queue", "jobs", "workers"):
        (example, *_) = [status[name]] if name == "queue" else status[name]
        named = set(re.findall(r"`(\w+)`", told[name]))
        assert named <= set(example), name


def test_memory_is_told_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        for platform in ("linux", "darwin"):  # which asks ps
            monkeypatch.setattr(ram.sys, "platform", platform)
            found = ram.resident(os.getpid())
            assert found is not None
            assert 0.5 < found / psutil.Process().memory_info().rss < 2
    finally:
        process.communicate()
    for platform in ("linux", "darwin"):
        monkeypatch.setattr(ram.sys, "platform", platform)
        assert ram.resident(process.pid) is None  # it has ended
    monkeypatch.setattr(ram.sys, "platform", "win32")
    assert ram.resident(os.getpid()) is None
    assert telling.size(None) == "not told by this system"


def test_the_memory_of_a_card_is_told(monkeypatch: pytest.MonkeyPatch, shared_daemon: Daemon) -> None:
    assert devices.card_memory(torch.device("cpu")) is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (6_000_000_000, 8_000_000_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 400_000_000)
    card = devices.card_memory(torch.device("cuda"))
    assert card == {"total": 8_000_000_000, "free": 6_000_000_000, "ours": 400_000_000}
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 10_000_000_000)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 1_000_000_000)
    card = devices.card_memory(torch.device("mps"))
    assert card == {"total": 10_000_000_000, "free": 9_000_000_000, "ours": 1_000_000_000}
    with shared_daemon.client() as client:
        status = client.status()
    status["workers"][0]["card"] = card
    assert dict(telling.told(status))["memory"].endswith(", card 1.0 GB of 10.0 GB, 9.0 GB free")

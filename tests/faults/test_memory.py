"""Memory runs out, by a limit on the worker: less is used, and said to be, or the job fails with a reason."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from dreamd import ram
from dreamd.supervisor import ENVIRONMENT
from dreamwire.client import Client, Done
from dreamwire.errors import DreamError
from jobs_sent import BRIEF, dreamt, eventually, image, last, picture
from real_daemon import Daemon

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of other processes are Linux's")

LARGE, LARGER = picture(1000, 1000), picture(1500, 1500)
PARAMS = BRIEF | {"layers": "blocks.4", "precision": "float32"}


@pytest.fixture
def limit(daemon: Daemon) -> Callable[[float], None]:
    """Has the next worker take no more than so many megabytes beyond what one has that is idle."""
    assert daemon.process is not None
    front = psutil.Process(daemon.process.pid)  # whose limits its processes have too
    with daemon.client() as client:
        dreamt(client, precision="float32")
    idle = _data(daemon.worker().pid)

    def limit(megabytes: float) -> None:
        most = resource.RLIM_INFINITY if megabytes == math.inf else idle + int(megabytes * 2**20)
        front.rlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
        with daemon.client() as client:
            pid = client.status()["workers"][0]["pid"]
        if pid:
            psutil.Process(pid).kill()
            eventually(lambda: f"worker {pid} died" in daemon.log, "word of its end")

    return limit


def _data(pid: int) -> int:
    """What a process has of what RLIMIT_DATA limits, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmData:"))) << 10


def made(client: Client, pixels: NDArray[np.uint8] = LARGE, **params: Any) -> Done:
    return last(client.submit("dream", PARAMS | params, image=image(pixels)))


def pixels(done: Done) -> Any:
    return np.frombuffer(done.frames[0], np.uint8).astype(int)


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of processes, made for the test."""
    for root in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        folder = root / f"deep-dream-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            folder.mkdir()
            if any((folder / name).exists() for name in ("memory.limit_in_bytes", "memory.max")):
                break
            folder.rmdir()
    else:
        pytest.skip("this user may make no control group for memory")
    yield folder
    eventually(lambda: not (folder / "cgroup.procs").read_text(), "the end of all its processes")
    folder.rmdir()


def test_a_worker_that_the_system_ends_for_want_of_memory_is_followed_by_one_that_spares(
    group: Path, place: Daemon
) -> None:
    """The job still ends with a picture."""
    with place.start().client() as client:
        dreamt(client)
        worker = place.worker()
        (group / "cgroup.procs").write_text(str(worker.pid))
        limit = "memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes"
        (group / limit).write_text(str(60 << 20))  # what it has already counts elsewhere
        done = made(client, window=1024)
        assert done.info["degraded"] == ["the window was reduced to 256 px"]
        status = client.status()
        assert status["workers"][0]["starts"] == 2
        assert status["counts"].get("failed", 0) == 0
    assert f"worker {worker.pid} died with signal 9" in place.log


def test_under_a_limit_windows_are_halved_until_they_fit_and_the_picture_is_the_same(
    daemon: Daemon, limit: Callable[[float], None]
) -> None:
    with daemon.client() as client:
        limit(750)
        done = made(client, LARGER, window=1536)
        assert done.info["degraded"][-1].startswith("the window was reduced to ")
        limit(math.inf)
        unlimited = made(client, LARGER, window=1536)
        assert unlimited.info["degraded"] == []
        assert np.abs(pixels(done) - pixels(unlimited)).max() <= 1


def test_where_nothing_helps_the_job_fails_with_advice_and_the_next_one_is_done(
    daemon: Daemon, limit: Callable[[float], None]
) -> None:
    with daemon.client() as client:
        limit(10)
        with pytest.raises(DreamError, match="memory") as caught:
            made(client, window=1024)
        assert caught.value.code == "out_of_memory"
        client.ping()
        limit(math.inf)
        assert made(client, window=1024).info["degraded"] == []


def test_the_worker_goes_before_an_editor_when_the_machine_has_no_memory_left(daemon: Daemon) -> None:
    with daemon.client() as client:
        dreamt(client)
    scores = [
        int(Path(f"/proc/{process.pid}/oom_score_adj").read_text())
        for process in (daemon.worker(), psutil.Process(daemon.process.pid if daemon.process else 0))
    ]
    assert scores[0] > scores[1] == int(Path("/proc/self/oom_score_adj").read_text())


def test_limits_set_by_the_user_by_systemd_and_by_containers_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = ram.allowed()
    monkeypatch.setattr(ram, "CGROUPS", tmp_path)
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    _, controllers, path = next(line.split(":", 2) for line in lines if line.split(":")[1] in ("", "memory"))
    root, file = (tmp_path / "memory", "memory.limit_in_bytes") if controllers else (tmp_path, "memory.max")
    group = root / path.lstrip("/")
    group.mkdir(parents=True, exist_ok=True)
    (group / file).write_text("max\n")
    assert ram.allowed() >= machine
    (root / file).write_text(f"{64 << 20}\n")
    assert ram.allowed() == 64 << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, hard))
    try:
        (root / file).unlink()
        assert ram.allowed() == min(1 << 40, ram._machine())
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


#: Takes 400 MB in pieces, between which something stays, and lets go of them; prints what it has then, and later.
HOARDING = """
import os, torch
from dreamd import ram
from dreamd.supervisor import ENVIRONMENT
pieces = [(torch.ones(1 << 20), torch.ones(1 << 10)) for _ in range(100)]
kept = [small for _, small in pieces]
del pieces
found = [ram.resident(os.getpid())]
for most in (found[0] + (1 << 20), found[0] - (1 << 20)):
    ram.give_back_beyond(most)
    found.append(ram.resident(os.getpid()))
print(*found)
"""


def test_what_a_large_picture_has_taken_is_given_back_and_what_a_small_one_has_is_kept() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOARDING],
        env=ENVIRONMENT | dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    before, kept, given_back = map(int, done.stdout.split())
    assert kept == pytest.approx(before, abs=1 << 24)
    assert given_back < before - (300 << 20)

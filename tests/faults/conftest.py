"""Faults that are done for real, to a daemon of the test's own: `--long` does more of them, and measures.

What is measured then is printed at the end, for docs/reliability.md.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from real_daemon import Daemon


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if terminalreporter.config.getoption("--long"):
        for report in terminalreporter.getreports("passed"):
            for what, figure in report.user_properties:
                terminalreporter.write_line(f"| {what} | {figure} |")


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether there is time."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Keeps what was measured."""
    return record_property


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Daemon], Daemon]:
    """Makes a daemon the user's own, which clients in this process start where it is missing."""

    def use(daemon: Daemon) -> Daemon:
        for name, value in daemon.environment.items():
            monkeypatch.setenv(name, value)
        return daemon

    return use


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB and 200 files."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    size = "size=2m,nr_inodes=200,mode=700"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this container may not mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def stop() -> Iterator[Callable[[int], None]]:
    """Stops processes by their ids, as a suspended machine does; those that are left go on after the test."""
    stopped: list[int] = []

    def stop(pid: int) -> None:
        stopped.append(pid)
        os.kill(pid, signal.SIGSTOP)

    yield stop
    for pid in stopped:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue

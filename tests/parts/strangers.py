"""Somebody else on this machine: programs run as a user who is neither we nor root."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

#: A user that every system has, and that owns nothing.
NOBODY = 65534

as_root = pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to be somebody else")

#: All that a stranger's program needs is imported first: our Python may lie where nobody else can read.
BECOME = f"""
import sys
sys.path[:0] = {sys.path!r}
import ctypes, encodings.ascii, encodings.idna, json, os, socket, stat, time
from pathlib import Path
import zmq
from dreamwire import client, messages, transport
arguments = sys.argv[1:]
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
"""


def run(program: str, *arguments: object, status: int = 0) -> str:
    """What a program prints that somebody else runs, with its `arguments` as a list of that name."""
    done = subprocess.run(
        [sys.executable, "-c", BECOME + program, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout


@contextlib.contextmanager
def running(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The same while it runs, from its first line on."""
    process = subprocess.Popen(
        [sys.executable, "-c", BECOME + program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, cwd="/"
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == "ready"
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def open_to_all(folder: Path) -> Path:
    """A folder that everybody may enter and write in, as /tmp would be without its sticky bit."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    return folder

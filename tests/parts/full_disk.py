"""Disks that are full, and then have room again."""

from __future__ import annotations

import subprocess
from pathlib import Path


def fill(disk: Path) -> Path:
    """Writes until nothing more fits; the file to be removed for room."""
    full = disk / "full"
    try:
        with full.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 12)):
                pass
    except OSError:
        return full
    raise AssertionError("it takes any amount")


def no_more_files(disk: Path) -> Path:
    """Takes all that a disk has for the names of files; the folder to be removed for room."""
    taken = disk / "files"
    taken.mkdir(exist_ok=True)
    try:
        for number in range(100_000):
            (taken / str(number)).touch()
    except OSError:
        return taken
    raise AssertionError("it takes any number of files")


def enlarge(disk: Path) -> None:
    """Gives it room for a network."""
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)

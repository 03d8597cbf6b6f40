"""What a fuzzer finds by following the branches that its data takes: nothing that is not refused as it should be.

What it has found on its way, kept in `corpus`, is tried again everywhere; the fuzzing itself needs atheris.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fuzz
from rubbish import CORPUS

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris cannot be had for this Python and system: it comes for Linux on x86-64 alone",
)
#: Of each target, how often data is made up for it, in the short form and in the long one.
RUNS = {"messages": (20_000, 1_000_000), "images": (3_000, 100_000)}
#: Bytes of all of the corpus, and of the largest file in it.
SMALL, SMALLEST = 200_000, 5_000


def fuzzed(target: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of the fuzzer. Data that takes longer than 20 s, or more than a gigabyte, is a fault too."""
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [
            # Started by a small process: Linux counts in what the one that starts it has had itself.
            "sh", "-c", '"$@"; exit $?', "sh",
            sys.executable, fuzz.__file__, target, str(folder), "-seed=1", "-timeout=20", "-rss_limit_mb=1024",
            f"-artifact_prefix={folder.parent}/", *arguments,
        ],
        env=os.environ | fuzz.ENVIRONMENT, cwd=folder.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.timeout(3000)
@needs_atheris
@pytest.mark.parametrize("target", RUNS)
def test_fuzzing_finds_nothing(
    target: str, tmp_path: Path, long: bool, figure: Callable[[str, str], None]
) -> None:
    shutil.copytree(CORPUS / target, tmp_path / "corpus")
    runs = RUNS[target][long]
    done = fuzzed(target, tmp_path / "corpus", f"-runs={runs}")
    assert done.returncode == 0, done.stderr[-4000:]
    begun, ended = (
        int(found[1])
        for found in (re.search(rf"{mark}\s+cov: (\d+)", done.stderr) for mark in ("INITED", "DONE"))
        if found
    )
    assert 100 < begun <= ended, "the branches are not looked at"
    figure(f"fuzzing: {runs} made up of {target}", f"{begun} branches at first, {ended} at the end, no fault")


PLANTED = """
def check_data(data):
    if data[:1] == b"b":
        if data[1:2] == b"u":
            if data[2:3] == b"g":
                raise AssertionError("planted")
"""


@needs_atheris
def test_fuzzing_finds_a_fault_that_was_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By chance it would be met once in sixteen million times."""
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = fuzzed("planted", tmp_path / "corpus", "-runs=1000000")
    assert done.returncode != 0
    assert "AssertionError: planted" in done.stderr + done.stdout
    (found,) = tmp_path.glob("crash-*")
    assert found.read_bytes().startswith(b"bug")


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_what_was_found_is_refused_or_understood_still(target: str) -> None:
    check = importlib.import_module(fuzz.TARGETS[target][0]).check_data
    files = sorted((CORPUS / target).iterdir())
    assert len(files) > 5
    for file in files:
        assert check(file.read_bytes()), file.name


def test_the_corpus_stays_small() -> None:
    sizes = [file.stat().st_size for file in CORPUS.rglob("*") if file.is_file()]
    assert sum(sizes) < SMALL
    assert max(sizes) < SMALLEST

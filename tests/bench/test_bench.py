"""The benchmark measures everything that it says, at a size of no meaning; how long things take is not judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def test_everything_is_measured(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "tests.bench", "--quick", "--device", "cpu", "--json", str(tmp_path / "bench.json"),
        "--networks", "googlenet:inception3a", "--sizes", "64x48", "--pictures", "64x48", "--repeats", "1",
        "--rounds", "2", "--large", "96x64",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench.json").read_text())

    assert [row["way"] for row in report["steps"]] == ["plain", "float32", "bfloat16"]
    for row in report["steps"]:
        assert row["step"]["median_ms"] >= row["step"]["minimum_ms"] > 0
        assert row["peak_mb"] > 50
        assert f"{row['network']} {row['layer']} 64x48" in done.stdout
    assert [dream["way"] for dream in report["dreams"]] == ["float32", "bfloat16"]
    for dream in report["dreams"]:
        assert set(dream["percent"]) == {"gradient", "normalise", "the rest"}
        assert sum(dream["percent"].values()) == pytest.approx(100)
        assert all(percent > 0 for percent in dream["percent"].values())
    (large,) = report["card"]  # a card would be measured in this way too
    assert large["first_s"] > 0 < large["again_s"]
    assert large["windows_per_s"] == pytest.approx(40 / large["again_s"])
    assert large["share"] == pytest.approx(large["tera_per_s"] / large["matrix_tera_per_s"])
    assert large["tera_per_s"] > 0
    assert large["device_name"] in done.stdout
    assert all(rates["step by step"] > 0 for rates in large["windows"].values())
    (job,) = report["jobs"]
    assert job["total_s"] > job["dream_s"] > 0
    assert 0 < job["first_preview_ms"] < 1000 * job["total_s"]
    assert job["previews_percent"] > -100
    assert 0 < report["start_ms"]["welcome"] < report["start_ms"]["first job done"]
    assert [row["way"] for row in report["peer"]] == ["plain", "normal", "draft"]
    assert all(row["seconds"] > 0 and row["objective"] > 0 for row in report["peer"])
    assert min(report["imports_ms"], key=report["imports_ms"].__getitem__) == "python alone"

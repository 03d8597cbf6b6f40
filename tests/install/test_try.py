"""`./install/try`, run as a user runs it, in the checkout's own `.venv` and against a daemon of the test's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dreamd import codec
from dreamd.sample import cloudscape
from real_daemon import Daemon

TRY = Path(__file__).parents[2] / "install" / "try"


def run(place: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TRY, *arguments],
        cwd=place.folder,
        env=os.environ | place.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_picture_the_drawn_cloud_is_dreamt_and_the_next_step_said(place: Daemon) -> None:
    done = run(place)
    assert done.returncode == 0, done.stderr
    pixels, mask = cloudscape()
    dream = codec.read(place.folder / "dream.png").pixels
    assert (dream[mask == 0] == pixels[mask == 0]).all()
    assert (dream[mask == 1] != pixels[mask == 1]).mean() > 0.9
    for said in ("dreaming", "What next", "dream.png"):
        assert said in done.stdout
    assert [file.name for file in place.folder.glob("*.png")] == ["dream.png"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("nothing.png",), "nothing.png"), (("--mask", "m.png"), "needs the IMAGE")],
    ids=["no such picture", "a mask without a picture"],
)
def test_what_cannot_be_dreamt_is_one_line_and_nothing_is_left(
    place: Daemon, arguments: tuple[str, ...], says: str
) -> None:
    failed = run(place, *arguments)
    assert failed.returncode != 0
    assert says in failed.stderr.splitlines()[-1]
    assert not list(place.folder.glob("*.png"))

"""Catalogues by a real daemon and the embedded network: streamed, remembered, cancelled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dreamd import codec
from dreamd.sheet import GAP, LINE, label, sheet
from dreamwire.catalogue import Cache, layers, thumbnails
from dreamwire.client import Image
from dreamwire.messages import Done
from real_daemon import Daemon

BRIEF = {"octaves": 1, "steps": 1}
HEIGHT, WIDTH = 24, 32


@pytest.fixture
def image() -> Image:
    pixels = np.random.default_rng(3).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    return Image(pixels.tobytes(), pixels.shape, "uint8")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "catalogue")


def test_thumbnails_are_what_dream_makes_and_the_second_time_nobody_dreams(
    shared_daemon: Daemon, image: Image, cache: Cache
) -> None:
    entries = layers(BRIEF)[:3]
    with shared_daemon.client() as client:
        first = list(thumbnails(client, image, entries, cache=cache))
        *_, done = client.submit("dream", BRIEF | {"jitter": 8, "layers": "blocks.1"}, image=image)
        assert isinstance(done, Done)
        before = client.status()["counts"]
        again = list(thumbnails(client, image, entries, cache=cache))
        assert client.status()["counts"] == before
    assert [entry for entry, _ in first] == entries
    assert first[1][1] == bytes(done.frames[0])
    assert again == first


def test_what_is_remembered_comes_first(shared_daemon: Daemon, image: Image, cache: Cache) -> None:
    entries = layers(BRIEF)[:3]
    with shared_daemon.client() as client:
        list(thumbnails(client, image, entries[2:], cache=cache))
        assert [entry for entry, _ in thumbnails(client, image, entries, cache=cache)] == [
            entries[2], entries[0], entries[1]
        ]  # fmt: skip


@pytest.mark.parametrize("how", ["closed", "not wanted any more"])
def test_a_catalogue_given_up_leaves_nothing_running(
    shared_daemon: Daemon, image: Image, cache: Cache, how: str
) -> None:
    given_up = False
    entries = [*layers(BRIEF)[:1], *layers({"octaves": 1, "steps": 1000})[1:]]
    with shared_daemon.client() as client:
        stream = thumbnails(client, image, entries, cache=cache, wanted=lambda: not given_up)
        assert next(stream)[0] == entries[0]
        if how == "closed":
            stream.close()
        else:
            given_up = True
            assert list(stream) == []
        # Other tests' jobs, which have ended, are remembered for a while.
        assert not [job for job in client.status()["jobs"] if job["state"] in ("queued", "running")]
        # The connection is as good as new.
        assert len(list(thumbnails(client, image, layers(BRIEF)[1:3], cache=cache))) == 2


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(4).integers(0, 255, (90, 128, 4), np.uint8)
    codec.write(codec.Picture(pixels), tmp_path / "in.png")
    return tmp_path / "in.png"


def test_the_command_writes_a_labelled_sheet_of_all_layers(shared_daemon: Daemon, photo: Path) -> None:
    out = photo.with_name("sheet.png")
    line = ("catalogue", str(photo), "-o", str(out), "--side", "32", "--octaves", "1", "--steps", "1")
    result = shared_daemon.run(*line, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    names = [each["name"] for each in json.loads(result.stdout)["thumbnails"]]
    assert names == [f"blocks.{number}" for number in range(16)]
    page = codec.read(out).pixels
    height, width = 22, 32
    assert page.shape == (GAP + 4 * (height + LINE + GAP), GAP + 4 * (width + GAP), 3)
    bottom, right = page.shape[0] - GAP - LINE, page.shape[1] - GAP - width
    assert (page[bottom : bottom + LINE, right : right + width] == label("blocks.15", width)).all()


def test_the_command_writes_a_folder_of_channels(shared_daemon: Daemon, photo: Path) -> None:
    out = photo.with_name("small")
    line = ("catalogue", str(photo), "-o", f"{out}/", "--channels-of", "blocks.2", "--channels", "3,5-6")
    result = shared_daemon.run(*line, "--side", "32", "--octaves", "1", "--steps", "1")
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(file.name for file in out.iterdir()) == [f"blocks.2-{number}.png" for number in (3, 5, 6)]
    three, five = (codec.read(out / f"blocks.2-{number}.png").pixels for number in (3, 5))
    assert three.shape == (22, 32, 3)
    assert (three != five).any()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--channels", "1"), "--channels-of"),
        (("--side", "8"), "8 is not from 32 to 1024"),
        (("--channels-of", "blocks.99"), "has no layer 'blocks.99'"),
        (("--mask", "none.png"), "no such file"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_dreamt(
    shared_daemon: Daemon, photo: Path, flags: tuple[str, ...], message: str
) -> None:
    result = shared_daemon.run("catalogue", str(photo), "-o", str(photo.with_name("sheet.png")), *flags)
    assert result.returncode in (1, 2)
    assert message in result.stderr
    assert not photo.with_name("sheet.png").exists()


def test_a_label_fits_and_needs_no_font_of_the_system() -> None:
    assert (label("blocks.10", 160) < 128).any()
    long = label("features.denseblock4", 64)
    assert long.shape == (LINE, 64, 1)
    assert (long[:, -2:] > 128).all()


def test_a_sheet_of_gray_pictures_is_gray_and_its_last_row_may_be_short() -> None:
    cells = [(str(number), np.full((6, 8, 1), number, np.uint8)) for number in range(3)]
    page = sheet(cells, 2)
    assert page.shape == (GAP + 2 * (6 + LINE + GAP), GAP + 2 * (8 + GAP), 1)
    assert page[GAP, GAP] == 0
    assert page[GAP + 6 + LINE + GAP, GAP] == 2
    assert (page[GAP + 6 + LINE + GAP :, GAP + 8 + GAP :] == 255).all()

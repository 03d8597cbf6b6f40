"""Sequences that dream and zoom, by a real daemon and the embedded network."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image as Pillow

from dreamd import codec
from dreamwire.client import Image
from dreamwire.crop import crop
from dreamwire.messages import Done
from dreamwire.params import validate
from real_daemon import Daemon

BRIEF = {"octaves": 1, "steps": 1, "layers": "blocks.2"}
FLAGS = ("--octaves", "1", "--steps", "1", "--layers", "blocks.2")
Pixels = NDArray[Any]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    codec.write(codec.Picture(skimage.data.chelsea()[80:128, 120:184]), tmp_path / "in.png")
    return tmp_path / "in.png"


def zoom(daemon: Daemon, photo: Path, out: str, *flags: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return daemon.run("zoom", str(photo), "-o", f"{photo.parent}/{out}", *FLAGS, *flags, **extra)


def frames(folder: Path) -> list[Pixels]:
    files = sorted(folder.glob("frame-*.png"))
    assert [file.name for file in files] == [f"frame-{number:04d}.png" for number in range(1, len(files) + 1)]
    return [codec.read(file).pixels for file in files]


def next_frame(daemon: Daemon, source: Pixels, mask: Pixels | None = None, **params: Any) -> Pixels:
    image, own = (
        None if each is None else Image(each.tobytes(), each.shape, each.dtype.name) for each in (source, mask)
    )
    assert image
    with daemon.client() as client:
        *_, done = client.submit("zoom", BRIEF | params, image=image, mask=own)
    assert isinstance(done, Done)
    top, left, height, width = done.box
    result = source.copy()
    result[top : top + height, left : left + width] = np.frombuffer(done.frames[0], source.dtype).reshape(
        done.outputs[0].shape
    )
    return result


def test_the_command_writes_frames_in_16_bit_the_first_of_which_is_the_picture(
    shared_daemon: Daemon, photo: Path
) -> None:
    result = zoom(shared_daemon, photo, "frames/", "--frames", "3", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert (told["frames"], told["found"]) == (3, 0)
    first, second, third = frames(photo.with_name("frames"))
    assert {each.dtype.name for each in (first, second, third)} == {"uint16"}
    assert np.array_equal(codec.convert(first, "uint8"), codec.read(photo).pixels)
    assert np.array_equal(second, next_frame(shared_daemon, first, seed=2))
    assert np.array_equal(third, next_frame(shared_daemon, second, seed=3))


def test_what_is_shown_comes_nearer(shared_daemon: Daemon) -> None:
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 65, dtype=np.float32)[None, :, None], (40, 65, 3)).copy()
    slope = np.gradient(next_frame(shared_daemon, ramp, zoom=1.5, strength=0.0)[20, 10:-10, 0]).mean()
    assert slope == pytest.approx(0.6 / 64 / 1.5, rel=0.02)


def test_outside_the_region_nothing_changes_and_a_crop_gives_the_bits_of_the_whole(shared_daemon: Daemon) -> None:
    source = np.random.default_rng(5).random((150, 160, 4), np.float32)
    mask = np.zeros((150, 160, 1), np.float32)
    mask[70:90, 80:105] = np.linspace(0, 1, 25, dtype=np.float32)[:, None]
    params = {"zoom": 1.2, "rotation": 10.0}
    whole = next_frame(shared_daemon, source, mask, **params)
    top, left, height, width = crop("zoom", (70, 81, 20, 24), (150, 160), validate("zoom", BRIEF | params))
    part = np.s_[top : top + height, left : left + width]
    assert height < 150
    found = next_frame(shared_daemon, source[part].copy(), mask[part].copy(), **params)
    assert np.array_equal(found.view(np.int32), whole[part].view(np.int32))
    outside = mask[..., 0] == 0
    assert np.array_equal(whole[outside].view(np.int32), source[outside].view(np.int32))
    assert (whole != source)[~outside][:, :3].any(1).mean() > 0.99
    assert np.array_equal(whole[..., 3], source[..., 3])


def test_what_is_transparent_lends_no_colour(shared_daemon: Daemon) -> None:
    source = np.zeros((30, 30, 4), np.float32)
    source[..., 1] = 1  # green, and transparent but for a red square
    source[8:22, 8:22] = 1, 0, 0, 1
    result = next_frame(shared_daemon, source, zoom=1.1, strength=0.0)
    inside = source[..., 3] > 0
    np.testing.assert_allclose(result[inside][:, :3], np.broadcast_to([1.0, 0, 0], (196, 3)), atol=1e-5)
    assert np.array_equal(result[~inside], source[~inside])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_kind_of_picture_down_to_a_pixel(shared_daemon: Daemon, channels: int) -> None:
    for size in ((1, 1), (5, 1), (9, 7)):
        source = np.full((*size, channels), 40000, np.uint16)
        assert next_frame(shared_daemon, source, rotation=20.0).shape == source.shape


def test_it_neither_burns_out_nor_fades(shared_daemon: Daemon, photo: Path) -> None:
    pixels = frame = codec.convert(codec.read(photo).pixels, "uint16")
    for seed in range(12):
        frame = next_frame(shared_daemon, frame, layers="blocks.5", seed=seed, steps=4, step_size=0.02)
    assert 0.7 < frame.std() / pixels.std() < 1.8
    assert ((frame == 0) | (frame == 65535)).mean() < 0.1


def test_after_a_kill_the_same_command_goes_on(daemon: Daemon, photo: Path) -> None:
    """With a daemon of its own, in which a result stays that nobody took."""
    assert zoom(daemon, photo, "whole/", "--frames", "5").returncode == 0
    folder = photo.with_name("killed")
    line = ("zoom", str(photo), "-o", f"{folder}/", *FLAGS, "--frames", "5")
    process = subprocess.Popen(
        [sys.executable, "-m", "dreamd", *line], env=os.environ | daemon.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (folder / "frame-0002.png").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    before = len(frames(folder))
    assert 2 <= before <= 5
    result = daemon.run(*line, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["found"] == before
    for one, other in zip(frames(folder), frames(photo.with_name("whole")), strict=True):
        assert np.array_equal(one, other)


def test_interrupted_it_says_how_to_go_on_and_keeps_the_frames(shared_daemon: Daemon, photo: Path) -> None:
    folder = photo.with_name("out.gif.frames")
    line = ("zoom", str(photo), "-o", str(photo.with_name("out.gif")), *FLAGS)
    process = subprocess.Popen(
        [sys.executable, "-m", "dreamd", *line, "--frames", "9999"], env=os.environ | shared_daemon.environment,
        stderr=subprocess.PIPE, text=True,
        # Whatever started the tests may ignore it, and that would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (folder / "frame-0002.png").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    count = len(frames(folder))
    assert process.returncode == 130
    assert (
        said
        == f"deepdream: Stopped. {count} of 9999 frames are in {folder}; the same command goes on after them.\n"
    )
    assert not photo.with_name("out.gif").exists()
    # A shorter film of what there is; then the frames have done their work.
    result = shared_daemon.run(*line, "--frames", "2", "--fps", "5")
    assert (result.returncode, result.stderr) == (0, "")
    with Pillow.open(photo.with_name("out.gif")) as film:
        assert (film.n_frames, film.size, film.info["duration"], film.info["loop"]) == (2, (64, 48), 200, 0)
    assert not folder.exists()


def test_frames_of_other_settings_are_refused(shared_daemon: Daemon, photo: Path) -> None:
    mask = photo.with_name("mask.png")
    codec.write(codec.Picture(np.full((48, 64, 1), 255, np.uint8)), mask)
    assert zoom(shared_daemon, photo, "frames/", "--frames", "2").returncode == 0
    flags = ("--zoom", "1.2", "--mask", str(mask))
    result = zoom(shared_daemon, photo, "frames/", "--frames", "3", *flags)
    assert result.returncode == 1
    assert "has frames of another sequence (zoom 1.05 instead of 1.2, another mask)" in result.stderr
    assert "delete the folder" in result.stderr
    photo.with_name("frames").joinpath("zoom.json").unlink()
    assert "has frames of another sequence." in zoom(shared_daemon, photo, "frames/", "--frames", "3").stderr
    assert len(frames(photo.with_name("frames"))) == 2


@pytest.mark.parametrize(
    ("out", "flags", "status", "message"),
    [
        ("out.avi", (), 1, ".avi is no film. Name a folder, or use .gif, .mp4, .webm."),
        ("none/out.gif", (), 1, "its folder is missing"),
        ("none/out/", (), 1, "none/out cannot be made"),
        ("out.mp4", (), 1, "Install the package ffmpeg"),
        ("out/", ("--frames", "1"), 2, "frames is 1, but must be a whole number from 2 to 9999"),
        ("out/", ("--zoom", "0.9"), 2, "a number from 1 to 2 x"),
        ("out/", ("--layers", "blocks.99"), 2, "has no layer 'blocks.99'"),
        ("out/", ("--mask", "none.png"), 1, "no such file"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    shared_daemon: Daemon, photo: Path, out: str, flags: tuple[str, ...], status: int, message: str
) -> None:
    result = zoom(shared_daemon, photo, out, *flags, PATH=str(photo.parent))
    assert result.returncode == status
    assert message in result.stderr
    assert [file.name for file in photo.parent.iterdir()] == ["in.png"]


FFMPEG = """#!{python}
import pathlib, sys
found = len(list(pathlib.Path().glob("frame-*.png")))
pathlib.Path(sys.argv[-1]).write_text(" ".join([str(found), *sys.argv[1:]]))
sys.exit(print("Unknown encoder 'libx264'", file=sys.stderr) or 1 if "mp4" in sys.argv else 0)
"""


def test_a_video_is_made_by_ffmpeg_and_frames_are_kept_if_it_cannot(shared_daemon: Daemon, photo: Path) -> None:
    tool = photo.with_name("ffmpeg")
    tool.write_text(FFMPEG.format(python=sys.executable))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    assert zoom(shared_daemon, photo, "out.webm", "--frames", "2", PATH=str(tool.parent)).returncode == 0
    given = photo.with_name("out.webm").read_text()
    assert given.startswith("2 ")
    assert "-framerate 12 -i frame-%04d.png -frames:v 2" in given
    assert not photo.with_name("out.webm.frames").exists()
    result = zoom(shared_daemon, photo, "out.mp4", "--frames", "2", PATH=str(tool.parent))
    assert result.returncode == 1
    assert "ffmpeg could not make the video: Unknown encoder 'libx264'. The frames are kept" in result.stderr
    assert not photo.with_name("out.mp4").exists()
    assert len(frames(photo.with_name("out.mp4.frames"))) == 2

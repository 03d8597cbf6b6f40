"""Pictures from nothing, `visualise` and `fool`: the real command, a real daemon, the embedded network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dreamd import codec
from dreamwire.client import Image, JobCancelledError
from dreamwire.messages import Preview, PreviewIs
from real_daemon import Daemon

Pixels = NDArray[Any]


def told(daemon: Daemon, line: str, folder: Path) -> dict[str, Any]:
    """What a command whose {names} are files in a folder says."""
    result = daemon.run(*words(line, folder), "--json")
    assert (result.returncode, result.stderr) == (0, "")
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def words(line: str, folder: Path) -> list[str]:
    return [re.sub(r"{(.*?)}", lambda match: str(folder / match[1]), word) for word in line.split()]


def noise(height: int = 48, width: int = 64, channels: int = 3) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `in.png`, and `mask.png` of its size, white in the middle."""
    codec.write(codec.Picture(noise()), tmp_path / "in.png")
    mask = np.zeros((48, 64, 1), np.uint8)
    mask[8:40, 12:52] = 255
    codec.write(codec.Picture(mask), tmp_path / "mask.png")
    return tmp_path


def test_a_class_is_seen_in_a_picture_made_from_nothing(shared_daemon: Daemon, folder: Path) -> None:
    done = told(
        shared_daemon,
        "visualise --classes lemon --size 120x100 --steps 40 -o {lemon.png} --preview-dir {frames}",
        folder,
    )
    made = codec.read(folder / "lemon.png").pixels
    assert (made.shape, made.dtype) == ((100, 120, 3), np.dtype("uint8"))
    before, after = done["info"]["classes"]["lemon"]
    assert before < 0.01
    assert after > 0.9
    seen = told(shared_daemon, "classify {lemon.png}", folder)["info"]["seen"][0]
    assert seen["name"] == "lemon"
    assert seen["probability"] == pytest.approx(after, abs=1e-3)
    frames = sorted((folder / "frames").iterdir())
    assert len(frames) > 1
    assert np.array_equal(codec.read(frames[-1]).pixels, made)


def test_a_class_is_shown_alone_and_with_nothing_named_the_default_layer(
    shared_daemon: Daemon, folder: Path
) -> None:
    for what, shown in (("", "blocks.10"), ("--classes lemon", "lemon")):
        done = told(shared_daemon, f"visualise --size 20x20 --steps 1 -o {{out.png}} {what}", folder)
        assert done["info"]["objective"] == shown


@pytest.mark.parametrize("edge", ["blended", "full", "alpha"])
def test_what_is_transparent_is_filled_too(shared_daemon: Daemon, folder: Path, edge: str) -> None:
    """Of a new layer everything is; where the mask is soft, so is what fills it."""
    clear = np.zeros((48, 64, 4), np.uint8)
    clear[:, :32] = (200, 10, 10, 255)  # the left half is opaque
    codec.write(codec.Picture(clear), folder / "clear.png")
    mask = np.zeros((48, 64, 1), np.uint8)
    mask[8:40, 12:52] = 255
    mask[8:16, 12:52] = 102
    codec.write(codec.Picture(mask), folder / "soft.png")
    line = "visualise {clear.png} -o {out.png} --mask {soft.png} --steps 2 --layers blocks.4 --edge"
    told(shared_daemon, f"{line} {edge}", folder)
    made = codec.read(folder / "out.png").pixels
    outside = mask[..., 0] == 0
    assert np.array_equal(made[outside], clear[outside])
    soft = {"blended": (255, 102), "full": (255, 255), "alpha": (102, 102)}[edge]
    assert made[16:40, 12:52, 3].min() == 255
    assert (set(made[8:16, 12:32, 3].ravel()), set(made[8:16, 32:52, 3].ravel())) == ({soft[0]}, {soft[1]})
    # No black of what was transparent shines through.
    assert made[8:16, 32:52, :3].mean() > 60


@pytest.mark.parametrize("what", ["--layers blocks.4 --channels 3", "--layers blocks.4", "--classes tabby"])
def test_a_region_is_filled_and_the_rest_left_alone(shared_daemon: Daemon, folder: Path, what: str) -> None:
    line = f"visualise {{in.png}} -o {{out.png}} --mask {{mask.png}} --steps 2 {what}"
    told(shared_daemon, line, folder)
    source, made = (codec.read(folder / name).pixels for name in ("in.png", "out.png"))
    changed = (source != made).any(2)
    assert changed[8:40, 12:52].mean() > 0.95
    changed[8:40, 12:52] = False
    assert not changed.any()


def test_the_same_seed_gives_the_same_bytes(shared_daemon: Daemon, folder: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        line = f"visualise --classes lemon --size 40x30 --steps 2 --seed {seed} -o {{{name}.png}}"
        told(shared_daemon, line, folder)
    a, b, c = ((folder / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("encoding", ["cppn", "direct"])
def test_the_network_is_beyond_doubt_of_the_file_and_another_is_asked(
    shared_daemon: Daemon, folder: Path, encoding: str
) -> None:
    line = (
        f"fool --classes baseball --encoding {encoding} --size 96x80 --against efficientnet_lite1 -o {{out.png}}"
    )
    done = told(shared_daemon, line, folder)
    before, after = done["info"]["classes"]["baseball"]
    assert before < 0.01
    assert after >= 0.995
    seen = told(shared_daemon, "classify {out.png}", folder)["info"]["seen"][0]
    assert seen["name"] == "baseball"
    assert seen["probability"] == pytest.approx(after, abs=1e-4)
    (verdict,) = done["info"]["fool"]["verdicts"]
    assert verdict["network"] == "efficientnet_lite1"
    other = told(shared_daemon, "classify {out.png} --network efficientnet_lite1", folder)["info"]["seen"][0]
    assert verdict["after"]["name"] == other["name"]


def test_a_region_fools_within_its_surroundings(shared_daemon: Daemon, folder: Path) -> None:
    line = "fool {in.png} -o {out.png} --mask {mask.png} --classes lemon --encoding direct --confidence 0.7"
    told(shared_daemon, line, folder)
    source, made = (codec.read(folder / name).pixels for name in ("in.png", "out.png"))
    outside = codec.read(folder / "mask.png").pixels[..., 0] == 0
    assert np.array_equal(source[outside], made[outside])
    seen = told(shared_daemon, "classify {out.png} --mask {mask.png}", folder)["info"]["seen"][0]
    assert seen["name"] == "lemon"
    assert seen["probability"] >= 0.7


def test_the_command_says_what_was_reached(shared_daemon: Daemon, folder: Path) -> None:
    result = shared_daemon.run(
        *words("fool --classes lemon --encoding direct --size 64x64 --confidence 0.5 -o {out.png}", folder)
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "Made 100% of 64x64 pixels with lemon of efficientnet_lite0" in result.stdout
    assert "To the network the region is lemon with" in result.stdout
    assert re.search(r"To efficientnet_lite\d the region was .*; now it is ", result.stdout)


@pytest.mark.parametrize(("kind", "params"), [("visualise", {}), ("fool", {"classes": "lemon"})])
def test_previews_come_and_a_job_is_cancelled_on_its_way(
    shared_daemon: Daemon, kind: str, params: dict[str, Any]
) -> None:
    source = noise(64, 64)
    endless = params | {"steps": 1000} | ({"confidence": 0.999} if kind == "fool" else {})
    with shared_daemon.client() as client:
        job = client.submit(
            kind, endless, image=Image(source.tobytes(), source.shape, "uint8"), preview=Preview(interval_ms=20)
        )
        for event in job:
            if isinstance(event, PreviewIs):
                break
        assert isinstance(event, PreviewIs)
        assert event.array.shape == (64, 64, 3)
        job.cancel()
        with pytest.raises(JobCancelledError):
            list(job)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("kind", "params"),
    [("visualise", {"steps": 1}), ("fool", {"classes": "lemon", "confidence": 0.0, "encoding": "direct"})],
)
def test_every_kind_of_picture_is_filled(
    shared_daemon: Daemon, kind: str, params: dict[str, Any], channels: int, dtype: str
) -> None:
    source = noise(7, 9, channels).astype(dtype)
    source[..., -1] = 255 if dtype == "uint8" else 1
    with shared_daemon.client() as client:
        *_, done = client.submit(kind, params, image=Image(source.tobytes(), source.shape, dtype))
    result = np.frombuffer(done.frames[0], dtype).reshape(source.shape)
    assert not np.array_equal(result, source)
    assert np.isfinite(result).all()
    if channels in (2, 4):
        assert np.array_equal(result[..., -1], source[..., -1])


# Bad input


BAD = {
    "no class to fool with": ("fool --size 64x64 -o {out.png}", 2, "`deepdream classes WORD` searches them"),
    "two classes": ("fool --classes lemon+tabby -o {out.png}", 2, "must be the one class"),
    "an unknown class": ("visualise --classes lemming -o {out.png}", 2, "no class called 'lemming'"),
    "an unknown layer": ("visualise --layers blocks.99 -o {out.png}", 2, "`deepdream layers "),
    "ranked channels": (
        "visualise --layers blocks.4 --channels strongest/5 -o {out.png}", 2, "nothing is looked at"
    ),
    "a size and a picture": ("visualise {in.png} --size 64x64 -o {out.png}", 2, "has a size of its own"),
    "a size in words": ("visualise --size large -o {out.png}", 2, "such as 640x480"),
    "no width": ("visualise --size 0x10 -o {out.png}", 2, "such as 640x480"),
    "a huge size": ("visualise --size 90000x90000 -o {out.png}", 1, "more than 400 megapixels"),
    "a size too large for the daemon": ("visualise --size 16000x12000 -o {out.png}", 1, "megapixels"),
    "a mask of another size": ("visualise --size 20x20 --mask {mask.png} -o {out.png}", 1, "64×48"),
    "no alpha": ("visualise --size 20x20 --mask alpha -o {out.png}", 1, "no alpha"),
    "a region too small": (
        "fool --classes lemon --size 1x1 --steps 3 -o {out.png}", 1, "another seed or encoding, or a larger region"
    ),
    "a network that is not here": (
        "fool --classes lemon --against googlenet -o {out.png}", 1, "`deepdream pull googlenet`"
    ),
    "the network itself": ("fool --classes lemon --against efficientnet_lite0 -o {out.png}", 2, "name another"),
    "things too large": ("visualise --thing-size 9 -o {out.png}", 2, "0.25 to 2"),
    "no picture for what needs one": ("dream -o {out.png}", 2, "IN"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_what_to_do_and_leaves_nothing(
    shared_daemon: Daemon, folder: Path, name: str
) -> None:
    line, code, message = BAD[name]
    result = shared_daemon.run(
        *(word.replace("/", " ") if word == "strongest/5" else word for word in words(line, folder))
    )
    assert result.returncode == code
    assert re.fullmatch(r"deepdream: [^\n]+\n", result.stderr), result.stderr
    assert message in result.stderr
    assert not (folder / "out.png").exists()

"""What the network sees in a photograph, and where, by a real daemon and the embedded network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from dreamd import codec
from dreamwire.classes import class_name
from dreamwire.client import Client, Image, Job, JobCancelledError, Preview
from dreamwire.crop import crop
from dreamwire.errors import DreamError
from dreamwire.messages import Done, PreviewIs
from dreamwire.params import validate
from real_daemon import Daemon

CATS = ("tabby", "tiger cat", "Egyptian cat")
Pixels = NDArray[Any]


def small(photograph: Pixels) -> Pixels:
    """Most of a photograph, 220 pixels wide and 149 high."""
    return codec.reduced(codec.Picture(photograph), 225).pixels[:149, :220]


#: A cat, and beside it an espresso.
BOTH = np.concatenate([small(skimage.data.chelsea()), small(skimage.data.coffee())], axis=1)
LEFT, RIGHT = np.s_[:, :220], np.s_[:, 220:]


def region(index: tuple[slice, slice], size: tuple[int, int]) -> Pixels:
    mask = np.zeros((*size, 1), np.float32)
    mask[index] = 1
    return mask


def image(pixels: Pixels) -> Image:
    return Image(pixels.tobytes(), pixels.shape, pixels.dtype.name)


def ended(client: Client, kind: str, pixels: Pixels, mask: Pixels | None = None, **params: Any) -> Done:
    *_, done = client.submit(kind, params, image=image(pixels), mask=None if mask is None else image(mask))
    assert isinstance(done, Done)
    return done


def seen(client: Client, pixels: Pixels, mask: Pixels | None = None, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ended(client, "classify", pixels, mask, **params).info["seen"]
    return found


def noise(height: int, width: int, channels: int = 3, dtype: str = "float32") -> Pixels:
    values = np.random.default_rng(5).random((height, width, channels), np.float32)
    return 3 * values - 1 if dtype == "float32" else codec.convert(values, dtype)


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A folder with `in.png`, and `left.png` and `right.png`, which select the cat and the espresso."""
    codec.write(codec.Picture(BOTH), tmp_path / "in.png")
    for name, index in (("left", LEFT), ("right", RIGHT)):
        mask = codec.convert(region(index, BOTH.shape[:2]), "uint8")
        codec.write(codec.Picture(mask), tmp_path / f"{name}.png")
    return tmp_path


def test_the_command_draws_five_bars(shared_daemon: Daemon, both: Path) -> None:
    before = sorted(both.iterdir())
    result = shared_daemon.run(
        "classify", str(both / "in.png"), "--mask", str(both / "left.png"), PYTHONIOENCODING="utf-8"
    )
    assert (result.returncode, result.stderr) == (0, "")
    first, *lines = result.stdout.splitlines()
    assert first.startswith("Looked at 50% of 440x149 pixels with efficientnet_lite0")
    assert len(lines) == 5
    names = [line.split("  ")[0] for line in lines]
    assert names[0] in CATS
    assert len({line.index("%") for line in lines}) == 1
    lengths = [line.count("█") for line in lines]
    assert lengths == sorted(lengths, reverse=True)
    assert 10 < lengths[0] <= 24
    assert sorted(both.iterdir()) == before


def test_terminals_without_blocks_get_plain_bars(shared_daemon: Daemon, both: Path) -> None:
    result = shared_daemon.run("classify", str(both / "in.png"), PYTHONIOENCODING="ascii")
    assert result.stdout.splitlines()[1].endswith("####")


def test_programs_get_numbers(shared_daemon: Daemon, both: Path) -> None:
    result = shared_daemon.run(
        "classify", str(both / "in.png"), "--mask", str(both / "right.png"), "--top", "3", "--json"
    )
    answer = json.loads(result.stdout)
    assert answer["output"] is None
    found = answer["info"]["seen"]
    assert [each["name"] for each in found] == [class_name(each["number"]) for each in found]
    assert found[0]["name"] == "espresso"
    shares = [each["probability"] for each in found]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1


def test_a_report_has_no_pixels_and_a_command_for_it_no_output(shared_daemon: Daemon, both: Path) -> None:
    with shared_daemon.client() as client:
        done = ended(client, "classify", BOTH)
    assert (done.outputs, done.frames) == ((), ())
    result = shared_daemon.run("classify", str(both / "in.png"), "-o", str(both / "out.png"))
    assert result.returncode == 2
    assert "takes no '-o'" in result.stderr


def test_the_region_is_what_is_looked_at(shared_daemon: Daemon) -> None:
    with shared_daemon.client() as client:
        cat, coffee = (seen(client, BOTH, region(side, BOTH.shape[:2]))[0]["name"] for side in (LEFT, RIGHT))
        transparent = np.concatenate([BOTH, codec.convert(region(RIGHT, BOTH.shape[:2]), "uint8")], axis=2)
        assert seen(client, transparent)[0]["name"] == coffee == "espresso"
    assert cat in CATS


@pytest.mark.parametrize("kind", ["classify", "saliency"])
def test_a_crop_gives_what_the_whole_gives(shared_daemon: Daemon, kind: str) -> None:
    pixels, box = noise(300, 320, dtype="uint8"), (130, 150, 40, 50)
    mask = region(np.s_[130:170, 150:200], (300, 320))
    params = {} if kind == "classify" else {"samples": 1}
    top, left, height, width = crop(kind, box, (300, 320), validate(kind, params))
    part = np.s_[top : top + height, left : left + width]
    assert height * width < 100 * 100
    with shared_daemon.client() as client:
        whole = ended(client, kind, pixels, mask, **params)
        found = ended(client, kind, pixels[part], mask[part], **params)
    assert found.info | {"seconds": 0} == whole.info | {"seconds": 0}
    assert [bytes(frame) for frame in found.frames] == [bytes(frame) for frame in whole.frames]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("size", [(1, 1), (2, 60)])
def test_every_kind_of_picture_is_seen_and_mapped(
    shared_daemon: Daemon, channels: int, dtype: str, size: tuple[int, int]
) -> None:
    pixels = noise(*size, channels, dtype)
    if channels in (2, 4):
        pixels[..., -1] = np.ones(1, dtype)[0] * {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    with shared_daemon.client() as client:
        assert len(seen(client, pixels, top=2)) == 2
        done = ended(client, "saliency", pixels, method="smooth", samples=1)
    assert (done.outputs[0].dtype, done.outputs[0].shape) == (dtype, (*size, 1))


def mapped(client: Client, pixels: Pixels, mask: Pixels | None = None, **params: Any) -> Pixels:
    done = ended(client, "saliency", pixels, mask, **params)
    return np.frombuffer(done.frames[0], pixels.dtype).reshape(done.outputs[0].shape)


@pytest.mark.parametrize("method", ["cam", "smooth"])
def test_of_two_things_the_one_asked_for_is_white(shared_daemon: Daemon, method: str) -> None:
    with shared_daemon.client() as client:
        cat, coffee = (
            mapped(client, BOTH, classes=name, method=method, samples=4).astype(float)
            for name in ("Egyptian cat", "espresso")
        )
    assert cat[LEFT].mean() > 2 * cat[RIGHT].mean()
    assert coffee[RIGHT].mean() > 2 * coffee[LEFT].mean()
    assert cat.max() == coffee.max() == 255


def test_unless_a_class_is_named_what_is_seen_most_is_looked_for(shared_daemon: Daemon) -> None:
    with shared_daemon.client() as client:
        cat = region(LEFT, BOTH.shape[:2])
        first = seen(client, BOTH, cat, top=1)
        done = ended(client, "saliency", BOTH, cat, method="gradient", precision="float32")
    assert done.info["looked_for"] == first


def test_the_command_writes_a_gray_map_and_what_led_to_it(shared_daemon: Daemon, both: Path) -> None:
    out, frames = both / "out.png", both / "frames"
    result = shared_daemon.run(
        *("saliency", str(both / "in.png"), "-o", str(out), "--mask", str(both / "right.png")),
        *("--method", "smooth", "--samples", "5", "--preview-dir", str(frames)),
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "White is where the network sees espresso with" in result.stdout
    found = codec.read(out).pixels
    assert (found.shape, found.dtype) == ((149, 440, 1), np.uint8)
    assert found[RIGHT].max() == 255
    assert not found[LEFT].any()
    made = sorted(frames.iterdir())
    assert len(made) > 1
    assert np.array_equal(codec.read(made[-1]).pixels, found)


def test_where_nothing_speaks_for_a_class_that_is_said(shared_daemon: Daemon) -> None:
    cat = region(np.s_[40:110, 60:150], BOTH.shape[:2])
    with shared_daemon.client() as client, pytest.raises(DreamError, match="speaks for Egyptian cat") as caught:
        mapped(client, BOTH, cat, classes="Egyptian cat*-1", samples=1)
    assert caught.value.code == "bad_input"
    assert "smooth" in caught.value.message


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"classes": "espreso"}, "did you mean espresso"),
        ({"method": "eye"}, "cam, smooth, gradient"),
        ({"samples": 0}, "1 to 400"),
    ],
)
def test_what_cannot_be_is_refused_at_once(shared_daemon: Daemon, params: dict[str, Any], message: str) -> None:
    with shared_daemon.client() as client, pytest.raises(DreamError, match=message) as caught:
        client.submit("saliency", params, image=image(BOTH))
    assert caught.value.code == "bad_params"


@pytest.mark.parametrize("kind", ["classify", "saliency"])
def test_an_empty_region_is_an_error(shared_daemon: Daemon, kind: str) -> None:
    with shared_daemon.client() as client, pytest.raises(DreamError, match="the mask is empty"):
        ended(client, kind, BOTH, region(np.s_[:0, :0], BOTH.shape[:2]))


def cancelled_at_the_first_preview(job: Job) -> Iterator[tuple[int, ...]]:
    """The shapes of the previews that come before the job's end."""
    for event in job:
        if isinstance(event, PreviewIs):
            yield event.array.shape
            job.cancel()


def test_a_map_is_cancelled_between_two_samples(shared_daemon: Daemon) -> None:
    with shared_daemon.client() as client:
        job = client.submit(
            "saliency", {"method": "smooth", "samples": 400}, image=image(BOTH), preview=Preview(interval_ms=20)
        )
        shapes = cancelled_at_the_first_preview(job)
        assert next(shapes) == (149, 440, 1)
        with pytest.raises(JobCancelledError):
            list(shapes)

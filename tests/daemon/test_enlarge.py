"""Enlarged pictures with dreamt detail, by a real daemon and the embedded network."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray

from dreamd import codec
from dreamd.core.resample import lanczos
from dreamwire.client import Client, Image
from dreamwire.crop import crop
from dreamwire.errors import DreamError
from dreamwire.messages import Done
from dreamwire.params import result_size, validate
from real_daemon import Daemon

BRIEF = {"layers": "blocks.2", "octaves": 1, "steps": 1, "jitter": 4}
Pixels = NDArray[Any]


def noise(height: int, width: int, channels: int = 3, dtype: str = "float32") -> Pixels:
    values = np.random.default_rng(5).random((height, width, channels), np.float32)
    return values if dtype == "float32" else (values * 255).astype(dtype)


def image(pixels: Pixels) -> Image:
    return Image(pixels.tobytes(), pixels.shape, pixels.dtype.name)


def enlarged(client: Client, source: Pixels, mask: Pixels | None = None, **params: Any) -> Pixels:
    *_, done = client.submit(
        "enlarge", BRIEF | params, image=image(source), mask=None if mask is None else image(mask)
    )
    assert isinstance(done, Done)
    assert done.box == (0, 0, *done.outputs[0].shape[:2])
    return np.frombuffer(done.frames[0], source.dtype).reshape(done.outputs[0].shape)


def by_lanczos(source: Pixels, scale: float) -> Pixels:
    return lanczos(torch.from_numpy(source).permute(2, 0, 1), Fraction(scale)).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("scale", [2.0, 1.5])
def test_outside_the_region_there_is_plain_lanczos(shared_daemon: Daemon, scale: float) -> None:
    source, mask = noise(40, 50), np.zeros((40, 50, 1), np.float32)
    mask[10:20, 15:30] = 1
    with shared_daemon.client() as client:
        result = enlarged(client, source, mask, scale=scale)
    plain = by_lanczos(source, scale)
    assert result.shape == plain.shape == (40 * scale, 50 * scale, 3)
    changed = (result != plain).any(2)
    inside = np.zeros_like(changed)
    inside[int(9 * scale) : int(21 * scale), int(14 * scale) : int(31 * scale)] = True
    assert changed[inside].mean() > 0.7
    assert not changed[~inside].any()


@pytest.mark.parametrize("scale", [2.0, 1.5, 7 / 3])
def test_a_crop_with_its_context_gives_the_bits_of_the_whole(shared_daemon: Daemon, scale: float) -> None:
    source, mask = noise(150, 160), np.zeros((150, 160, 1), np.float32)
    region = (70, 80, 12, 15)
    mask[70:82, 80:95] = 1
    params = BRIEF | {"scale": scale}
    values = validate("enlarge", params)
    top, left, height, width = crop("enlarge", region, (150, 160), values)
    part = np.s_[top : top + height, left : left + width]
    assert height < 150
    assert width < 160
    with shared_daemon.client() as client:
        whole = enlarged(client, source, mask, **params)
        found = enlarged(client, source[part], mask[part], **params)
    assert found.shape[:2] == result_size(values, (height, width))
    down, right = result_size(values, (top, left))
    near = int(60 * scale), int(94 * scale), int(70 * scale), int(105 * scale)
    one = whole[near[0] : near[1], near[2] : near[3]]
    other = found[near[0] - down : near[1] - down, near[2] - right : near[3] - right]
    assert np.array_equal(one.view(np.int32), other.view(np.int32))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_every_kind_of_picture_is_enlarged(shared_daemon: Daemon, channels: int, dtype: str) -> None:
    with shared_daemon.client() as client:
        assert enlarged(client, noise(9, 7, channels, dtype), scale=2.5).shape == (22, 17, channels)
        assert enlarged(client, noise(1, 1, channels, dtype) * 0 + 1, scale=4.0).shape == (4, 4, channels)


def test_what_is_transparent_lends_its_neighbours_no_colour(shared_daemon: Daemon) -> None:
    source = np.zeros((20, 20, 4), np.float32)
    source[..., 1] = 1  # green, and transparent but for a red square
    source[5:15, 5:15] = 1, 0, 0, 1
    with shared_daemon.client() as client:
        result = enlarged(client, source, scale=3.0, strength=0.0)
    seen = result[..., 3] > 0.1
    assert seen.mean() == pytest.approx(0.25, abs=0.05)
    np.testing.assert_allclose(result[seen][:, :3], np.broadcast_to([1.0, 0, 0], (seen.sum(), 3)), atol=1e-5)


def test_a_result_too_large_for_the_daemon_is_refused_before_anything_is_done(shared_daemon: Daemon) -> None:
    with (
        shared_daemon.client() as client,
        pytest.raises(DreamError, match=r"would have 192.0 megapixels.*or scale") as caught,
    ):
        client.submit("enlarge", {"scale": 8.0}, image=Image(bytes(3_000_000), (1500, 2000, 1), "uint8"))
    assert caught.value.code == "limit"


def sharpness(pixels: Pixels) -> float:
    """The mean length of the gradient of the light."""
    light = pixels.astype(float).mean(2)
    return float(np.hypot(*np.gradient(light)).mean())


def test_detail_comes_back_that_lanczos_cannot_have(shared_daemon: Daemon, tmp_path: Path) -> None:
    eye = skimage.data.chelsea()[60:220, 90:290]
    codec.write(codec.Picture(eye), tmp_path / "eye.png")
    small = codec.reduced(codec.read(tmp_path / "eye.png"), 50)
    codec.write(small, tmp_path / "small.png")
    result = shared_daemon.run(
        *("enlarge", str(tmp_path / "small.png"), "-o", str(tmp_path / "large.png"), "--scale", "4"),
        *("--preview-dir", str(tmp_path / "frames")),
    )
    assert (result.returncode, result.stderr) == (0, "")
    large = codec.read(tmp_path / "large.png").pixels
    assert "Enlarged 100% of 200x160 pixels" in result.stdout
    assert large.shape == (160, 200, 3)
    plain = by_lanczos(small.pixels.astype(np.float32), 4.0)
    assert 1.2 * sharpness(plain) < sharpness(large) < 1.5 * sharpness(eye)
    # What was there is still there.
    assert np.abs(codec.reduced(codec.Picture(large), 50).pixels.astype(int) - small.pixels).mean() < 10
    frames = sorted((tmp_path / "frames").iterdir())
    assert len(frames) > 1
    assert np.array_equal(codec.read(frames[-1]).pixels, large)

"""The sample picture: always the same, and its mask lies on the great cloud."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dreamd import codec
from dreamd.sample import cloudscape

SIZES = [(301, 199), (199, 301), (700, 256), (64, 64)]


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    return cloudscape(384, 256)


def test_one_size_is_always_one_picture(scene: tuple[np.ndarray, np.ndarray]) -> None:
    again = cloudscape(384, 256)
    assert [array.tobytes() for array in again] == [array.tobytes() for array in scene]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_any_size_and_shape(width: int, height: int) -> None:
    pixels, mask = cloudscape(width, height)
    assert (pixels.shape, pixels.dtype) == ((height, width, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((height, width), np.float32)
    assert mask.min() == 0
    assert mask.max() > 0.99


@pytest.mark.parametrize(("width", "height"), [(63, 100), (100, 2049)])
def test_sizes_out_of_range(width: int, height: int) -> None:
    with pytest.raises(ValueError, match=f"{width}×{height}"):
        cloudscape(width, height)


def test_mask_is_soft_and_takes_a_fifth(scene: tuple[np.ndarray, np.ndarray]) -> None:
    _, mask = scene
    assert 0.15 < mask.mean() < 0.25
    assert 0.02 < ((mask > 0) & (mask < 1)).mean() < 0.2
    assert max(np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1)) < 0.3
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert border.max() == 0


def test_mask_lies_on_the_bright_cloud(scene: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, mask = scene
    red = pixels[..., 0].astype(float)  # what tells white from blue
    assert red[mask == 1].mean() > red[: len(red) // 2][mask[: len(red) // 2] == 0].mean() + 80
    assert np.corrcoef(red[: len(red) // 2].ravel(), mask[: len(red) // 2].ravel())[0, 1] > 0.7


def test_sky_is_deep_above_and_hazy_below(scene: tuple[np.ndarray, np.ndarray]) -> None:
    red, _, blue = scene[0].mean(axis=1).T
    assert blue[:20].mean() > 1.5 * red[:20].mean()
    assert red[-10:].mean() > 200


def test_cloud_is_lit_from_the_upper_left(scene: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, mask = scene
    rows, columns = np.nonzero(mask == 1)
    brightness = pixels[rows, columns].mean(axis=1)
    towards_the_sun = -(columns - columns.mean()) - (rows - rows.mean())
    assert np.corrcoef(towards_the_sun, brightness)[0, 1] > 0.3


def test_command_writes_picture_and_mask(tmp_path: Path) -> None:
    names = [str(tmp_path / "cloud.png"), str(tmp_path / "mask.png")]
    command = [sys.executable, "-m", "dreamd.sample", *names, "--size", "150", "100"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=60)
    pixels, mask = cloudscape(150, 100)
    np.testing.assert_array_equal(codec.read(names[0]).pixels, pixels)
    np.testing.assert_allclose(codec.read_mask(names[1], (100, 150)), mask, atol=0.5 / 255)

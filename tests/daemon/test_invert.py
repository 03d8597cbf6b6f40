"""Regions rebuilt from layers, by a real daemon and the embedded network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from skimage.metrics import structural_similarity

from dreamd import codec
from real_daemon import Daemon


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    codec.write(codec.reduced(codec.Picture(skimage.data.chelsea()[20:260, 60:380]), 96), tmp_path / "in.png")
    return tmp_path / "in.png"


def rebuilt(daemon: Daemon, photo: Path, *flags: str) -> tuple[np.ndarray, dict[str, float]]:
    out = photo.with_name("out.png")
    result = daemon.run("invert", str(photo), "-o", str(out), *flags, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    return codec.read(out).pixels, json.loads(result.stdout)["info"]["rebuilt"]


def test_low_layers_know_the_picture_and_deep_ones_less_of_it(shared_daemon: Daemon, photo: Path) -> None:
    source, likeness = codec.read(photo).pixels, []
    for layer in ("blocks.1", "blocks.4", "blocks.12"):
        picture, errors = rebuilt(shared_daemon, photo, "--layers", layer)
        likeness.append(structural_similarity(source, picture, channel_axis=2))
        assert set(errors) == {layer}
        assert errors[layer] < 0.25
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] > max(0.6, 2 * likeness[2])


def test_the_command_tells_the_error_of_every_layer_and_shows_how_it_forms(
    shared_daemon: Daemon, photo: Path
) -> None:
    mask = np.zeros((72, 96, 1), np.uint8)
    mask[20:50, 30:70] = np.linspace(0, 255, 40, dtype=np.uint8)[:, None]
    codec.write(codec.Picture(mask), photo.with_name("mask.png"))
    result = shared_daemon.run(
        *("invert", str(photo), "-o", str(photo.with_name("out.png")), "--mask", str(photo.with_name("mask.png"))),
        *("--layers", "blocks.2+blocks.4*0.5", "--steps", "20", "--preview-dir", str(photo.with_name("frames"))),
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "Rebuilt" in result.stdout
    for layer in ("blocks.2", "blocks.4"):
        assert f"From {layer} the region was rebuilt with a normalised error of " in result.stdout
    source, out = codec.read(photo).pixels, codec.read(photo.with_name("out.png")).pixels
    outside = mask[..., 0] == 0
    assert np.array_equal(out[outside], source[outside])
    assert (out != source)[~outside].any(1).mean() > 0.8
    assert len(list(photo.with_name("frames").iterdir())) > 1


def test_what_no_channel_knows_cannot_be_rebuilt(shared_daemon: Daemon, photo: Path) -> None:
    result = shared_daemon.run(
        "invert", str(photo), "-o", str(photo.with_name("out.png")), "--layers", "blocks.2*-1"
    )
    assert result.returncode == 2
    assert "has weights above 0" in result.stderr


def test_a_catalogue_shows_the_series_over_layers(shared_daemon: Daemon, photo: Path) -> None:
    out = photo.with_name("series")
    line = ("catalogue", str(photo), "-o", f"{out}/", "--kind", "invert", "--side", "32", "--steps", "2")
    result = shared_daemon.run(*line)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(list(out.iterdir())) == 16
    again = shared_daemon.run(*line, "--octaves", "3")
    assert again.returncode == 2
    assert "There is no octaves in a catalogue of the kind invert" in again.stderr

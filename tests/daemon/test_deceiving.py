"""Photographs changed so little that nobody sees it, and so that the embedded network does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from dreamd import codec
from dreamwire.client import Client, Image, Job, JobCancelledError
from dreamwire.errors import DreamError
from dreamwire.messages import Done, Progress
from real_daemon import Daemon

CAT = codec.reduced(codec.Picture(skimage.data.chelsea()), 200).pixels
#: Nearly all of it, and a soft edge.
INSIDE, EDGE = np.s_[5:-5, 10:-10], np.s_[5:-5, 10:20]
BRIEF = {"classes": "espresso", "steps": 30}
Pixels = NDArray[Any]


def mask() -> Pixels:
    found = np.zeros((*CAT.shape[:2], 1), np.float32)
    found[INSIDE] = 1
    found[EDGE] = 0.5
    return found


def image(pixels: Pixels) -> Image:
    return Image(pixels.tobytes(), pixels.shape, pixels.dtype.name)


def attacked(client: Client, pixels: Pixels = CAT, **params: Any) -> tuple[Pixels, dict[str, Any]]:
    """The part of the picture inside the mask as it was changed, and what was reached."""
    *_, done = client.submit("adversarial", BRIEF | params, image=image(pixels), mask=image(mask()))
    assert isinstance(done, Done)
    found: dict[str, Any] = done.info["adversarial"]
    return np.frombuffer(done.frames[0], pixels.dtype).reshape(done.outputs[0].shape), found


def test_a_cat_becomes_an_espresso_and_looks_as_before(shared_daemon: Daemon, tmp_path: Path) -> None:
    codec.write(codec.Picture(CAT), tmp_path / "in.png")
    codec.write(codec.Picture(codec.convert(mask(), "uint8")), tmp_path / "mask.png")
    out = tmp_path / "out.png"
    line = (str(tmp_path / "in.png"), "-m", str(tmp_path / "mask.png"))
    result = shared_daemon.run(
        "adversarial", *line, "-o", str(out), "--classes", "espresso", "--epsilon", "5", "--steps", "40"
    )
    assert (result.returncode, result.stderr) == (0, "")
    found = codec.read(out).pixels
    change = np.abs(found.astype(int) - CAT)
    assert 0 < change.max() <= 5
    assert change[EDGE].max() <= 2
    change[INSIDE] = 0
    assert not change.any()
    # What was told is true of the file too.
    again = shared_daemon.run("classify", str(out), *line[1:], "--top", "1")
    espresso = again.stdout.splitlines()[1]
    assert espresso.startswith("espresso  ")
    assert "To efficientnet_lite0 the region was" in result.stdout
    assert f"now it is espresso with {espresso.split('  ')[1].strip()}" in result.stdout
    assert "To efficientnet_lite1 the region was" in result.stdout
    assert "by more than 5/255" in result.stdout


@pytest.fixture(scope="module")
def espresso(shared_daemon: Daemon) -> tuple[Pixels, dict[str, Any]]:
    with shared_daemon.client() as client:
        return attacked(client, against="efficientnet_lite2")


def test_the_change_is_told_of_in_numbers(espresso: tuple[Pixels, dict[str, Any]]) -> None:
    found, told = espresso
    change = np.abs(found.astype(int) - CAT[INSIDE])
    assert told["target"] == "espresso"
    assert told["largest"] == change.max() <= 8
    assert told["mean"] == pytest.approx(change.mean(), abs=1e-3)
    assert told["rms"] == pytest.approx(np.sqrt((change**2).mean()), abs=1e-3)
    own, other = told["verdicts"]
    assert (own["network"], other["network"]) == ("efficientnet_lite0", "efficientnet_lite2")
    assert own["after"]["name"] == "espresso" != own["before"]["name"]
    assert own["target"][1] == own["after"]["probability"] >= 0.5
    assert other["before"]["name"] == other["after"]["name"] != "espresso"


def test_the_difference_is_shown_around_middle_gray(
    shared_daemon: Daemon, espresso: tuple[Pixels, dict[str, Any]]
) -> None:
    picture, told = espresso
    with shared_daemon.client() as client:
        shown, _ = attacked(client, show="difference")
    change = picture.astype(float) - CAT[INSIDE]
    magnified = np.clip(change / (3 * max(told["rms"], 1 / 3)), -1, 1)
    np.testing.assert_allclose(shown, 127.5 + 127.5 * magnified, atol=1.5)


def test_sixteen_bits_and_gray_are_deceived_too(shared_daemon: Daemon) -> None:
    pixels = codec.convert(CAT.mean(2, keepdims=True).round().astype(np.uint8), "uint16")
    with shared_daemon.client() as client:
        found, told = attacked(client, pixels)
    change = (found.astype(int) - pixels[INSIDE]) / 257
    assert np.array_equal(change, change.round())
    assert told["verdicts"][0]["after"]["name"] == "espresso"


def test_what_is_out_of_reach_says_what_to_try(shared_daemon: Daemon) -> None:
    with shared_daemon.client() as client, pytest.raises(DreamError) as caught:
        attacked(client, epsilon=1, steps=3, confidence=0.99)
    assert caught.value.code == "bad_input"
    for advice in ("at most 1/255", "an epsilon of 2", "more steps", "a larger region", "espresso", "99.0 %"):
        assert advice in caught.value.message


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"classes": ""}, "bad_params", "must be the one class"),
        ({"classes": "espresso+cup"}, "bad_params", "must be the one class"),
        ({"classes": "espresso*-1"}, "bad_params", "must be the one class"),
        ({"classes": "espreso"}, "bad_params", "did you mean espresso"),
        ({"against": "efficientnet_lite0"}, "bad_params", "the network itself"),
        ({"against": "nobody"}, "unknown_network", "no network called 'nobody'"),
        ({"against": "vgg16"}, "unknown_network", "deepdream pull vgg16"),
        ({"epsilon": 0}, "bad_params", "1 to 255"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_done(
    shared_daemon: Daemon, params: dict[str, Any], code: str, message: str
) -> None:
    with shared_daemon.client() as client, pytest.raises(DreamError, match=message) as caught:
        client.submit("adversarial", BRIEF | params, image=image(CAT))
    assert caught.value.code == code


def when_it_runs(client: Client, act: Callable[[Job], None]) -> Any:
    """How a search ends that is long, and interrupted."""
    job = client.submit("adversarial", BRIEF | {"steps": 1000}, image=image(CAT))
    for event in job:
        if isinstance(event, Progress) and event.state == "dreaming":
            act(job)
    return event


def test_a_search_is_cancelled_within_a_step_and_stopped_with_what_it_has(shared_daemon: Daemon) -> None:
    with shared_daemon.client() as client:
        with pytest.raises(JobCancelledError):
            when_it_runs(client, Job.cancel)
        done = when_it_runs(client, Job.stop)
    assert isinstance(done, Done)
    assert done.info["stopped"]
    assert done.info["adversarial"]["target"] == "espresso"

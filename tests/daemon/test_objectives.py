"""Dreams of classes, of ranked channels, of a guide: the embedded network's real weights, and a real daemon."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dreamd import codec, models, weights
from dreamd.core.objectives import Emphasis, Energy, Likeness, Score
from dreamd.core.plan import Extent, Plan, sums
from dreamd.kinds.dream import objective, report, run
from dreamd.kinds.task import Task
from dreamd.pixels import Picture
from dreamd.sample import cloudscape
from dreamwire.classes import find_class
from dreamwire.networks import CLASSES, NETWORKS
from dreamwire.params import validate
from real_daemon import Daemon

ROW = NETWORKS["efficientnet_lite0"]
LAYER = "blocks.8"
Pixels = NDArray[Any]


@pytest.fixture(scope="module")
def network() -> models.LoadedNetwork:
    return models.load(ROW, weights.require(ROW), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def sky() -> Tensor:
    """A small sample: (3, 256, 384)."""
    return torch.from_numpy(cloudscape(384, 256)[0]).permute(2, 0, 1).float() / 255


def task(
    network: models.LoadedNetwork, source: Tensor, mask: Tensor, guide: Pixels | None = None, **given: Any
) -> Task:
    def none(name: str) -> models.LoadedNetwork:
        raise AssertionError(name)

    picture = None if guide is None else Picture(torch.from_numpy(guide), guide.dtype.name)
    return Task("dream", validate("dream", given), source, mask, network, 1024, none, picture)


def box(source: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    mask = torch.zeros(source.shape[-2:])
    mask[top : top + height, left : left + width] = 1
    return mask


def dreamt(wanted: Task) -> Tensor:
    """The whole picture with the region dreamt."""
    *_, progress = run(wanted)
    return progress.over(wanted.source).picture()


# Classes


def test_windows_of_the_classes_give_the_gradient_of_the_whole_to_1e_4(
    network: models.LoadedNetwork, sky: Tensor
) -> None:
    wanted = task(network, sky, torch.ones(256, 384), classes="tabby+lemon*-0.5", layers=LAYER)
    large = F.interpolate(sky[None], (320, 1400), mode="bicubic")[0]
    extent = Extent.around(box(large, 100, 200, 120, 1000) * torch.linspace(0.3, 1, 1400))
    found = []
    for side in (4096, 650):
        total = torch.zeros_like(large[extent.area.index])
        plan = Plan.of(extent, network, (CLASSES, LAYER), side=side, offset=(9, 4))
        values = list(plan.gradients(network, objective(wanted), [1.0] * 3, large, total))
        found.append((len(values), sums(values), total))
    (_, values, expected), (count, parts, total) = found
    assert count > 1
    assert parts == pytest.approx(values, rel=1e-4)
    assert float((total - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize(
    "region",
    [(120, 150, 1, 1), (120, 150, 24, 24), (30, 60, 200, 300), (0, 0, 256, 384)],
    ids=["one pixel", "24x24", "300x200", "whole"],
)
def test_the_score_of_a_class_rises_in_a_region_of_any_size_and_nothing_else_changes(
    network: models.LoadedNetwork, sky: Tensor, region: tuple[int, int, int, int]
) -> None:
    mask, tabby = box(sky, *region), find_class("tabby")
    wanted = task(network, sky, mask, classes="tabby", steps=4, octaves=2)
    result = dreamt(wanted)
    assert float(wanted.means(CLASSES, result)[tabby]) > float(wanted.means(CLASSES)[tabby])
    assert torch.equal(result[:, mask == 0], sky[:, mask == 0])


def test_with_few_steps_already_a_cloud_is_far_more_probably_a_cat(
    network: models.LoadedNetwork, sky: Tensor
) -> None:
    wanted = task(network, sky, torch.from_numpy(cloudscape(384, 256)[1]), classes="tabby", steps=5, octaves=3)
    before, after = report(wanted, partial(dreamt, wanted))["classes"]["tabby"]
    assert before < 0.001
    assert after > 0.2


def test_a_negative_weight_makes_a_class_less_probable(network: models.LoadedNetwork) -> None:
    cat = torch.from_numpy(skimage.data.chelsea()[20:260, 100:360]).permute(2, 0, 1).float() / 255
    wanted = task(network, cat, torch.ones(cat.shape[1:]), classes="Egyptian cat*-1", steps=2, octaves=2)
    before, after = report(wanted, partial(dreamt, wanted))["classes"]["Egyptian cat"]
    assert before > 0.1
    assert after < before / 10


def test_layers_and_classes_are_terms_with_their_weights(network: models.LoadedNetwork, sky: Tensor) -> None:
    mask = torch.ones(sky.shape[1:])

    def terms(**given: Any) -> tuple[Any, ...]:
        return objective(task(network, sky, mask, **given)).terms

    tabby, lemon = find_class("tabby"), find_class("lemon")
    assert terms() == (Energy("blocks.10"),)
    assert terms(classes="tabby") == (Energy("blocks.10", 0.25), Score(CLASSES, tabby))
    assert terms(classes="lemon*-2+tabby", layers=f"{LAYER}*0.5+blocks.2", channels="3,5") == (
        Energy(LAYER, 0.5, (3, 5)), Energy("blocks.2", 1.0, (3, 5)), Score(CLASSES, lemon, -2.0),
        Score(CLASSES, tabby),
    )  # fmt: skip


# Channels by rank


def test_ranked_channels_are_those_that_the_region_excites_so(network: models.LoadedNetwork, sky: Tensor) -> None:
    mask = box(sky, 60, 90, 80, 120)
    means = task(network, sky, mask, layers=LAYER).means(LAYER)

    def chosen(text: str) -> set[int]:
        (term,) = objective(task(network, sky, mask, layers=LAYER, channels=text)).terms
        assert isinstance(term, Energy)
        return set(term.channels)

    order = means.argsort(descending=True).tolist()
    assert chosen("strongest 5") == set(order[:5])
    assert chosen("weakest 7") == set(order[-7:])
    near = (means - means.mean()).abs()
    assert float(near[list(chosen("average 6"))].max()) <= float(near.sort().values[5])
    everything = ROW.layers[LAYER].channels
    assert chosen(f"strongest {everything}") == set(range(everything))


# Guides


def flowers(height: int = 160, width: int = 200) -> Pixels:
    """Coffee, which has nothing of a sky: an RGB guide of 8 bits."""
    return np.ascontiguousarray(skimage.data.coffee()[100 : 100 + height, 200 : 200 + width])


def test_a_guide_makes_places_like_its_own(network: models.LoadedNetwork, sky: Tensor) -> None:
    def likeness(picture: Tensor) -> float:
        """The cosine of each place of the region with that of the guide that it is most like, on average."""
        places = network.features(picture[None], [LAYER])[0][0, :, 4:10, 5:15].flatten(1).T
        shown = F.interpolate(torch.from_numpy(flowers()).permute(2, 0, 1)[None].float() / 255, (224, 280))
        guide = network.features(shown, [LAYER])[0][0].flatten(1).T
        return float((F.normalize(places, dim=1) @ F.normalize(guide, dim=1).T).amax(1).mean())

    given: dict[str, Any] = {"layers": LAYER, "octaves": 1, "steps": 6}
    wanted = task(network, sky, box(sky, 40, 60, 160, 200), flowers(), **given)
    assert all(isinstance(term, Likeness) for term in objective(wanted).terms)
    assert likeness(dreamt(wanted)) > likeness(sky) + 0.05


def test_a_guides_statistics_come_over_the_region(network: models.LoadedNetwork, sky: Tensor) -> None:
    def distance(wanted: Task, picture: Tensor) -> float:
        """How far each channel's share of the energy is from what the guide asks for."""
        (term,) = objective(wanted).terms
        assert isinstance(term, Emphasis)
        own = wanted.means(LAYER, picture, power=2)
        return float(torch.cosine_similarity(own, term.emphasis * wanted.means(LAYER, power=2), dim=0))

    mask = box(sky, 40, 60, 160, 200)
    given: dict[str, Any] = {"layers": LAYER, "octaves": 1, "steps": 6, "guide_match": "statistics"}
    wanted = task(network, sky, mask, flowers(), **given)
    plain = task(network, sky, mask, layers=LAYER, octaves=1, steps=6)
    assert distance(wanted, dreamt(wanted)) > distance(wanted, dreamt(plain))


def test_a_guides_weight_shares_the_layers_between_it_and_themselves(
    network: models.LoadedNetwork, sky: Tensor
) -> None:
    mask = torch.ones(sky.shape[1:])

    def kinds(weight: float) -> list[tuple[type, float]]:
        wanted = task(network, sky, mask, flowers(), layers=f"{LAYER}*2", guide_weight=weight, classes="tabby")
        return [(type(term), term.weight) for term in objective(wanted).terms]

    assert kinds(0.0) == [(Energy, 2.0), (Score, 1.0)]
    assert kinds(0.25) == [(Energy, 1.5), (Likeness, 0.5), (Score, 1.0)]
    assert kinds(1.0) == [(Likeness, 2.0), (Score, 1.0)]


def test_what_is_transparent_in_a_guide_is_no_guide(network: models.LoadedNetwork, sky: Tensor) -> None:
    """A cut-out asks for nothing of what is hidden around it, whatever colour that has."""
    mask = torch.ones(sky.shape[1:])
    found = []
    for hidden in (0, 255):
        guide = np.full((160, 200, 4), hidden, np.uint8)
        guide[..., 3] = 0
        guide[40:120, 50:150, :3], guide[40:120, 50:150, 3] = flowers(80, 100), 255
        (term,) = objective(task(network, sky, mask, guide, layers=LAYER)).terms
        assert isinstance(term, Likeness)
        found.append(term.guide)
    torch.testing.assert_close(found[0], found[1])
    assert 0.2 * 14 * 18 < len(found[0]) < 0.35 * 14 * 18


# Through a daemon


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the sample's cloud and its mask, guides, and what is none."""
    pixels, mask = cloudscape(240, 160)
    codec.write(codec.Picture(pixels), tmp_path / "in.png")
    codec.write(codec.Picture(np.rint(255 * mask[..., None]).astype(np.uint8)), tmp_path / "mask.png")
    codec.write(codec.Picture(flowers()), tmp_path / "guide.png")
    codec.write(codec.Picture(flowers(31, 200)), tmp_path / "low.png")
    codec.write(codec.Picture(np.zeros((32, 513, 3), np.uint8)), tmp_path / "long.png")
    codec.write(codec.Picture(np.zeros((40, 40, 4), np.uint8)), tmp_path / "clear.png")
    return tmp_path


def command(shared_daemon: Daemon, folder: Path, *arguments: str) -> Any:
    paths = {
        name: str(folder / name)
        for name in ("in.png", "mask.png", "guide.png", "low.png", "long.png", "clear.png")
    }
    given = [paths.get(each, each) for each in arguments]
    return shared_daemon.run("dream", paths["in.png"], "-o", str(folder / "out.png"), *given)


def test_a_class_is_dreamt_into_a_cloud_and_it_is_told_how_probable_it_became(
    shared_daemon: Daemon, folder: Path
) -> None:
    result = command(shared_daemon, folder, "--mask", "mask.png", "--classes", "Tabby + 951*0.5", "--octaves", "3")
    assert (result.returncode, result.stderr) == (0, "")
    assert "with tabby+lemon*0.5+blocks.10*0.25 of efficientnet_lite0" in result.stdout
    told = [line for line in result.stdout.splitlines() if line.startswith("To the network the region is ")]
    assert [line.split(" is ")[1].split(" with ")[0] for line in told] == ["tabby", "lemon"]


def test_a_guide_and_a_class_are_dreamt_together(shared_daemon: Daemon, folder: Path) -> None:
    given = ("--guide", "guide.png", "--classes", "tabby", "--octaves", "1", "--steps", "2", "--json")
    result = command(shared_daemon, folder, *given)
    assert (result.returncode, result.stderr) == (0, "")
    guided = codec.read(folder / "out.png").pixels
    assert json.loads(result.stdout)["info"]["objective"] == "tabby+blocks.10*0.25"
    assert command(shared_daemon, folder, *given, "--guide-weight", "0").returncode == 0
    assert not np.array_equal(codec.read(folder / "out.png").pixels, guided)


@pytest.mark.parametrize(
    ("line", "status", "says"),
    [
        ("--classes tabbi", 2, "There is no class called 'tabbi'; did you mean tabby"),
        ("--classes tabby*0", 2, "weights from 0.001 to 1000"),
        ("--classes tabby --network no_such", 1, "There is no network called 'no_such'"),
        ("--channels strongest", 2, "such as strongest 5"),
        ("--layers blocks.0 --channels strongest~17", 2, "blocks.0 of efficientnet_lite0 has 16."),
        ("--guide gone.png", 1, "gone.png cannot be read: there is no such file"),
        ("--guide low.png", 1, "The guide is 200x31 pixels; less than 32 a side show a network nothing."),
        ("--guide long.png", 1, "The guide is 513x32 pixels, more than 16 times as long as wide."),
        ("--guide clear.png", 1, "The guide is transparent everywhere."),
        ("--guide guide.png --guide-weight 2", 2, "a number from 0 to 1"),
    ],
)
def test_bad_objectives_are_refused_in_a_sentence_and_leave_nothing(
    shared_daemon: Daemon, folder: Path, line: str, status: int, says: str
) -> None:
    result = command(shared_daemon, folder, *(word.replace("~", " ") for word in line.split()))
    assert result.returncode == status
    assert says in result.stderr
    assert ".." not in result.stderr.replace(str(folder), "")
    assert not (folder / "out.png").exists()

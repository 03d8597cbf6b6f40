"""The core's promises with the embedded network and its real weights."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dreamd import codec, models, weights
from dreamd.core.dream import Settings, dream
from dreamd.core.gradient import Grid, gradients
from dreamd.core.objectives import energy
from dreamd.core.progress import Progress
from dreamd.core.region import Box
from dreamd.core.windows import Canvas, Reach, Window, add_back, cut
from dreamd.sample import cloudscape
from dreamwire.networks import NETWORKS, Network
from dreamwire.params import context_pixels, validate

ROW = NETWORKS["efficientnet_lite0"]
LAYER = ROW.default_layer
OBJECTIVE = energy({LAYER: 1.0})


@pytest.fixture(scope="module")
def network() -> models.LoadedNetwork:
    return models.load(ROW, weights.require(ROW), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def cloud() -> tuple[Tensor, Tensor]:
    """The sample and its mask."""
    pixels, mask = cloudscape()
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255, torch.from_numpy(mask)


def gradient(network: models.LoadedNetwork, image: Tensor, mask: Tensor, side: int) -> tuple[Tensor, int]:
    """The gradient to the image, and by how many windows; `side` 0 shows everything at once."""
    reach, offset = Reach.of([network.layers[LAYER]]), (9, 4)
    canvas = Canvas.around(image.shape[-2:], offset, [network.layers[LAYER]])
    weight = canvas.weights(mask, (0, 0), network.layers[LAYER])
    windows = canvas.plan(canvas.owned([(network.layers[LAYER], weight)]), reach, side)
    if not side:
        windows = [Window(canvas.box, Box(0, 0, canvas.rows, canvas.columns))]
    total = torch.zeros_like(image)
    for window in windows:
        box = window.box.shift(-offset[0], -offset[1])
        grid, scales = Grid(canvas.stride, {LAYER: weight}), [float(weight.sum())]
        _, (part,) = gradients(network, OBJECTIVE, scales, cut(image, box)[None], [(grid, window)])
        add_back(total, image.shape[-2:], Box(0, 0, *image.shape[-2:]), part, box)
    return total, len(windows)


def test_windows_of_the_real_network_give_the_gradient_of_the_whole_to_1e_4(
    network: models.LoadedNetwork, cloud: tuple[Tensor, Tensor]
) -> None:
    image, mask = cloud
    expected, _ = gradient(network, image, mask, 0)
    found, count = gradient(network, image, mask, 448)
    assert count > 3
    assert float((found - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def last(network: models.LoadedNetwork, image: Tensor, mask: Tensor, settings: Settings) -> Progress:
    *_, progress = dream(network, OBJECTIVE, image, mask, settings)
    return progress


def test_dreaming_part_of_a_picture_needs_only_its_context(
    network: models.LoadedNetwork, cloud: tuple[Tensor, Tensor]
) -> None:
    image, mask = cloud
    small = torch.zeros_like(mask)
    small[250:280, 420:470] = mask[250:280, 420:470]
    context = context_pixels("dream", validate("dream", {"octaves": 1}))
    settings = Settings(octaves=1, steps=2, context=context)
    box = Box(250, 420, 280, 470).grow(context, context).clip(Box(0, 0, 512, 768))
    assert box.area < image[0].numel() * 0.8
    whole = last(network, image, small, settings)
    part = last(network, image[box.index].clone(), small[box.index], settings)
    assert torch.equal(part.picture(), whole.picture())


def test_the_cloud_dreams_and_the_sky_is_left_alone(
    network: models.LoadedNetwork, cloud: tuple[Tensor, Tensor]
) -> None:
    image, mask = cloud
    progress = last(network, image, mask, Settings(octaves=2, steps=5))
    assert progress.value > 0.1
    picture, inside = progress.picture(), mask[progress.region.index] > 0
    source = image[progress.region.index]
    assert torch.equal(picture[:, ~inside], source[:, ~inside])
    assert float((picture - source).abs()[:, inside].mean()) > 0.02


#: Photographs of scikit-image, and what is in them by the numbers of ILSVRC.
PHOTOGRAPHS = {
    "chelsea.png": (281, 282, 285),  # tabby, tiger cat, Egyptian cat
    "coffee.png": (967,),  # espresso
    "motorcycle_left.png": (665,),  # moped
}


@pytest.mark.parametrize(
    "row", [NETWORKS[f"efficientnet_lite{number}"] for number in range(3)], ids=lambda row: row.name
)
@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
def test_real_photographs_are_recognised(row: Network, photograph: str) -> None:
    network = models.load(row, weights.require(row), torch.device("cpu"), torch.float32)
    spec = importlib.util.find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    image = codec.read(Path(spec.origin).parent / "data" / photograph).pixels[..., :3]
    side = min(image.shape[:2])
    top, left = ((extent - side) // 2 for extent in image.shape[:2])
    square = (
        torch.from_numpy(image[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None].float() / 255
    )
    seen = F.interpolate(square, (row.classes_at, row.classes_at), mode="bicubic", antialias=True).clamp(0, 1)
    assert int(network.classify(seen)[0].argmax()) in PHOTOGRAPHS[photograph]


def test_bfloat16_dreams_much_the_same(cloud: tuple[Tensor, Tensor]) -> None:
    image, mask = cloud
    settings = Settings(octaves=1, steps=3)
    pictures = []
    for dtype in (torch.float32, torch.bfloat16):
        network = models.load(ROW, weights.require(ROW), torch.device("cpu"), dtype)
        progress = last(network, image, mask, replace(settings))
        pictures.append((progress.picture() - image[progress.region.index]).flatten())
    assert float(torch.cosine_similarity(*pictures, dim=0)) > 0.3

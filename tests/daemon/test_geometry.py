"""What each layer sees, against the extent of a true gradient and against numbers known from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamd import geometry, models
from dreamwire import networks
from dreamwire.networks import CLASSES, NETWORKS, Network


def test_the_file_is_what_the_architectures_say() -> None:
    path = Path(networks.__file__).with_name("geometry.py")
    assert geometry.source() == path.read_text(encoding="utf-8"), "run `python -m dreamd.geometry`"


@pytest.mark.parametrize("row", NETWORKS.values(), ids=lambda row: row.name)
def test_every_layer_on_offer_has_a_geometry_and_one_of_them_is_the_default(row: Network) -> None:
    assert tuple(row.layers) == (*row.offers, CLASSES)
    assert row.default_layer in row.layers


@pytest.mark.parametrize(
    ("network", "layer", "field", "stride", "channels"),
    [
        ("efficientnet_lite0", "blocks.3", 35, 8, 40),
        ("efficientnet_lite0", "blocks.4", 67, 8, 40),
        ("efficientnet_lite0", "blocks.7", 147, 16, 80),
        ("efficientnet_lite0", "blocks.8", 211, 16, 112),
        ("efficientnet_lite0", "blocks.10", 339, 16, 112),
        ("efficientnet_lite0", "blocks.13", 659, 32, 192),
        ("efficientnet_lite0", "blocks.15", 851, 32, 320),
        ("googlenet", "inception3b", 59, 8, 480),
        ("googlenet", "inception4c", 171, 16, 512),
        ("googlenet", "inception4e", 235, 16, 832),
        ("googlenet", "inception5b", 379, 32, 1024),
        ("vgg16", "features.29", 196, 16, 512),
        ("inception_v3", "Mixed_7c", 1311, 32, 2048),
    ],
)
def test_known_fields(network: str, layer: str, field: int, stride: int, channels: int) -> None:
    row = NETWORKS[network].layers[layer]
    assert (row.field, row.stride, row.channels) == (field, stride, channels)


class MeanThen(nn.Module):
    """An operation on the mean of the channels, so that a skeleton needs only one of them."""

    def __init__(self, dim: int, then: nn.Module) -> None:
        super().__init__()
        self.dim, self.then = dim, then

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.then(x.mean(self.dim, keepdim=True))
        return result


def averaging(conv: nn.Conv2d) -> nn.Module:
    bone = type(conv)(1, 1, conv.kernel_size, conv.stride, conv.padding, conv.dilation, bias=False)
    nn.init.constant_(bone.weight, 1 / bone.weight.numel())
    return MeanThen(1, bone)


# What is left of an operation when only the places matter that it looks at: averages, and the identity. The global
# branch of a squeeze and excitation is left out.
BONES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "Conv2d": averaging,
    "SameConv2d": averaging,
    "Linear": lambda _: MeanThen(-1, nn.Identity()),
    "MaxPool2d": lambda pool: nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode),
} | dict.fromkeys(
    (
        "BatchNorm2d", "LayerNorm", "LayerNorm2d", "SqueezeExcitation", "ReLU", "ReLU6", "Hardswish",
        "Hardsigmoid", "GELU",
    ),
    lambda _: nn.Identity(),
)  # fmt: skip


def skeleton(net: nn.Module) -> nn.Module:
    """The network's own modules and forward, with one channel and every operation a weighted average."""
    for name, child in net.named_children():
        if bone := BONES.get(type(child).__name__):
            setattr(net, name, bone(child))
        else:
            skeleton(child)
    if hasattr(net, "layer_scale"):
        net.layer_scale = nn.Parameter(torch.ones(1, 1, 1))
    return net


def reached(row: Network, size: tuple[int, int], axis: int) -> dict[str, tuple[int, int, int, int]]:
    """For each layer: its count of activations along an axis, the middle one, the first and last pixel it sees."""
    net = skeleton(models.build(row)).double()
    outputs: dict[str, Tensor] = {}
    for name in row.offers:
        net.get_submodule(name).register_forward_hook(lambda _m, _x, y, name=name: outputs.update({name: y}))
    pixels = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    net(pixels)
    found = {}
    for name in row.offers:
        activations = outputs[name].movedim(2 + axis, 0)
        middle = len(activations) // 2
        (gradient,) = torch.autograd.grad(activations[middle].sum(), pixels, retain_graph=True)
        places = gradient.movedim(2 + axis, 0).flatten(1).any(1).nonzero()
        found[name] = len(activations), middle, int(places[0]), int(places[-1])
    return found


@pytest.mark.parametrize("axis", [0, 1], ids=["height", "width"])
@pytest.mark.parametrize("row", NETWORKS.values(), ids=lambda row: row.name)
def test_a_layer_sees_the_pixels_that_its_gradient_reaches(
    row: Network, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(F, "max_pool2d", F.avg_pool2d)
    along = -(-2 * max(layer.field for layer in row.layers.values()) // 32) * 32
    across = 128  # about as narrow as Inception v3 can take, which does not pad
    size = (across, along) if axis else (along, across)
    for name, (count, middle, first, last) in reached(row, size, axis).items():
        assert 0 < first <= last < along - 1, f"{name}: the picture is too small for this test"
        layer, centre = row.layers[name], middle * row.layers[name].stride
        assert (first, last) == (centre - layer.before, centre + layer.after), name
        assert count == along // layer.stride - layer.lost, name


@pytest.mark.parametrize("row", NETWORKS.values(), ids=lambda row: row.name)
def test_the_smallest_picture_that_a_layer_takes_has_one_activation(row: Network) -> None:
    traced = models.trace(models.build(row), row.offers)
    for name, layer in row.layers.items():
        side = (layer.lost + 1) * layer.stride
        (activations,) = models.truncate(traced, [traced.layers[name]])(
            torch.empty(1, 3, side, side, device="meta")
        )
        cells = traced.cells if name == CLASSES else 1
        assert activations.shape[-2:] == (cells, cells)


def test_layers_that_see_the_whole_window_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(BONES, "SqueezeExcitation")
    row, along = NETWORKS["mobilenet_v3_large"], 1280
    everything = {
        name: (first, last) == (0, along - 1) for name, (_, _, first, last) in reached(row, (along, 32), 0).items()
    }
    assert everything == {name: row.layers[name].whole for name in row.offers}
    assert set(everything.values()) == {False, True}


class Strange(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(x, 2)


class Uneven(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + F.max_pool2d(x, 2)


@pytest.mark.parametrize(("net", "message"), [(Strange(), "pixel_shuffle"), (Uneven(), "different strides")])
def test_what_it_cannot_tell_it_does_not_guess(net: nn.Module, message: str) -> None:
    with pytest.raises(NotImplementedError, match=message):
        geometry.views(models.trace(net, ()), axis=0)

"""Written gradients against autograd's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamd import models, weights
from dreamd.adjoint import Author
from dreamd.convolutions import SIZES, Convolution, Kernel, Phases, SameConv2d, padding
from dreamd.pooling import MaxPool
from dreamd.sample import cloudscape
from dreamwire.networks import NETWORKS, Network

CPU = torch.device("cpu")
#: Whose operations are left to autograd.
UNWRITTEN = ("mobilenet_v3_large", "convnext_tiny")
LITE0 = NETWORKS["efficientnet_lite0"]


def near(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> bool:
    return actual.shape == expected.shape and bool(
        (actual - expected).abs().max() <= tolerance * expected.abs().max()
    )


def made(row: Network) -> models.LoadedNetwork:
    """A network with random weights in float64."""
    torch.manual_seed(0)
    net = models.build(row).to_empty(device="cpu").double().requires_grad_(False)
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            nn.init.kaiming_normal_(tensor)
        elif name.endswith(("weight", "running_var", "layer_scale")):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1)
    traced = models.trace(net, row.offers)
    models.fold_norms(traced)
    return models.LoadedNetwork(row, traced, CPU, torch.float64)


@pytest.mark.parametrize("row", NETWORKS.values(), ids=lambda row: row.name)
@pytest.mark.parametrize("size", [(96, 128), (83, 101)], ids=["even", "odd"])
def test_every_layers_gradient_is_that_of_autograd(row: Network, size: tuple[int, int]) -> None:
    net = made(row)
    pixels = torch.rand(1, 3, *size, dtype=torch.float64).requires_grad_()
    untouched = pixels.detach().clone()
    oracle = models.truncate(net.traced, [net.traced.layers[name] for name in row.offers])
    expected = oracle(net.scale(pixels))
    wanted = [torch.randn_like(each) / each.std() for each in expected]
    (gradient,) = torch.autograd.grad(expected, pixels, wanted)
    found = net.features(pixels, row.offers)
    assert all(near(each, other) for each, other in zip(found, expected, strict=True))
    copies = [each.clone() for each in wanted]
    assert near(torch.autograd.grad(found, pixels, wanted, retain_graph=True)[0], gradient)
    # What was lent has not been used, but the memory of what was kept for the way back has.
    assert all(bool((each == copy).all()) for each, copy in zip(wanted, copies, strict=True))
    if row.name not in UNWRITTEN:
        with pytest.raises(RuntimeError, match="once"):
            torch.autograd.grad(found, pixels, wanted)
    assert bool((pixels == untouched).all())


@pytest.mark.parametrize("row", NETWORKS.values(), ids=lambda row: row.name)
def test_all_common_networks_are_written(row: Network) -> None:
    traced = models.trace(models.build(row), row.offers)
    models.fold_norms(traced)
    passes = Author(traced.module, torch.float32).passes([traced.layers[name] for name in row.offers])
    assert (passes is None) == (row.name in UNWRITTEN)


def test_what_has_no_adjoint_is_left_to_autograd() -> None:
    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
            self.third = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")
            self.fourth = nn.Conv2d(4, 4, 3, padding="same")

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            y: Tensor = self.second(x * torch.sigmoid(x)) + self.third(x) + self.fourth(x)
            return y

    traced = models.trace(Bent().eval().requires_grad_(False), ("first", "second", "third", "fourth"))
    author = Author(traced.module, torch.float32)
    written = [author.passes([node]) is not None for node in traced.layers.values()]
    assert written == [True, False, False, False]


def kinds() -> list[nn.Conv2d]:
    """Convolutions of every kind that changes the way back."""
    torch.manual_seed(0)
    found = []
    for kernel, stride, groups in itertools.product((1, 2, 3, 5, 7), (1, 2, 3), (1, 2, 4)):
        for zeros in {0, kernel // 2, kernel - 1}:
            found.append(nn.Conv2d(4, 4, kernel, stride, zeros, groups=groups))
        found.append(SameConv2d(4, 4, kernel, stride, groups=groups))
    found += [nn.Conv2d(4, 8, (1, 7), padding=(0, 3)), nn.Conv2d(4, 8, (3, 1), (2, 1), (1, 0))]
    found += [nn.Conv2d(4, 4, 3, stride, 2, dilation=2, groups=groups) for stride in (1, 2) for groups in (1, 4)]
    return [conv.double().requires_grad_(False) for conv in found]


def back(conv: nn.Conv2d, gradient: Tensor, size: Sequence[int]) -> Tensor:
    found = Convolution(conv, torch.float64).back(gradient, size)
    return found.joined() if isinstance(found, Phases) else found


@pytest.mark.parametrize("conv", kinds(), ids=str)
def test_a_convolution_goes_back_as_autograd_says(conv: nn.Conv2d) -> None:
    for size in ((8, 12), (9, 11), (7, 10), (13, 8)):
        x = torch.randn(1, 4, *size, dtype=torch.float64, requires_grad=True)
        y = conv(x)
        assert near(Convolution(conv, torch.float64).forward(x, None), y)
        gradient = torch.randn_like(y)
        (expected,) = torch.autograd.grad(y, x, gradient)
        assert near(back(conv, gradient, size), expected), size


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_weight_is_kept_ready_for_a_few_sizes_and_right_for_all(dtype: torch.dtype) -> None:
    conv = nn.Conv2d(16, 32, 3, padding=1).requires_grad_(False).to(dtype)
    kernel = Kernel(conv.weight, conv.bias, (1, 1), (1, 1), (1, 1), 1)
    for side in [*range(8, 8 + 2 * SIZES), *range(8, 10)]:
        x = torch.randn(1, 16, side, 40, dtype=dtype).contiguous(memory_format=torch.channels_last)
        assert torch.allclose(kernel.over(x), conv(x), rtol=2e-2, atol=2e-2 if dtype == torch.bfloat16 else 1e-5)
    assert len(kernel._ready) <= SIZES


POOLS = {
    "inception's branch": MaxPool((3, 3), (1, 1), (1, 1), (1, 1), ceil=True),
    "googlenet's": MaxPool((3, 3), (2, 2), (0, 0), (1, 1), ceil=True),
    "resnet's": MaxPool((3, 3), (2, 2), (1, 1), (1, 1), ceil=False),
    "vgg's": MaxPool((2, 2), (2, 2), (0, 0), (1, 1), ceil=False),
    "with gaps between its windows": MaxPool((2, 2), (3, 3), (0, 0), (1, 1), ceil=False),
    "dilated and oblong": MaxPool((3, 2), (1, 2), (1, 0), (2, 1), ceil=True),
}


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [(24, 18), (13, 9), (5, 7)], ids=str)
@pytest.mark.parametrize("name", POOLS)
def test_a_pool_goes_back_as_autograd_says_in_however_many_strips(
    name: str, size: tuple[int, int], threads: int
) -> None:
    pool, usual = POOLS[name], torch.get_num_threads()
    # Few values, so that many are the largest of their window together.
    pixels = torch.randint(-3, 3, (1, 4, *size)).double().contiguous(memory_format=torch.channels_last)
    pixels.requires_grad_()
    expected = F.max_pool2d(pixels, pool.kernel, pool.stride, pool.zeros, pool.dilation, pool.ceil)
    wanted = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad(expected, pixels, wanted)
    try:
        torch.set_num_threads(threads)
        found, kept = pool.forward(pixels.detach())
        assert torch.equal(found, expected)
        assert near(pool.back(wanted, kept), gradient)
    finally:
        torch.set_num_threads(usual)


def test_uneven_padding_is_one_zero_more_behind() -> None:
    conv = SameConv2d(3, 3, 3, 2)
    assert padding(conv, (8, 9)) == ((0, 1), (1, 1))


def pictures() -> dict[str, Tensor]:
    """A sky, and a drawing without grain: where the rounding of bfloat16 shows most."""
    sky = torch.from_numpy(cloudscape()[0][100:420, 100:484].copy()).permute(2, 0, 1).float() / 255
    drawing = torch.full((3, 320, 384), 0.9)
    drawing[:, 80:180, 60:260] = 0.2
    drawing[0, 200:280, 150:350] = 0.5
    return {"sky": sky, "drawing": drawing}


@pytest.mark.parametrize("name", ["sky", "drawing"])
def test_in_bfloat16_the_gradient_points_where_it_points_in_float32(name: str) -> None:
    pixels = pictures()[name][None]
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        net = models.load(LITE0, weights.require(LITE0), CPU, dtype)
        shown = pixels.clone().requires_grad_()
        (activations,) = net.features(shown, ["blocks.10"])
        assert activations.dtype == dtype
        found.append(torch.autograd.grad(activations.float().square().sum(), shown)[0].flatten())
    assert torch.cosine_similarity(*found, 0) > 0.9

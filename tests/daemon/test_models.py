"""Networks as the daemon uses them, against the modules and packages that they were made from."""

from __future__ import annotations

import copy
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F

from dreamd import models
from dreamd.convolutions import Convolution
from dreamd.kinds import KINDS, Task, saliency
from dreamwire.errors import DreamError
from dreamwire.networks import CLASSES, NETWORKS, Network
from dreamwire.params import validate

CPU = torch.device("cpu")
LITE = [row for row in NETWORKS.values() if row.family == "efficientnet_lite"]
TORCHVISION = [row for row in NETWORKS.values() if row.family == "torchvision"]


def name_of(row: Network) -> str:
    return row.name


def packaged(row: Network) -> Path:
    spec = importlib.util.find_spec(row.weights.package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("models") / row.weights.file


def picture(height: int, width: int) -> Tensor:
    """A sun over a striped field, with the grain of a photograph: (1, 3, height, width), R'G'B' in 0..1."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    sky = torch.stack((0.4 + 0.3 * y, 0.6 + 0.2 * y, 0.9 - 0.2 * y))
    sun = (((x - 0.7) ** 2 + (y - 0.3) ** 2) < 0.02) * torch.tensor([0.3, 0.2, -0.5])[:, None, None]
    field = (y > 0.6) * (torch.sin(60 * (x + y * y)) * torch.tensor([0.2, 0.3, 0.1])[:, None, None] - 0.2)
    grain = 0.1 * torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    return (sky + sun + field + grain).clamp(0, 1)[None]


def hooked(net: nn.Module, names: tuple[str, ...], x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Copies of what the modules named return, and what the network returns."""
    found: dict[str, Tensor] = {}
    hooks = [
        net.get_submodule(name).register_forward_hook(lambda _m, _x, y, name=name: found.update({name: y.clone()}))
        for name in names
    ]
    result = net(x)
    for hook in hooks:
        hook.remove()
    return found, result


def assert_near(actual: Tensor, expected: Tensor, what: str = "") -> None:
    """Equal to 1e-4 of the largest value in float32, to 1e-9 in float64."""
    assert actual.shape == expected.shape, what
    tolerance = 1e-9 if expected.dtype == torch.float64 else 1e-4
    assert (actual - expected).abs().max() <= tolerance * expected.abs().max(), what


@pytest.fixture(scope="module")
def lite0() -> models.LoadedNetwork:
    row = NETWORKS["efficientnet_lite0"]
    return models.load(row, packaged(row), CPU, torch.float32)


@pytest.mark.parametrize("row", LITE, ids=name_of)
@torch.no_grad()
def test_lite_agrees_with_the_package_that_published_it(row: Network) -> None:
    original = EfficientNet.from_name(row.name.replace("_", "-")).eval()
    original.load_state_dict(torch.load(packaged(row), weights_only=True))
    pixels = picture(row.classes_at, row.classes_at)
    scaled = (pixels - row.mean[0]) / row.std[0]
    expected, scores = hooked(original, tuple(f"_{name}" for name in row.offers), scaled)

    net = models.load(row, packaged(row), CPU, torch.float32)
    assert_near(net.classify(pixels), scores, "scores")
    for name, actual in zip(row.offers, net.features(pixels, row.offers), strict=True):
        assert_near(actual, expected[f"_{name}"], name)


def randomised(row: Network) -> nn.Module:
    """A network in float64 with random weights and BatchNorm statistics that keep the activations near 1."""
    net = models.build(row)
    if row.name == "vgg16":
        net.classifier = nn.Linear(512 * 7 * 7, 1000)  # the published one would be a gigabyte
    net = net.double().to_empty(device=CPU).requires_grad_(False)
    torch.manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            nn.init.kaiming_normal_(tensor)
        elif name.endswith(("weight", "running_var")):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.2)
    return net


@dataclass(frozen=True)
class Pair:
    """A network as the daemon uses it, and what its untouched module made of `pixels`."""

    net: models.LoadedNetwork
    pixels: Tensor
    activations: dict[str, Tensor]
    scores: Tensor
    gradient: Tensor  # of half the sum of squares of the default layer


@pytest.fixture(scope="module", params=NETWORKS.values(), ids=name_of)
def pair(request: pytest.FixtureRequest) -> Pair:
    row: Network = request.param
    module = randomised(row)
    traced = models.trace(module, row.offers)
    unfolded = models.LoadedNetwork(row, traced, CPU, torch.float64)
    pixels = picture(96, 96)
    wanted = pixels.clone().requires_grad_()
    activations, scores = hooked(module, row.offers, unfolded.scale(wanted))
    (gradient,) = torch.autograd.grad(activations[row.default_layer].square().sum() / 2, wanted)
    models.fold_norms(traced)
    return Pair(models.LoadedNetwork(row, traced, CPU, torch.float64), pixels, activations, scores, gradient)


@torch.no_grad()
def test_every_layer_has_the_values_of_the_untouched_module(pair: Pair) -> None:
    row = pair.net.row
    for name, actual in zip(row.offers, pair.net.features(pair.pixels, row.offers), strict=True):
        assert actual.shape[1] == row.layers[name].channels
        assert_near(actual, pair.activations[name], f"{name} among all")
        assert_near(pair.net.features(pair.pixels, [name])[0], pair.activations[name], f"{name} alone")
    assert_near(pair.net.classify(pair.pixels), pair.scores, "scores")


@torch.no_grad()
def test_the_scores_of_a_place_are_those_of_a_picture_that_is_no_more(pair: Pair) -> None:
    net, layer = pair.net, pair.net.row.layers[CLASSES]
    side = (1 + layer.lost) * layer.stride
    pixels = picture(side, side)
    (places,), expected = net.features(pixels, [CLASSES]), net.classify(pixels)
    if net.row.name == "squeezenet1_1":
        places = F.relu(places)  # which it does to its scores, and which could not be climbed from below 0
    assert places.shape[-2:] == (1, 1)
    assert_near(places[..., 0, 0], expected)


#: More than a matrix follows on their pooling: what it makes of a mean is not the mean of what it makes.
BENT = ("vgg16", "mobilenet_v3_large", "convnext_tiny")
LINEAR = [row for row in NETWORKS.values() if row.name not in BENT]


@pytest.mark.parametrize("pair", LINEAR, ids=name_of, indirect=True)
@torch.no_grad()
def test_the_mean_of_the_places_scores_is_that_of_a_linear_classifier(pair: Pair) -> None:
    pixels = picture(160, 192)
    (places,) = pair.net.features(pixels, [CLASSES])
    if pair.net.row.name == "squeezenet1_1":
        places = F.relu(places)
    assert places.shape[2] > 1
    assert_near(places.mean((2, 3)), pair.net.classify(pixels))


def test_gradients_reach_the_pixels_and_nothing_else(pair: Pair) -> None:
    pixels = pair.pixels.clone().requires_grad_()
    (activations,) = pair.net.features(pixels, [pair.net.row.default_layer])
    (activations.square().sum() / 2).backward()
    assert pixels.grad is not None
    assert_near(pixels.grad, pair.gradient)
    assert not any(weights.requires_grad for weights in pair.net.traced.module.parameters())


def another(name: str) -> models.LoadedNetwork:
    raise AssertionError(f"nobody asked for {name}")


@pytest.mark.parametrize("method", ["cam", "gradient"])
def test_every_network_can_be_asked_what_it_sees_and_where(
    pair: Pair, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As large as these networks want it, it would take minutes.
    monkeypatch.setattr(saliency, "SCALES", (1.0,))
    net = copy.copy(pair.net)
    net.row = replace(net.row, classes_at=48)
    params = validate("saliency", {"network": net.row.name, "samples": 1, "method": method})
    mask = torch.zeros(96, 96)
    mask[20:70, 10:90] = 1
    task = Task("saliency", params, pair.pixels[0].float(), mask, net, 1024, another)
    shares = task.probabilities()
    assert shares.shape == (1000,)
    assert float(shares.sum()) == pytest.approx(1, abs=1e-5)
    *_, progress = KINDS["saliency"].run(task)
    assert progress.picture().shape == (1, 50, 80)
    assert float(progress.picture().max()) == 1
    assert KINDS["saliency"].report(task, lambda: task.source)["looked_for"][0]["number"] == int(shares.argmax())


def test_no_batch_norm_is_left_behind_a_convolution(pair: Pair) -> None:
    left = sum(isinstance(module, nn.BatchNorm2d) for module in pair.net.traced.module.modules())
    # DenseNet normalises before it convolves: in each dense layer, in each transition and at the end.
    assert left == (58 + 3 + 1 if pair.net.row.name == "densenet121" else 0)


class Forks(nn.Module):
    """Convolutions whose output is a layer, or is needed by two, before a rectifier and before a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted, self.shared, self.kept, self.forked = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.norm, self.norm2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.wanted(x))
        x = self.shared(x)
        x = self.norm(self.kept(x + F.relu(x)))
        x = self.forked(x)
        return F.relu6(F.relu(x + self.norm2(x)))


def test_what_a_layer_or_another_branch_needs_is_neither_overwritten_nor_folded() -> None:
    torch.manual_seed(0)
    net, names = Forks().double().eval().requires_grad_(False), ("wanted", "shared", "kept", "norm")
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    expected, result = hooked(net, names, x)
    (gradient,) = torch.autograd.grad(result.square().sum(), x)

    traced = models.trace(net, names)
    models.fold_norms(traced)
    end = traced.module.graph.output_node().all_input_nodes
    *layers, actual = models.truncate(traced, [*traced.layers.values(), *end])(x)
    for name, layer in zip(names, layers, strict=True):
        assert_near(layer, expected[name], name)
    assert_near(actual, result)
    assert_near(torch.autograd.grad(models.truncate(traced, end)(x)[0].square().sum(), x)[0], gradient)


def test_the_forward_stops_at_the_deepest_layer_asked_for(
    lite0: models.LoadedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {module: name for name, module in lite0.traced.module.named_modules()}
    ran: list[str] = []
    forward = Convolution.forward

    def noted(convolution: Convolution, x: Tensor, high: float | None) -> Tensor:
        ran.append(names[convolution.conv])
        return forward(convolution, x, high)

    monkeypatch.setattr(Convolution, "forward", noted)
    lite0.features(picture(64, 64), ["blocks.1", "blocks.4"])
    assert {re.sub(r"(blocks\.\d+)?\..*", r"\1", name) for name in ran} == {
        "stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4",
    }  # fmt: skip
    assert len(ran) == len(set(ran)), "nothing is computed twice"


def test_layers_come_in_the_order_asked_for(lite0: models.LoadedNetwork) -> None:
    pixels = picture(64, 64)
    deep, shallow, again = lite0.features(pixels, ["blocks.4", "blocks.1", "blocks.4"])
    assert (deep.shape, shallow.shape) == ((1, 40, 8, 8), (1, 24, 16, 16))
    assert torch.equal(deep, again)


def test_bfloat16_sees_and_climbs_nearly_the_same(lite0: models.LoadedNetwork) -> None:
    half = models.load(lite0.row, packaged(lite0.row), CPU, torch.bfloat16)
    gradients = []
    for net in (lite0, half):
        pixels = picture(224, 224).requires_grad_()
        (activations,) = net.features(pixels, ["blocks.10"])
        assert activations.dtype == net.dtype
        activations.float().square().sum().backward()
        assert pixels.grad is not None
        assert pixels.grad.dtype == torch.float32
        gradients.append(pixels.grad.flatten())
    assert torch.cosine_similarity(*gradients, dim=0) > 0.8
    assert half.bytes == lite0.bytes / 2


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "densenet121", "squeezenet1_1"])
def test_files_load_as_torchvision_published_them(name: str, tmp_path: Path) -> None:
    row, path = NETWORKS[name], tmp_path / "weights.pth"
    has_aux = name in ("googlenet", "inception_v3")
    module = models._torchvision().models.get_model(name, **({"init_weights": False} if has_aux else {})).eval()
    state = module.state_dict()
    assert any("aux" in key.lower() for key in state) == has_aux
    if name == "densenet121":  # whose file is older than two of today's names and than the count of batches
        state = {
            re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): tensor
            for key, tensor in state.items()
            if not key.endswith("num_batches_tracked")
        }
    torch.save(state, path)
    net, pixels = models.load(row, path, CPU, torch.float32), picture(128, 128)
    with torch.no_grad():
        assert_near(net.classify(pixels), module(net.scale(pixels)))


def spoilt(state: dict[str, Tensor], how: str) -> object:
    if how == "a tensor is missing":
        return {key: tensor for key, tensor in state.items() if key != "_fc.bias"}
    if how == "a tensor too many":
        return state | {"_blocks.3._se.weight": torch.zeros(1)}
    if how == "another shape":
        return state | {"_fc.bias": torch.zeros(10)}
    return [1, 2, 3] if how == "no state dict" else nn.ReLU()  # a module asks to be unpickled, which runs code


@pytest.mark.parametrize(
    "how",
    ["a tensor is missing", "a tensor too many", "another shape", "no state dict", "code", "no file of torch"],
)
def test_a_file_that_is_not_this_network_says_what_to_do(how: str, tmp_path: Path) -> None:
    row, path = NETWORKS["efficientnet_lite0"], tmp_path / "spoilt.pth"
    if how == "no file of torch":
        path.write_bytes(b"rubbish")
    else:
        torch.save(spoilt(torch.load(packaged(row), weights_only=True), how), path)
    with pytest.raises(DreamError, match=r"spoilt\.pth.*EfficientNet-Lite0.*deepdream pull") as caught:
        models.load(row, path, CPU, torch.float32)
    assert caught.value.code == "checksum"


def run(code: str, **env: str) -> str:
    """What Python prints when it runs `code` in a process of its own."""
    command, env = [sys.executable, "-c", code], os.environ | env
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_embedded_network_does_without_torchvision() -> None:
    code = """
import sys, torch
from pathlib import Path
from dreamd import models
from dreamwire.networks import NETWORKS
models.load(NETWORKS["efficientnet_lite0"], Path({path!r}), torch.device("cpu"), torch.float32)
print([name for name in sys.modules if name.startswith("torchvision")])
"""
    assert run(code.format(path=str(packaged(NETWORKS["efficientnet_lite0"])))) == "[]"


@pytest.mark.parametrize(
    ("ill", "expected"), [(False, "torchvision"), (True, "operator torchvision::nms needs another compiler")]
)
def test_torchvision_is_cured_of_missing_operators_and_of_nothing_else(
    ill: bool, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "part.py").touch()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        f"""
import sys, torch
assert "torchvision.part" not in sys.modules, "left over from the first try"
import torchvision.part
if {ill}:
    raise RuntimeError("operator torchvision::nms needs another compiler")
for name in "nms", "qnms":
    if not hasattr(torch.ops.torchvision, name):
        raise RuntimeError(f"operator torchvision::{{name}} does not exist")
"""
    )
    code = """
from dreamd import models
try:
    print(models._torchvision().__name__)
except RuntimeError as error:
    print(error)
"""
    assert run(code, PYTHONPATH=str(tmp_path)) == expected


@pytest.mark.parametrize("row", TORCHVISION, ids=name_of)
def test_rows_say_what_torchvision_says_of_its_weights(row: Network) -> None:
    weights = models._torchvision().models.get_model_weights(row.name).IMAGENET1K_V1
    assert row.weights.url == weights.url
    assert row.weights.file == Path(weights.url).name
    assert weights.url.endswith(f"-{row.weights.sha256}.pth")
    assert row.weights.megabytes == pytest.approx(weights.meta["_file_size"], abs=0.06)
    preset = weights.transforms()
    assert [row.classes_at] == preset.crop_size
    mean, std = torch.tensor(preset.mean), torch.tensor(preset.std)
    if row.name in ("googlenet", "inception_v3"):
        # torchvision scales as for its other networks and then, in the network, to TensorFlow's scale.
        options = {"weights": None, "transform_input": True, "init_weights": False}
        net = models._torchvision().models.get_model(row.name, **options)
        black, white = (net._transform_input(((x - mean) / std).view(1, 3, 1, 1)).flatten() for x in (0, 1))
        std = 1 / (white - black)
        mean = -black * std
    torch.testing.assert_close(torch.tensor(row.mean), mean)
    torch.testing.assert_close(torch.tensor(row.std), std)

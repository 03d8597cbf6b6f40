"""Networks of timm: looked through for layers, fetched by timm's own means, and then like all others.

No weights can be fetched here, so those of a checkpoint that timm makes up stand for them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dreamd import models, timm_networks, weights
from dreamwire.errors import DreamError
from dreamwire.networks import CLASSES, NETWORKS, Network, find_network, networks, read_row, row_file
from dreamwire.params import validate
from real_daemon import Daemon

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is an optional extra")

CPU = torch.device("cpu")
#: One of each kind: plain; uneven padding; a rectifier in every BatchNorm; channels at the end; a global branch.
MODELS = ("resnet18", "tf_efficientnet_lite0", "regnetx_002", "convnext_atto", "mobilenetv3_small_050")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPDREAM_DATA", str(tmp_path / "data"))
    return tmp_path


def made_up(model: str, path: Path) -> nn.Module:
    """A network of timm with weights that are made up, and a checkpoint of it."""
    torch.manual_seed(0)
    net: nn.Module = models.timm().create_model(model, pretrained=False).eval()
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1 and tensor.is_floating_point():
            tensor.add_(0.1 * torch.randn(tensor.shape))
    torch.save(net.state_dict(), path)
    return net


def near(actual: Tensor, expected: Tensor) -> bool:
    return float((actual - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("model", MODELS)
@torch.no_grad()
def test_layers_are_those_of_the_module_and_see_what_is_said(home: Path, model: str) -> None:
    module = made_up(model, home / "checkpoint.pth")
    row = timm_networks.fetch(f"timm:{model}", home / "checkpoint.pth")
    assert row == find_network(row.name) == networks()[row.name]
    net = models.load(row, weights.require(row), CPU, torch.float32)
    stride = max(layer.stride for layer in row.layers.values())
    side = 12 * stride
    pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    found: dict[str, Tensor] = {}
    for name in row.offers:
        module.get_submodule(name).register_forward_hook(
            lambda _m, _x, y, name=name: found.update({name: y.clone()})
        )
    assert near(net.classify(pixels), module(net.scale(pixels)))
    for name, whole in zip(row.offers, net.features(pixels, row.offers), strict=True):
        layer = row.layers[name]
        assert near(whole, found[name]), name
        assert whole.shape[1:] == (layer.channels, side // layer.stride, side // layer.stride)
        # One in the middle, shown what it sees and no more.
        place = whole.shape[2] // 2
        first = (place * layer.stride - layer.before) // stride * stride
        last = -(-(place * layer.stride + layer.after + 1) // stride) * stride
        if layer.whole or first < 0 or last > side:
            continue
        (part,) = net.features(pixels[..., first:last, first:last], [name])
        here = place - first // layer.stride
        assert near(part[..., here, here], whole[..., place, place]), name


def test_a_field_is_no_larger_than_what_the_gradient_reaches(home: Path) -> None:
    made_up("resnet18", home / "checkpoint.pth")
    row = timm_networks.fetch("timm:resnet18", home / "checkpoint.pth")
    net = models.load(row, weights.require(row), CPU, torch.float32)
    pixels = torch.rand(1, 3, 256, 256, requires_grad=True)
    (activations,) = net.features(pixels, ["layer3.0"])
    (gradient,) = torch.autograd.grad(activations[0, :, 8, 8].sum(), pixels)
    places = gradient[0].any(0).any(1).nonzero()
    layer = row.layers["layer3.0"]
    assert 8 * 16 - layer.before <= int(places[0]) < 8 * 16 - layer.before + 16
    assert 8 * 16 + layer.after - 16 < int(places[-1]) <= 8 * 16 + layer.after


def test_the_published_lite0_sees_as_our_own(home: Path) -> None:
    made_up("tf_efficientnet_lite0", home / "checkpoint.pth")
    layers = timm_networks.fetch("timm:tf_efficientnet_lite0", home / "checkpoint.pth").layers
    own = NETWORKS["efficientnet_lite0"].layers
    assert list(layers.values())[-16:] == list(own.values())[1:]


def test_a_pulled_network_is_like_all_others(place: Daemon, home: Path) -> None:
    made_up("test_resnet", home / "checkpoint.pth")
    place.options = ("--preload", "")
    place.start()
    name, line = "timm:test_resnet", ("--weights", str(home / "checkpoint.pth"))
    assert "deepdream pull timm:test_resnet" in place.run("layers", name).stderr
    done = place.run("pull", name, *line)
    assert (done.returncode, done.stderr) == (0, "")
    assert "test_resnet of timm is ready" in done.stdout
    rows = {row["name"]: row for row in json.loads(place.run("networks", "--json").stdout)}
    assert rows[name]["here"]
    layers = json.loads(place.run("layers", name, "--json").stdout)
    assert [each["name"] for each in layers if each["default"]] == [rows[name]["default_layer"]]
    picture = Path(__file__).parents[2] / "plugin" / "deep-dream" / "pictures" / "swirls.jpg"
    dreamt = place.run(
        "dream", str(picture), "-o", str(home / "out.png"), "--network", name, "--octaves", "1", "--steps", "1"
    )
    assert (dreamt.returncode, dreamt.stderr) == (0, "")
    assert f"of {name} in" in dreamt.stdout
    assert len(place.run("classify", str(picture), "--network", name).stdout.splitlines()) == 6
    wrong = place.run("dream", str(picture), "-o", str(home / "o.png"), "--network", name, "--layers", "layer9")
    assert "has no layer 'layer9'" in wrong.stderr


def test_what_cannot_be_fetched_says_why_and_leaves_nothing(place: Daemon, tmp_path: Path) -> None:
    place.environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    place.options = ("--preload", "")
    place.start()
    with place.client() as client:
        for name, code, message in (
            ("timm:test_resnet", "download", "could not get the weights of test_resnet"),
            ("timm:resnet81", "unknown_network", "did you mean resnet"),
            ("timm:resnet18.nonsense", "unknown_network", "did you mean resnet18"),
            ("timm:../resnet18", "unknown_network", "no network called"),
        ):
            with pytest.raises(DreamError, match=message) as caught:
                list(client.pull(name))
            assert caught.value.code == code
    assert not list((place.folder / "data").rglob("timm*"))


@pytest.mark.parametrize("model", ["vit_tiny_patch16_224", "hrnet_w18_small"])
def test_what_is_not_convolutional_throughout_is_refused(home: Path, model: str) -> None:
    with pytest.raises(DreamError, match=f"timm:{model} cannot dream here"):
        timm_networks.fetch(f"timm:{model}")
    assert not (home / "data").exists()


def test_a_checkpoint_of_another_network_is_refused(home: Path) -> None:
    made_up("test_resnet", home / "checkpoint.pth")
    with pytest.raises(DreamError, match="could not be read as a checkpoint of resnet18") as caught:
        timm_networks.fetch("timm:resnet18", home / "checkpoint.pth")
    assert caught.value.code == "checksum"
    with pytest.raises(DreamError, match="There is no file"):
        timm_networks.fetch("timm:resnet18", home / "nothing.pth")
    assert networks().keys() == NETWORKS.keys()


def test_without_timm_there_is_the_command_that_installs_it(place: Daemon, tmp_path: Path) -> None:
    (tmp_path / "timm.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    (tmp_path / "checkpoint.pth").touch()
    done = place.run("pull", "timm:resnet18", "--weights", str(tmp_path / "checkpoint.pth"), PYTHONPATH=path)
    assert done.returncode == 1
    assert '-m pip install "timm>=' in done.stderr


@pytest.fixture
def row(home: Path) -> Network:
    made_up("test_resnet", home / "checkpoint.pth")
    return timm_networks.fetch("timm:test_resnet", home / "checkpoint.pth")


def test_a_row_that_was_damaged_is_passed_over_and_whoever_names_it_is_told(row: Network) -> None:
    path = row_file(row.name)
    for text in ("{", "[]", path.read_text().replace("timm:test_resnet", "timm:resnet18")):
        path.write_text(text)
        assert row.name not in networks()
        with pytest.raises(DreamError, match="Delete it") as caught:
            find_network(row.name)
        assert caught.value.code == "unknown_network"


def test_networks_of_other_classes_dream_of_layers_alone(row: Network, home: Path) -> None:
    geometry = {name: value for name, value in row.geometry.items() if name != CLASSES}
    other = dataclasses.asdict(row) | {"geometry": geometry}
    row_file(row.name).write_text(json.dumps(other))
    assert CLASSES not in read_row(row_file(row.name)).layers
    assert validate("dream", {"network": row.name})
    for kind, classes in (("classify", {}), ("dream", {"classes": "lemon"}), ("saliency", {})):
        with pytest.raises(DreamError, match="tells no classes apart"):
            validate(kind, {"network": row.name} | classes)

"""Networks ready to dream: built from their row, filled from their file, traced into a graph of plain operations.

The graph has one spelling for everything: modules for operations with weights, functions for those without.
So `LoadedNetwork` can stop at any layer, `dreamd.geometry` can read what a layer sees, and a gradient can be
written node by node.
"""

from __future__ import annotations

import math
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from dreamwire.errors import DreamError
from dreamwire.networks import CLASSES, TIMM, Network

from .adjoint import Author, Written, called, needs
from .convolutions import SameConv2d
from .replay import Recordings, Replayed, recorder


class _ConvNorm(nn.Sequential):
    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        # At stride 1 "same" is symmetric, and the convolution's own padding costs no copy.
        self.conv = (
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
            if stride == 1
            else SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        )
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        if act:
            self.act = nn.ReLU6()


class _MBConv(nn.Module):
    """Widen, filter each channel, narrow again; the input is added where it has the shape of the output."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = _ConvNorm(inputs, width) if expansion > 1 else nn.Identity()
        self.depthwise = _ConvNorm(width, width, kernel, stride, groups=width)
        self.project = _ConvNorm(width, outputs, act=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite (Google, 2020, tensorflow/tpu `efficientnet/lite`): no squeeze-excite, ReLU6.

    `width` and `depth` multiply the channels and the repeats of the stages, but not the stem, the head, or
    the repeats of the first stage and the last.
    """

    # Of every stage: repeats, kernel, stride of the first block, expansion, channels.
    STAGES = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self, width: float, depth: float) -> None:
        super().__init__()
        inputs = 32
        self.stem = _ConvNorm(3, inputs, kernel=3, stride=2)
        self.blocks = nn.Sequential()
        for stage, (repeats, kernel, stride, expansion, channels) in enumerate(self.STAGES):
            inner = 0 < stage < len(self.STAGES) - 1
            outputs = round(width * channels / 8) * 8
            for block in range(math.ceil(depth * repeats) if inner else repeats):
                self.blocks.append(_MBConv(inputs, outputs, kernel, 1 if block else stride, expansion))
                inputs = outputs
        self.head = _ConvNorm(inputs, 1280)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.head(self.blocks(self.stem(x))).mean((2, 3)))
        return logits


_LITE_SCALES = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
_LITE_OUTER = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
    "_fc": "classifier",
}
_LITE_BLOCK = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}


def _lite_key(key: str) -> str:
    """The published files' `_blocks.3._bn1.bias` -> our `blocks.3.depthwise.norm.bias`; other keys unchanged."""
    *path, module, tensor = key.split(".")
    if path[:1] == ["_blocks"]:
        return f"blocks.{path[-1]}.{_LITE_BLOCK.get(module, module)}.{tensor}"
    return f"{_LITE_OUTER.get(module, module)}.{tensor}"


def _torchvision_key(key: str) -> str | None:
    """None for the auxiliary heads, which only training needs; DenseNet's first names -> those of today."""
    if key.startswith(("aux1.", "aux2.", "AuxLogits.")):
        return None
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", key)


#: The suffix of files that hold tensors and nothing else; those of torch hold a program that builds them.
SAFETENSORS = ".safetensors"

_declared: list[torch.library.Library] = []  # a Library takes its operators with it when it is collected


def _torchvision() -> ModuleType:
    """torchvision, even beside a torch that cannot load its compiled operators.

    The library of torchvision's usual wheel wants CUDA; with a torch for the processor alone it stays away, and
    the import ends in "operator torchvision::nms does not exist". No network here calls these operators, so
    declaring them is enough.
    """
    try:
        import torchvision  # noqa: PLC0415 - a second of import that the embedded network does without
    except RuntimeError as error:
        if _declared or "operator torchvision::nms does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        _declared.append(library)
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        import torchvision  # noqa: PLC0415
    module: ModuleType = torchvision
    return module


def _build_torchvision(name: str) -> nn.Module:
    trained_with_aux = name in ("googlenet", "inception_v3")
    options = {"aux_logits": False, "init_weights": False} if trained_with_aux else {}
    net: nn.Module = _torchvision().models.get_model(name, weights=None, **options)
    return net


#: The first timm that runs nothing of what is in a checkpoint.
_SOUND_TIMM = (1, 0, 26)


def timm() -> ModuleType:
    """The library timm. Raises `DreamError` if it is not installed, or too old to be given files of strangers."""
    _torchvision()
    try:
        import timm as module  # noqa: PLC0415 - an optional extra
    except ImportError:
        found = "is not here"
    else:
        if tuple(map(int, re.findall(r"\d+", module.__version__)[:3])) >= _SOUND_TIMM:
            library: ModuleType = module
            return library
        found = f"is {module.__version__}, which would run code that is in a file of weights"
    least = ".".join(map(str, _SOUND_TIMM))
    raise DreamError(
        "unknown_network",
        f"Networks of timm need the Python package timm, {least} or later; it {found}. Install it with"
        f' `"{sys.executable}" -m pip install "timm>={least}" torch=={torch.__version__.partition("+")[0]}`.',
    )


def build_timm(name: str) -> nn.Module:
    """A network of timm by its name here, with weights that are made up."""
    return split_norms(timm().create_model(name.removeprefix(TIMM), pretrained=False))


def split_norms(net: nn.Module) -> nn.Module:
    """timm's BatchNorms with a rectifier inside as the two modules that they are: so they can be folded."""
    for name, child in net.named_children():
        if type(child).__name__ == "BatchNormAct2d":
            norm = nn.BatchNorm2d(child.num_features, child.eps)  # type: ignore[arg-type]
            norm.load_state_dict(child.state_dict(), strict=False, assign=True)
            setattr(net, name, nn.Sequential(norm, child.act).train(child.training))  # type: ignore[arg-type]
        else:
            split_norms(child)
    return net


@dataclass(frozen=True)
class _Family:
    """How a network is built by its name, and what a key of its file is called in it (None: not wanted)."""

    build: Callable[[str], nn.Module]
    key: Callable[[str], str | None]


_FAMILIES: Mapping[str, _Family] = {
    "efficientnet_lite": _Family(lambda name: EfficientNetLite(*_LITE_SCALES[name]), _lite_key),
    "torchvision": _Family(_build_torchvision, _torchvision_key),
    "timm": _Family(build_timm, lambda key: key),
}


def build(row: Network) -> nn.Module:
    """The architecture of a network in eval mode on the meta device: shapes without weights."""
    with torch.device("meta"):
        return _FAMILIES[row.family].build(row.name).eval()


class Tracer(fx.Tracer):
    """Records for every module, containers too, the node of its output, and spells every operation one way."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[str, fx.Node] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return next(m.children(), None) is None and next(m.parameters(), None) is not None

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        # Both are the identity outside training.
        if type(m).__name__ in ("Dropout", "StochasticDepth"):
            result = args[0]
        else:
            result = super().call_module(m, forward, args, kwargs)
        if isinstance(result, fx.Proxy):
            self.outputs[self.path_of_module(m)] = result.node
        return result

    def create_node(
        self, kind: str, target: Any, args: Any, kwargs: dict[str, Any], *rest: Any, **more: Any
    ) -> fx.Node:
        if "inplace" in kwargs:
            kwargs = {**kwargs, "inplace": False}  # `_reuse_memory` sets it where it is safe
        return super().create_node(kind, target, args, kwargs, *rest, **more)


@dataclass(frozen=True)
class Traced:
    """A network as a graph: `module` holds the weights and the `graph`, `layers` the node of each layer.

    The layer `CLASSES` is what the classifier, `head`, makes of every `cells`² activations of its node; a network
    that pools nothing has none.
    """

    module: fx.GraphModule
    layers: dict[str, fx.Node]
    head: fx.GraphModule | None = None
    cells: int = 1


def trace(net: nn.Module, layers: Sequence[str]) -> Traced:
    """The graph of a network in eval mode, from pixels to logits; `layers` names the modules that are layers."""
    tracer = Tracer()
    graph = tracer.trace(net)
    module = fx.GraphModule(net, graph)
    nodes = {name: tracer.outputs[name] for name in layers}
    pools = [node for node in graph.nodes if _pools(node)]
    if not pools:
        return Traced(module, nodes)
    (source,) = pools[-1].all_input_nodes
    head = _behind(module, pools[-1])
    if not any(node.op == "call_module" for node in head.graph.nodes) and source.target is F.relu:
        # SqueezeNet rectifies its scores: below 0 a class could not be climbed.
        (source,) = source.all_input_nodes
    return Traced(module, nodes | {CLASSES: source}, head, _cells(pools[-1]))


def _pools(node: fx.Node) -> bool:
    return node.target in (F.adaptive_avg_pool2d, "mean")


def _cells(pool: fx.Node) -> int:
    """The side of what a pooling leaves, which has to be the same both ways."""
    size = pool.args[1] if pool.target is F.adaptive_avg_pool2d else 1
    sides = {int(side) for side in (size if isinstance(size, (tuple, list)) else (size,))}
    (side,) = sides
    return side


def _behind(module: fx.GraphModule, pool: fx.Node) -> fx.GraphModule:
    """From what the last pooling takes to the logits."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {pool.all_input_nodes[0]: graph.placeholder("activations")}
    nodes = list(module.graph.nodes)
    for node in nodes[nodes.index(pool) :]:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    return fx.GraphModule(module, graph)


def fold_norms(traced: Traced) -> None:
    """Multiply every BatchNorm into the convolution before it, where nothing else uses that convolution.

    Changes `traced` and the convolutions, which it shares with the network that it was made from.
    """
    module, layers = traced.module, traced.layers
    for node in list(module.graph.nodes):
        norm = called(module, node)
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            continue
        source = node.all_input_nodes[0]
        conv = called(module, source)
        # Others of timm's convolutions compute with their weights first.
        if not isinstance(conv, nn.Conv2d) or type(conv) not in (nn.Conv2d, SameConv2d):
            continue
        if len(source.users) > 1 or source in layers.values():
            continue
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        node.replace_all_uses_with(source)
        module.graph.erase_node(node)
        layers.update({name: source for name, old in layers.items() if old is node})
    module.delete_all_unused_submodules()
    module.recompile()


def truncate(traced: Traced, nodes: Sequence[fx.Node]) -> fx.GraphModule:
    """A module from pixels to the values of `nodes` that computes only what they need, with the same weights."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in needs(traced.module.graph, nodes):
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in nodes))
    _reuse_memory(graph, traced.module)
    return fx.GraphModule(traced.module, graph)


# Their gradient can be had from what they return, and that of the operations below without what those return.
_REWRITABLE = (F.relu, F.relu6, F.hardtanh)
_FORGETFUL = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)


def _reuse_memory(graph: fx.Graph, module: fx.GraphModule) -> None:
    """Let rectifiers overwrite their input, where neither another node, the output nor autograd wants it."""
    for node in graph.nodes:
        if node.target in _REWRITABLE:
            (source,) = node.all_input_nodes
            if len(source.users) == 1 and isinstance(called(module, source), _FORGETFUL):
                node.update_kwarg("inplace", True)


#: From pixels as in `LoadedNetwork.features` to the values of some nodes.
Forward = Callable[[Tensor], Sequence[Tensor]]


class LoadedNetwork:
    """A network with its weights on a device, every parameter frozen. `bytes` is the size of the weights.

    `layers` are those of its row. `traced` is the whole graph, in which no operation overwrites its input. Where
    the gradients of all that a layer is made of are written, by `author`, they are used, else autograd. On a card
    their windows are recorded. `at_once` is as `core.gradient.Network` has it: whoever knows the device sets it.
    """

    def __init__(self, row: Network, traced: Traced, device: torch.device, dtype: torch.dtype) -> None:
        self.row = row
        self.layers = row.layers
        self.device = device
        self.dtype = dtype
        self.traced = traced
        traced.module.to(device)
        self._author = Author(traced.module, dtype)
        traced.module.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.bytes = sum(tensor.nbytes for tensor in traced.module.state_dict().values())
        self._mean = torch.tensor(row.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(row.std, device=device).view(1, 3, 1, 1)
        self._forwards: dict[tuple[fx.Node, ...], Forward] = {}
        self.at_once = 0
        found = recorder(device)
        self.recordings = Recordings(row.label, found) if found is not None else None
        if device.type == "cuda":
            # By itself cuDNN rounds float32 to TF32's ten bits.
            torch.backends.cudnn.allow_tf32 = False

    def features(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """The activations of the layers named, each (n, C, h, w) in `dtype`, differentiable to `pixels`.

        `pixels` is R'G'B' in 0..1, float32 (n, 3, H, W) on `device`. The forward stops at the deepest of them.
        """
        found = self._forward(tuple(self.traced.layers[name] for name in names))(pixels)
        return [self._scores(each) if name == CLASSES else each for name, each in zip(names, found, strict=True)]

    def _scores(self, activations: Tensor) -> Tensor:
        """What the classifier says at every place: scores (n, 1000, h, w) of activations (n, C, h, w)."""
        cells, head = self.traced.cells, self.traced.head
        assert head is not None  # noqa: S101 - it has the layer
        rows, columns = (side - cells + 1 for side in activations.shape[-2:])
        # Every place as a picture of its own, which leaves the pooling nothing to do.
        count = activations.shape[0]
        places = F.unfold(activations, cells).mT.reshape(count * rows * columns, -1, cells, cells)
        scores: Tensor = head(places)
        return scores.reshape(count, rows * columns, -1).mT.reshape(count, -1, rows, columns)

    def classify(self, pixels: Tensor) -> Tensor:
        """The scores of the 1000 classes of ILSVRC before softmax, (n, 1000), of `pixels` as in `features`."""
        (logits,) = self.traced.module.graph.output_node().all_input_nodes
        (scores,) = self._forward((logits,))(pixels)
        return scores

    def scale(self, pixels: Tensor) -> Tensor:
        """What the graph takes: pixels in the network's own scale, `dtype` and memory format."""
        return ((pixels - self._mean) / self._std).to(self.dtype, memory_format=torch.channels_last)

    def _forward(self, nodes: tuple[fx.Node, ...]) -> Forward:
        if nodes not in self._forwards:
            if len(self._forwards) == 8:  # a session uses few; a census of all layers must not hoard them
                self._forwards.clear()
            self._forwards[nodes] = self._made(nodes)
        return self._forwards[nodes]

    def _made(self, nodes: tuple[fx.Node, ...]) -> Forward:
        passes = self._author.passes(nodes)
        if passes is not None:
            parts = passes, self._mean, self._std, self.dtype
            if self.recordings is not None:
                return Replayed(self.recordings, nodes, *parts)
            return Written(*parts)
        module = truncate(self.traced, nodes)
        return lambda pixels: module(self.scale(pixels))


def _tensors(weights: Path) -> Mapping[str, Tensor]:
    """The tensors in a file of weights, by their names; nothing in it is run.

    Raises what torch, its pickles, and safetensors raise, the last as `ValueError`.
    """
    if weights.suffix == SAFETENSORS:
        from safetensors import SafetensorError  # noqa: PLC0415 - comes with timm, whose networks are kept so
        from safetensors.torch import load_file  # noqa: PLC0415

        try:
            return load_file(weights)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    # Mapped, a classifier that is never asked takes no memory; torch cannot map its format of before 2020.
    state: Mapping[str, Tensor] = torch.load(
        weights, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(weights)
    )
    return state


def load(row: Network, weights: Path, device: torch.device, dtype: torch.dtype) -> LoadedNetwork:
    """A network from its file of weights, whose hash the caller has verified.

    Raises `DreamError` checksum when the file does not hold this network.
    """
    net = build(row)
    key = _FAMILIES[row.family].key
    try:
        state = _tensors(weights)
        renamed = {name: tensor for old, tensor in state.items() if (name := key(old)) is not None}
        net.load_state_dict(renamed, assign=True)
    except (RuntimeError, AttributeError, EOFError, LookupError, ValueError, pickle.UnpicklingError) as error:
        cause = " ".join(str(error).split())
        raise DreamError(
            "checksum",
            f"{weights} could not be read as the weights of {row.label} ({cause:.300})."
            f" If it is not the published file, delete it and run `deepdream pull {row.name}`.",
        ) from error
    traced = trace(net.requires_grad_(False), row.offers)
    fold_norms(traced)
    return LoadedNetwork(row, traced, device, dtype)

"""What every layer on offer sees, read from the networks' graphs; `python -m dreamd.geometry` writes it down.

Needs the architectures alone, no weights: Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
Neural Networks" (Distill, 2019), with the two ends of a field kept apart, since TensorFlow pads unevenly.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional as F

from dreamwire import networks
from dreamwire.networks import CLASSES, NETWORKS, Layer, Network

from .convolutions import SameConv2d, same_padding
from .models import Traced, build, trace


class View(NamedTuple):
    """What activation i of a node sees along one axis: pixels `i*stride - before` to `i*stride + after`.

    `whole`: the whole window besides. A node that sees nothing else (behind a global pooling) has stride 0.
    """

    before: int
    after: int
    stride: int
    whole: bool = False


PIXEL = View(0, 0, 1)
EVERYTHING = View(0, 0, 0, whole=True)
SIDE = 512  # of the picture whose activations are counted: any multiple of every stride will do


class Window(NamedTuple):
    """Output o of an operation takes the inputs `o*stride - before + n*dilation` for n in 0..kernel - 1."""

    kernel: int
    stride: int
    before: int
    dilation: int = 1

    def over(self, view: View) -> View:
        """What the operation's outputs see when its inputs have this view."""
        reach = (self.kernel - 1) * self.dilation - self.before
        return View(
            view.before + self.before * view.stride,
            view.after + reach * view.stride,
            view.stride * self.stride,
            view.whole,
        )


def _at(axis: int, value: Any) -> int:
    return int(value[axis] if isinstance(value, (tuple, list)) else value)


def _conv(axis: int, conv: nn.Conv2d) -> Window:
    kernel, stride = conv.kernel_size[axis], conv.stride[axis]
    if isinstance(conv, SameConv2d) or type(conv).__name__ == "Conv2dSame":
        # The network is shown sides that its whole stride divides, so this stride divides its own input's.
        extent = (kernel - 1) * conv.dilation[axis] + 1
        return Window(kernel, stride, same_padding(extent, stride, size=0)[0], conv.dilation[axis])
    return Window(kernel, stride, _at(axis, conv.padding), conv.dilation[axis])


def _max_pool(
    axis: int, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, **_: Any
) -> Window:
    kernel = _at(axis, kernel_size)
    return Window(kernel, _at(axis, stride or kernel), _at(axis, padding), _at(axis, dilation))


def _avg_pool(axis: int, kernel_size: Any, stride: Any = None, padding: Any = 0, *_: Any, **__: Any) -> Window:
    return _max_pool(axis, kernel_size, stride, padding)


# How operations look at their input: modules and methods by name, functions by themselves. A sliding operation's
# window follows from the module or from the function's arguments. Ceil mode matters at the border only.
SLIDING: dict[object, Callable[..., Window]] = {
    "Conv2d": _conv,
    "SameConv2d": _conv,
    "Conv2dSame": _conv,  # timm's
    "ScaledStdConv2d": _conv,
    "StdConv2d": _conv,
    F.max_pool2d: _max_pool,
    F.avg_pool2d: _avg_pool,
}
GLOBAL = {F.adaptive_avg_pool2d, torch.flatten, "flatten", "mean"}
# Activation i of the output takes activation i of each input. Permutations bring the channels to the end and
# back; LayerNorm and Linear work on channels there.
POINTWISE = {
    "BatchNorm2d", "LayerNorm", "LayerNorm2d", "Linear", F.relu, F.hardtanh, F.hardswish, F.hardsigmoid, F.gelu,
    operator.add, operator.mul, torch.cat, torch.permute,
    # Of timm's networks.
    "PReLU", F.relu6, F.leaky_relu, F.elu, F.silu, F.mish, F.sigmoid, torch.sigmoid, "sigmoid", "mul", "permute",
    operator.truediv, "contiguous",
}  # fmt: skip


def join(views: Iterable[View]) -> View:
    """What a sum, product or concatenation of branches sees."""
    views = list(views)
    local = [view for view in views if view.stride]
    whole = any(view.whole for view in views)
    if not local:
        return EVERYTHING
    if len({view.stride for view in local}) > 1:
        raise NotImplementedError(f"Branches of different strides cannot be joined: {local}")
    return View(max(view.before for view in local), max(view.after for view in local), local[0].stride, whole)


def views(traced: Traced, axis: int) -> dict[fx.Node, View]:
    """What every node of a graph sees along an axis (0 is the height). Raises NotImplementedError on operations
    that the tables above do not have."""
    seen: dict[fx.Node, View] = {}
    for node in traced.module.graph.nodes:
        if node.op == "placeholder":
            seen[node] = PIXEL
        elif node.op in ("call_module", "call_function", "call_method"):
            module = traced.module.get_submodule(node.target) if node.op == "call_module" else None
            kind = node.target if module is None else type(module).__name__
            sources = [seen[source] for source in node.all_input_nodes if source in seen]
            if not sources:  # what is made of weights alone is the same everywhere
                continue
            inputs = join(sources)
            if kind in SLIDING:
                args, kwargs = (node.args[1:], node.kwargs) if module is None else ((module,), {})
                seen[node] = SLIDING[kind](axis, *args, **kwargs).over(inputs)
            elif kind in GLOBAL:
                seen[node] = EVERYTHING
            elif kind in POINTWISE:
                seen[node] = inputs
            else:
                raise NotImplementedError(f"{node.name}: geometry.py does not know what {kind} sees")
    return seen


def layers(row: Network) -> dict[str, Layer]:
    """What each layer on offer sees, in the row's order. NotImplementedError where `Layer` cannot say it."""
    return layers_of(trace(build(row), row.offers))


def layers_of(traced: Traced) -> dict[str, Layer]:
    """The same of a graph on the meta device."""
    along_height, along_width = views(traced, axis=0), views(traced, axis=1)
    ShapeProp(traced.module).propagate(torch.empty(1, 3, SIDE, SIDE, device="meta"))
    found = {}
    for name, node in traced.layers.items():
        view = along_height[node]
        if view != along_width[node] or not view.stride:
            raise NotImplementedError(f"{name} sees {view} along the height, {along_width[node]} along the width")
        channels, height = node.meta["tensor_meta"].shape[1:3]
        lost = SIDE // view.stride - height
        if name == CLASSES:
            view, lost = Window(traced.cells, 1, 0).over(view), lost + traced.cells - 1
            channels = traced.module.graph.output_node().meta["tensor_meta"].shape[1]
        found[name] = Layer(view.before, view.after, view.stride, channels, lost, view.whole)
    return found


def source() -> str:
    """The text of `dreamwire/geometry.py`."""
    lines = [
        '"""What every layer on offer sees: before, after, stride, channels, lost, whole; see `networks.Layer`.',
        "",
        "Generated by `python -m dreamd.geometry` from the architectures; not to be edited.",
        '"""',
        "",
        "GEOMETRY: dict[str, dict[str, tuple[int, int, int, int, int, bool]]] = {",
    ]
    for row in NETWORKS.values():
        lines.append(f'    "{row.name}": {{')
        for name, layer in layers(row).items():
            lines.append(f'        "{name}": {dataclasses.astuple(layer)},')
        lines.append("    },")
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    Path(networks.__file__).with_name("geometry.py").write_text(source(), encoding="utf-8")

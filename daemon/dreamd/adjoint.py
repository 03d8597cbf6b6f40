"""Gradients of convnets, written in advance: a graph as a list of operations, and a list of their adjoints.

With frozen weights all is known before the first pixel comes. The gradient to a convolution's input is a
convolution too, with the same weights turned round, and all that a rectifier has to remember is what came out of
it. Beside autograd that saves a third to a half of a step: rectifiers work inside their convolution or in place,
"same" padding copies nothing, and strided convolutions go back phase by phase.

In bfloat16 what lies near the pixels is still computed in float32, on the way forwards. There the rounding decides
which rectifiers are open: of a smooth picture the gradient would be another one altogether. Everything behind, and
the whole way back, may be coarse.

Autograd is the oracle: `tests/daemon/test_adjoint.py` compares the two for every layer of every network.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .convolutions import Convolution, Phases, SameConv2d

#: What reads activations of a smaller stride than this is computed in float32, whatever the network's type.
EXACT_BELOW = 4


@dataclass(frozen=True)
class Gradient:
    """A gradient on its way back; `own` where nobody else needs its memory, so that it may be changed in place."""

    value: Tensor | Phases
    own: bool = True

    def whole(self) -> Tensor:
        return self.value.joined() if isinstance(self.value, Phases) else self.value

    def plus(self, other: Gradient) -> Gradient:
        """The sum, in the memory of one that may be changed."""
        mine, others = self.whole(), other.whole()
        if self.own:
            return Gradient(mine.add_(others))
        return Gradient(others.add_(mine) if other.own else mine + others)

    def under(self, outputs: Tensor, high: float) -> Gradient:
        """What a rectifier between 0 and `high` lets through: nothing where its `outputs` are at the ends."""

        def masked(gradient: Tensor, outputs: Tensor) -> Tensor:
            place = {"grad_input": gradient} if self.own else {}
            outputs = outputs.to(gradient.dtype)
            found: Tensor
            if math.isinf(high):
                found = torch.ops.aten.threshold_backward(gradient, outputs, 0, **place)
            else:
                found = torch.ops.aten.hardtanh_backward(gradient, outputs, 0, high, **place)
            return found

        if isinstance(self.value, Phases):
            phases = self.value
            return Gradient(phases.each(lambda phase, part: masked(part, outputs[phases.where(phase)])))
        return Gradient(masked(self.value, outputs))


class Operation(Protocol):
    """A step of a network. What `forward` returns besides its output is given to `adjoint`, and nothing else."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        """The output, and what the adjoint has to know."""

    def adjoint(self, gradient: Gradient, kept: Any) -> Sequence[Gradient]:
        """The gradient to each input, of that to the output."""


@dataclass(frozen=True)
class Convolve:
    """A convolution, and the rectifier behind it, up to `high`, if there is one."""

    convolution: Convolution
    high: float | None

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        (x,) = inputs
        y = self.convolution.forward(x.to(self.convolution.dtype), self.high)
        return y, (x.shape[-2:], None if self.high is None else y.to(self.convolution.back_dtype))

    def adjoint(self, gradient: Gradient, kept: Any) -> Sequence[Gradient]:
        size, outputs = kept
        if self.high is not None:
            gradient = gradient.under(outputs, self.high)
        convolution = self.convolution
        if isinstance(gradient.value, Phases) and convolution.pointwise:
            # Fewer channels have to be put together behind it than before.
            return [Gradient(gradient.value.each(lambda _, part: convolution.back_pointwise(part)).joined())]
        return [Gradient(convolution.back(gradient.whole(), size))]


@dataclass(frozen=True)
class Rectify:
    """A rectifier by itself."""

    high: float

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        (x,) = inputs
        y = x.clamp(0, self.high)
        return y, y

    def adjoint(self, gradient: Gradient, kept: Any) -> Sequence[Gradient]:
        return [gradient.under(kept, self.high)]


class Add:
    """The sum of two inputs of the same shape."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        first, second = inputs
        return first + second, None

    def adjoint(self, gradient: Gradient, kept: Any) -> Sequence[Gradient]:
        whole = gradient.whole()
        return [Gradient(whole, own=False), Gradient(whole, own=False)]


class Concatenate:
    """The channels of several inputs behind each other."""

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        return torch.cat(inputs, 1), [each.shape[1] for each in inputs]

    def adjoint(self, gradient: Gradient, kept: Any) -> Sequence[Gradient]:
        # Parts of one memory; and a convolution is quicker with one of its own.
        return [Gradient(part, own=False) for part in torch.split(gradient.whole(), kept, 1)]


@dataclass(frozen=True)
class Derive:
    """Any function of one input, whose gradient is left to autograd."""

    function: Callable[[Tensor], Tensor]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        (x,) = inputs
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = self.function(x)
        return y.detach(), (x, y)

    def adjoint(self, gradient: Gradient, kept: Any) -> Sequence[Gradient]:
        x, y = kept
        whole = gradient.whole()
        (found,) = torch.autograd.grad(y, x, whole.to(y.dtype))
        return [Gradient(found.to(whole.dtype))]


@dataclass(frozen=True)
class Step:
    """An operation with the numbers of its inputs and its output, and of the inputs that nobody needs any more."""

    operation: Operation
    inputs: tuple[int, ...]
    output: int
    spent: frozenset[int]


@dataclass(frozen=True)
class Passes:
    """A network from the pixels, number 0, to `outputs`, and back."""

    steps: Sequence[Step]
    outputs: Sequence[int]

    def forward(self, x: Tensor, *, keep: bool = True) -> tuple[list[Tensor], list[Any]]:
        """The outputs for `x (n, 3, H, W)` in the network's own scale, and if wanted the tape for `backward`."""
        values, tape = {0: x}, []
        for step in self.steps:
            output, kept = step.operation.forward(*(values[number] for number in step.inputs))
            values[step.output] = output
            if keep:
                tape.append(kept)
            for number in step.spent:
                del values[number]
        return [values[number] for number in self.outputs], tape

    def backward(self, gradients: Sequence[Tensor | None], tape: list[Any]) -> Tensor:
        """The gradient to the pixels, of those to the outputs. It uses the tape up, and frees its memory."""
        found: dict[int, Gradient] = {}

        def add(number: int, gradient: Gradient) -> None:
            found[number] = found[number].plus(gradient) if number in found else gradient

        for number, given in zip(self.outputs, gradients, strict=True):
            if given is not None:
                add(number, Gradient(given, own=False))
        for step in reversed(self.steps):
            kept = tape.pop()
            if step.output in found:
                for number, each in zip(
                    step.inputs, step.operation.adjoint(found.pop(step.output), kept), strict=True
                ):
                    add(number, each)
        return found[0].whole()


class Written:
    """Activations of pixels R'G'B' in 0..1 by written passes, differentiable for autograd like any function."""

    def __init__(self, passes: Passes, mean: Tensor, std: Tensor, dtype: torch.dtype) -> None:
        self._passes, self._dtype = passes, dtype
        self._mean, self._std = mean, std

    def __call__(self, pixels: Tensor) -> Sequence[Tensor]:
        if torch.is_grad_enabled() and pixels.requires_grad:
            found: tuple[Tensor, ...] = _Differentiable.apply(pixels, self)  # type: ignore[no-untyped-call]
            return found
        with torch.no_grad():
            return self.forward(pixels, keep=False)[0]

    def forward(self, pixels: Tensor, *, keep: bool = True) -> tuple[list[Tensor], list[Any]]:
        x = torch.empty_like(pixels, memory_format=torch.channels_last)
        outputs, tape = self._passes.forward(torch.sub(pixels, self._mean, out=x).div_(self._std), keep=keep)
        return [each.to(self._dtype) for each in outputs], tape

    def backward(self, gradients: Sequence[Tensor | None], tape: list[Any]) -> Tensor:
        return (self._passes.backward(gradients, tape) / self._std).contiguous()


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pixels: Tensor, written: Written) -> tuple[Tensor, ...]:
        outputs, ctx.tape = written.forward(pixels)
        ctx.written = written
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None]:
        if not ctx.tape:
            raise RuntimeError("This gradient can be asked for once.")
        return ctx.written.backward(gradients, ctx.tape), None


class Author:
    """Writes the passes of a network to whichever of its nodes.

    Made when the graph's weights are still in float32: those near the pixels are kept so, for a network that is
    then brought to a coarser `dtype`.
    """

    def __init__(self, module: fx.GraphModule, dtype: torch.dtype) -> None:
        self._module = module
        self._dtype = dtype
        strides = _strides(module)
        self._convolutions: dict[str, Convolution] = {}
        for node in strides:
            conv = called(module, node)
            if isinstance(conv, nn.Conv2d) and strides[node.all_input_nodes[0]] < EXACT_BELOW:
                self._convolutions[str(node.target)] = Convolution(conv, dtype)

    def passes(self, wanted: Sequence[fx.Node]) -> Passes | None:
        """The passes from the pixels to some nodes; None if an operation on the way has no adjoint here."""
        needed = needs(self._module.graph, wanted)
        numbers: dict[fx.Node, int] = {}
        made: list[tuple[Operation, tuple[int, ...], int]] = []
        for node in needed:
            if node.op == "placeholder" or node in numbers:
                numbers.setdefault(node, 0)
                continue
            inputs = tuple(numbers[source] for source in node.all_input_nodes)
            # A rectifier that alone follows a convolution is computed with it.
            (last,) = node.users if len(node.users) == 1 and node not in wanted else (node,)
            high = _ceiling(last) if last in needed and isinstance(called(self._module, node), nn.Conv2d) else None
            operation = self._operation(node, high)
            if operation is None:
                return None
            number = len(made) + 1
            numbers[node] = number
            if high is not None:
                numbers[last] = number
            made.append((operation, inputs, number))
        outputs = [numbers[node] for node in wanted]
        last_use = {number: step for step, (_, inputs, _) in enumerate(made) for number in inputs}
        steps = [
            Step(operation, inputs, number, frozenset(n for n in inputs if last_use[n] == at) - set(outputs))
            for at, (operation, inputs, number) in enumerate(made)
        ]
        return Passes(steps, outputs)

    def _operation(self, node: fx.Node, high: float | None) -> Operation | None:
        module = called(self._module, node)
        if isinstance(module, nn.Conv2d):
            # Some of timm's convolutions compute with their weights first, others do not pad with zeros.
            zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
            if type(module) not in (nn.Conv2d, SameConv2d) or not zeros:
                return None
            return Convolve(self._convolution(str(node.target), module), high)
        ceiling = _ceiling(node)
        if ceiling is not None:
            return Rectify(ceiling)
        if node.target is operator.add and len(node.all_input_nodes) == len(node.args):
            return Add()
        if node.target is torch.cat:
            return Concatenate()
        if isinstance(module, nn.BatchNorm2d):
            return Derive(lambda x: module(x.to(module.weight.dtype)))
        if node.target in _POOLS:
            pool: Any = node.target
            return Derive(lambda x: pool(x, *node.args[1:], **node.kwargs))
        return None

    def _convolution(self, name: str, module: nn.Conv2d) -> Convolution:
        if name not in self._convolutions:
            self._convolutions[name] = Convolution(module, self._dtype)
        return self._convolutions[name]


_POOLS = (F.max_pool2d, F.avg_pool2d)


def called(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls."""
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def needs(graph: fx.Graph, wanted: Sequence[fx.Node]) -> dict[fx.Node, None]:
    """The nodes that some nodes are computed from, and these, in the graph's order."""
    needed = set(wanted)
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return {node: None for node in graph.nodes if node in needed}


def _ceiling(node: fx.Node) -> float | None:
    """What a rectifier cuts off at; None for other nodes, and for one that does not begin at 0."""
    if node.target is F.relu:
        return math.inf
    if node.target is F.relu6:
        return 6.0
    if node.target is F.hardtanh:
        low, high = _arguments(node, min_val=-1.0, max_val=1.0)
        return float(high) if low == 0 else None
    return None


def _arguments(node: fx.Node, **defaults: Any) -> list[Any]:
    """What the function of a node is given behind its input, in the order of `defaults`."""
    given = dict(zip(defaults, node.args[1:], strict=False)) | node.kwargs
    return [given.get(name, default) for name, default in defaults.items()]


def _stride(module: fx.GraphModule, node: fx.Node) -> int:
    """Of a convolution or a pooling; 0 of other nodes."""
    conv = called(module, node)
    if isinstance(conv, nn.Conv2d):
        return conv.stride[0]
    if node.target in _POOLS:
        kernel, stride = _arguments(node, kernel_size=None, stride=None)
        size = stride or kernel
        return int(size[0] if isinstance(size, (tuple, list)) else size)
    return 0


def _strides(module: fx.GraphModule) -> dict[fx.Node, int]:
    """How many pixels lie between two neighbours of each node's output."""
    found: dict[fx.Node, int] = {}
    for node in module.graph.nodes:
        sources = [found[source] for source in node.all_input_nodes]
        found[node] = max(sources, default=1) * (_stride(module, node) or 1)
    return found

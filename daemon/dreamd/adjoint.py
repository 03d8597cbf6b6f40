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

import itertools
import math
import operator
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .convolutions import Convolution, Phases, SameConv2d, is_pointwise, together
from .pooling import MaxPool
from .rectifier import let_through

#: What reads activations of a smaller stride than this is computed in float32, whatever the network's type.
EXACT_BELOW = 4


@dataclass(frozen=True)
class Channels:
    """Pictures `(n, C, h, w)` of which some channels are known, by the first of them; the others are 0."""

    parts: Mapping[int, Tensor]
    count: int

    def with_those_of(self, other: Channels) -> Channels:
        """Those of both, which have none in common."""
        return Channels({**self.parts, **other.parts}, self.count)

    def joined(self) -> Tensor:
        """The pictures."""

        def gap(part: Tensor, channels: int) -> list[Tensor]:
            count, _, *size = part.shape
            return [part.new_zeros(()).expand(count, channels, *size)] if channels else []

        parts, end = list[Tensor](), 0
        for first, part in sorted(self.parts.items(), key=operator.itemgetter(0)):
            parts += [*gap(part, first - end), part]
            end = first + part.shape[1]
        return torch.cat([*parts, *gap(part, self.count - end)], 1)


@dataclass(frozen=True)
class Gradient:
    """A gradient on its way back; `own` where nobody else needs its memory, so that it may be changed in place."""

    value: Tensor | Phases | Channels
    own: bool = True

    def whole(self) -> Tensor:
        return self.value if isinstance(self.value, Tensor) else self.value.joined()

    def plus(self, other: Gradient) -> Gradient:
        """The sum, in the memory of one that may be changed."""
        if isinstance(self.value, Channels) and isinstance(other.value, Channels):
            return Gradient(self.value.with_those_of(other.value), self.own and other.own)
        mine, others = self.whole(), other.whole()
        if self.own:
            return Gradient(mine.add_(others))
        return Gradient(others.add_(mine) if other.own else mine + others)

    def under(self, outputs: Tensor, high: float) -> Gradient:
        """What a rectifier between 0 and `high` lets through: nothing where its `outputs` are at the ends."""
        masked = partial(let_through, high=high, in_place=self.own)
        if isinstance(self.value, Phases):
            phases = self.value
            return Gradient(phases.each(lambda phase, part: masked(part, outputs[phases.where(phase)])))
        if isinstance(self.value, Channels):
            return Gradient(self.value.joined()).under(outputs, high)
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
        if isinstance(gradient.value, Phases) and is_pointwise(convolution.conv):
            # Fewer channels have to be put together behind it than before.
            return [Gradient(gradient.value.each(lambda _, part: convolution.back_pointwise(part)).joined())]
        return [Gradient(convolution.back(gradient.whole(), size))]


@dataclass(frozen=True)
class Take:
    """Some channels of the `count` that its input has."""

    which: slice
    count: int

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        (x,) = inputs
        return x[:, self.which], None

    def adjoint(self, gradient: Gradient, kept: Any) -> Sequence[Gradient]:
        return [Gradient(Channels({self.which.start: gradient.whole()}, self.count), gradient.own)]


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
class Pool:
    """Max pooling."""

    pool: MaxPool

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Any]:
        (x,) = inputs
        return self.pool.forward(x)

    def adjoint(self, gradient: Gradient, kept: Any) -> Sequence[Gradient]:
        return [Gradient(self.pool.back(gradient.whole(), kept))]


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

        def make(operation: Operation, *inputs: int) -> int:
            made.append((operation, inputs, len(made) + 1))
            return len(made)

        for node in needed:
            if node.op == "placeholder" or node in numbers:
                numbers.setdefault(node, 0)
                continue
            inputs = [numbers[source] for source in node.all_input_nodes]
            group = self._group(node, needed, wanted)
            operation = self._operation(group)
            if operation is None:
                return None
            number = make(operation, *inputs)
            takes = self._takes(group) if len(group) > 1 else [None]
            for each, take in zip(group, takes, strict=True):
                numbers[each.node] = numbers[each.last] = make(take, number) if take else number
        outputs = [numbers[node] for node in wanted]
        last_use = {number: step for step, (_, inputs, _) in enumerate(made) for number in inputs}
        steps = [
            Step(operation, inputs, number, frozenset(n for n in inputs if last_use[n] == at) - set(outputs))
            for at, (operation, inputs, number) in enumerate(made)
        ]
        return Passes(steps, outputs)

    def _group(self, node: fx.Node, needed: Container[fx.Node], wanted: Container[fx.Node]) -> list[_Rectified]:
        """A node, with all others that are computed with it at once: pointwise convolutions of the same input."""
        first = self._rectified(node, needed, wanted)
        if not self._pointwise(node):
            return [first]
        (source,) = node.all_input_nodes
        others = [self._rectified(user, needed, wanted) for user in source.users if user in needed]
        return [each for each in others if self._pointwise(each.node) and each.high == first.high]

    def _rectified(self, node: fx.Node, needed: Container[fx.Node], wanted: Container[fx.Node]) -> _Rectified:
        if isinstance(called(self._module, node), nn.Conv2d) and len(node.users) == 1 and node not in wanted:
            (user,) = node.users
            high = _ceiling(user)
            if high is not None and user in needed:
                return _Rectified(node, user, high)
        return _Rectified(node, node, None)

    def _pointwise(self, node: fx.Node) -> bool:
        module = called(self._module, node)
        if not isinstance(module, nn.Conv2d) or type(module) is not nn.Conv2d:
            return False
        return is_pointwise(module) and module.groups == 1 and module.bias is not None

    def _takes(self, group: Sequence[_Rectified]) -> list[Take]:
        """What is each one's of the channels of a group."""
        modules: list[Any] = [called(self._module, each.node) for each in group]
        ends = list(itertools.accumulate((module.out_channels for module in modules), initial=0))
        return [Take(slice(first, last), ends[-1]) for first, last in itertools.pairwise(ends)]

    def _operation(self, group: Sequence[_Rectified]) -> Operation | None:
        node, high = group[0].node, group[0].high
        module = called(self._module, node)
        if isinstance(module, nn.Conv2d):
            # Some of timm's convolutions compute with their weights first, others do not pad with zeros.
            zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
            if type(module) not in (nn.Conv2d, SameConv2d) or not zeros:
                return None
            return Convolve(self._convolution([str(each.node.target) for each in group]), high)
        ceiling = _ceiling(node)
        if ceiling is not None:
            return Rectify(ceiling)
        if node.target is operator.add and len(node.all_input_nodes) == len(node.args):
            return Add()
        if node.target is torch.cat:
            return Concatenate()
        if isinstance(module, nn.BatchNorm2d):
            return Derive(lambda x: module(x.to(module.weight.dtype)))
        if node.target is F.max_pool2d:
            return Pool(MaxPool.of(node))
        if node.target is F.avg_pool2d:
            average: Any = node.target
            return Derive(lambda x: average(x, *node.args[1:], **node.kwargs))
        return None

    def _convolution(self, names: Sequence[str]) -> Convolution:
        """Of the module of a name, or of the pointwise ones of several with their channels behind each other."""
        name = " ".join(names)
        if name not in self._convolutions:
            modules: list[Any] = [self._module.get_submodule(each) for each in names]
            self._convolutions[name] = Convolution(
                modules[0] if len(modules) == 1 else together(modules), self._dtype
            )
        return self._convolutions[name]


@dataclass(frozen=True)
class _Rectified:
    """A node and, if `high` is given, the rectifier up to that which alone follows it: `last`, else the node."""

    node: fx.Node
    last: fx.Node
    high: float | None


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

"""Windows that are replayed: what a card has done for one, it does for the next of that shape at a single call.

There and back through a network are hundreds of small operations, and a card has done most of them before Python
has asked for the next. A CUDA graph holds them all. It works in memory of its own, the same every time: pixels are
copied in, and what comes of them is copied out before another replay overwrites it. The objective stands between
the two ways, is no part of them, and may be another one at every step.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from .adjoint import Written

log = logging.getLogger(__name__)

T = TypeVar("T")

#: How often a shape has to have come before it is recorded: some come once or twice, and a recording takes as
#: long as going through a few times.
SEEN = 2
#: The most shapes of a network that are kept. What they need besides the memory that all share is little.
MOST = 16
#: The share of the free memory that a recording may take.
SHARE = 1 / 2
#: How far a replay may be from what it replays, as a share of that. Libraries round as they like; a fault is far.
TOLERANCE = 0.1


class Recorder(Protocol):
    """Records work on a device. All recordings work in the same memory, where replays overwrite one another.

    `latest` is for telling whose values are there; nobody's are when something else is replayed.
    """

    latest: object

    def rehearse(self, work: Callable[[], T]) -> T:
        """Does work that is going to be recorded. Raises `torch.OutOfMemoryError` if there is no room for that."""

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """What `work` returns, without values, and the replay that fills it with them.

        What it reads that it has not made has to stay where it is.
        """


class CudaGraphs:
    """Records CUDA graphs, as torch's notes on CUDA semantics want it: rehearsed, on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self.latest: object = None
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def rehearse(self, work: Callable[[], T]) -> T:
        # A recording that fails for want of memory can leave some behind that nobody gets back: better look first.
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._device)
        with self._aside():
            found = work()
        self._stream.synchronize()
        left, _ = torch.cuda.mem_get_info(self._device)
        if free - left > SHARE * free:
            raise torch.OutOfMemoryError(f"it would take {free - left >> 20} MiB of {free >> 20} that are free")
        return found

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        with self._aside(), torch.cuda.graph(graph, self._pool, self._stream):
            found = work()
        return found, graph.replay

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """On the stream of the recordings: after what has been asked of the usual one, before what will be."""
        usual = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(usual)
        # torch.cuda.graph forgets to leave its stream when it fails.
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            yield
        usual.wait_stream(self._stream)


@functools.cache
def recorder(device: torch.device) -> Recorder | None:
    """The recorder for all networks on a device; None where there is nothing to be gained."""
    return CudaGraphs(device) if device.type == "cuda" else None


#: The way forwards of `Written`, and the way back.
Forward = Callable[[Tensor], tuple[list[Tensor], list[Any]]]
Backward = Callable[[Sequence[Tensor | None], list[Any]], Tensor]


class Window:
    """The ways forwards and back of one shape of pixels `(n, 3, H, W)`, recorded. What comes of them is a copy."""

    def __init__(self, recorder: Recorder, forward: Forward, backward: Backward, pixels: Tensor) -> None:
        self._recorder = recorder
        self._pixels = shown = pixels.clone(memory_format=torch.contiguous_format)

        def both() -> list[Tensor]:
            outputs, tape = forward(shown)
            return [*outputs, backward(outputs, tape)]

        expected = recorder.rehearse(both)
        (self._outputs, tape), self._replay_forward = recorder.record(lambda: forward(shown))
        self._gradients = given = [torch.empty_like(each) for each in self._outputs]
        self._found, self._replay_backward = recorder.record(lambda: backward(given, tape))
        outputs, replayed = self.forward(pixels)
        if not all(map(_alike, [*outputs, replayed.pop().backward(outputs)], expected)):
            raise RuntimeError("a replay gives something else")

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], list[Any]]:
        """As `Written.forward`; all that the tape holds is the `Replay`."""
        ticket = self._replayed(pixels)
        return [each.clone() for each in self._outputs], [Replay(self, pixels, ticket)]

    def backward(self, replay: Replay, gradients: Sequence[Tensor | None]) -> Tensor:
        """The gradient to the pixels of a replay, of those to its outputs."""
        if self._recorder.latest is not replay.ticket:
            self._replayed(replay.pixels)
        for own, given in zip(self._gradients, gradients, strict=True):
            own.zero_() if given is None else own.copy_(given)
        self._replay_backward()
        return self._found.clone()

    def _replayed(self, pixels: Tensor) -> object:
        self._pixels.copy_(pixels)
        self._replay_forward()
        self._recorder.latest = ticket = object()
        return ticket


@dataclass(frozen=True, eq=False)
class Replay:
    """A way forwards that has been replayed; before the way back it is once more, if others have been since."""

    window: Window
    pixels: Tensor
    ticket: object

    def backward(self, gradients: Sequence[Tensor | None]) -> Tensor:
        """The gradient to the pixels, of those to the outputs."""
        return self.window.backward(self, gradients)


def _alike(found: Tensor, expected: Tensor) -> bool:
    found, expected = found.float(), expected.float()
    return bool(torch.dist(found, expected) <= TOLERANCE * expected.norm())


class Recordings:
    """The windows of a network that are recorded, by the nodes that they lead to and their shapes.

    Those used least recently go when there are more than `MOST`. If one cannot be recorded, for whatever reason,
    none is any more: step by step it is only slower.
    """

    def __init__(self, network: str, recorder: Recorder) -> None:
        #: Whether to go step by step.
        self.off = False
        self._network, self._recorder = network, recorder
        self._windows: OrderedDict[Hashable, Window] = OrderedDict()
        self._seen: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._windows)

    def window(self, nodes: Hashable, forward: Forward, backward: Backward, pixels: Tensor) -> Window | None:
        """The one for such pixels, recorded if they have come often enough; else None."""
        key = nodes, pixels.shape
        if self.off:
            return None
        if key not in self._windows:
            self._seen[key] += 1
            if self._seen[key] <= SEEN:
                return None
            try:
                self._windows[key] = Window(self._recorder, forward, backward, pixels)
            except Exception as error:
                log.warning("%s goes step by step: %s", self._network, error)
                self.off = True
                self._windows.clear()
                return None
        self._windows.move_to_end(key)
        if len(self._windows) > MOST:
            oldest, _ = self._windows.popitem(last=False)
            del self._seen[oldest]
        return self._windows[key]


class Replayed(Written):
    """Written passes whose windows are recorded, and replayed."""

    def __init__(self, recordings: Recordings, nodes: Hashable, *parts: Any) -> None:
        super().__init__(*parts)
        self._recordings, self._nodes = recordings, nodes

    def forward(self, pixels: Tensor, *, keep: bool = True) -> tuple[list[Tensor], list[Any]]:
        if keep:
            window = self._recordings.window(self._nodes, super().forward, super().backward, pixels)
            if window is not None:
                return window.forward(pixels)
        return super().forward(pixels, keep=keep)

    def backward(self, gradients: Sequence[Tensor | None], tape: list[Any]) -> Tensor:
        if isinstance(tape[-1], Replay):
            replay: Replay = tape.pop()
            return replay.backward(gradients)
        return super().backward(gradients, tape)

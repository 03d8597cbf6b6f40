"""A card's recordings on the processor: what a CUDA graph does, down to whose memory it overwrites."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

T = TypeVar("T")


class FakeCard:
    """A `replay.Recorder`. Nothing is computed while it records, and a replay knows only what was recorded.

    All recordings share memory. A replay overwrites whatever another recording holds, but what somebody still held
    when it was recorded itself: only of that it knew.
    """

    def __init__(self) -> None:
        self.latest: object = None
        self.rehearsed = self.replays = 0
        self.recordings: list[_Recording] = []

    def rehearse(self, work: Callable[[], T]) -> T:
        self.rehearsed += 1
        return work()

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        recording = _Recording()
        with recording:
            found = work()
        recording.spoil(set())
        recording.spares = {place for other in self.recordings for place in other.held()}
        self.recordings.append(recording)
        return found, lambda: self._replay(recording)

    def _replay(self, recording: _Recording) -> None:
        self.replays += 1
        recording.replay()
        for other in self.recordings:
            if other is not recording:
                other.spoil(recording.spares)


@dataclass
class _Call:
    function: Callable[..., Any]
    given: tuple[Any, ...]
    named: dict[str, Any]
    made: dict[int, Tensor]


@dataclass(eq=False)
class _Recording(TorchDispatchMode):
    """What torch was asked for, to be asked again, for the same memory."""

    spares: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self._calls: list[_Call] = []
        self._memory: dict[int, torch.UntypedStorage] = {}
        self._made: list[tuple[int, weakref.ref[Tensor]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        named = named or {}
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        found = function(*given, **named)
        old = {_place(each) for each in tree_leaves((given, named)) if isinstance(each, Tensor)}
        made = {}
        for number, each in enumerate(tree_leaves(found)):
            if isinstance(each, Tensor) and each.numel():
                self._made.append((_place(each), weakref.ref(each)))
                if _place(each) not in old:
                    self._memory[_place(each)] = each.untyped_storage()
                    made[number] = _same(each)
        aliases = tree_map_only(Tensor, _same, (given, named))
        self._calls.append(_Call(function, *aliases, made))
        return found

    @torch.no_grad()
    def replay(self) -> None:
        for call in self._calls:
            found = tree_leaves(call.function(*call.given, **call.named))
            for number, made in call.made.items():
                made.copy_(found[number])

    def held(self) -> set[int]:
        """The memory that somebody still holds."""
        return {place for place, made in self._made if place in self._memory and made() is not None}

    def spoil(self, spared: set[int]) -> None:
        """Makes no numbers of all memory but what is spared."""
        for place, memory in self._memory.items():
            if place not in spared:
                memory.fill_(0xFF)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _same(tensor: Tensor) -> Tensor:
    """Another tensor of the same memory."""
    return torch.empty(0, dtype=tensor.dtype).set_(
        tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride()
    )

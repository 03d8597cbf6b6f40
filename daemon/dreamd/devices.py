"""What a worker computes on, and the networks it keeps there."""

from __future__ import annotations

import functools
import gc
import logging
import math
import re
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dreamwire.errors import DreamError
from dreamwire.networks import find_network

from . import models, ram, weights

log = logging.getLogger(__name__)

#: Side of the largest window where a job does not choose. Larger ones show fewer pixels twice.
LARGEST_WINDOW, LARGEST_ON_A_CARD = 1536, 2048
#: Bytes that a pixel of a window takes on its way through a network, in float32; and the share of the machine's
#: memory that a window may have.
PIXEL, WINDOW_SHARE = 800, 1 / 4
#: The share of a card's memory that small windows may have which are shown together.
BATCH_SHARE = 1 / 16
#: Windows are halved when memory runs out, but not below this.
SMALLEST_WINDOW = 256
#: The share of the time of float32 that bfloat16 has to stay below to be worth its rounding.
PAYS = 0.8
#: How often each is tried.
TRIES = 8


def choose_device(wish: str) -> torch.device:
    """The device to work on: the one wished for, or by itself a card if there is one, else the processor."""
    if wish != "auto":
        return torch.device(wish)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The arithmetic inside the network for a value of the parameter `precision`."""
    if precision == "auto":
        return torch.bfloat16 if bfloat16_pays(device) else torch.float32
    if precision == "bfloat16" and device.type == "cuda" and not bfloat16_pays(device):
        raise DreamError(
            "bad_params",
            f"{device_name(device)} is too old for bfloat16. Set the precision to auto or float32.",
        )
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


@functools.cache
def bfloat16_pays(device: torch.device) -> bool:
    """Whether a device is quicker in bfloat16; on processors this is measured, in a tenth of a second.

    Their names do not tell: those without instructions for it compute it all the same, slower by five. Measured is
    what one thread takes, not the time that passes: were it to depend on what else the machine does, the same
    dream would be another picture after the daemon's next start.

    Cards have instructions for it since Ampere (2020); of older ones torch says that they support it, but cuDNN
    has no convolutions for it. Those have float32 and not float16: GeForce cards before Turing are no quicker in
    it, and with the smaller ones of Turing cuDNN's convolutions in it come to NaN.
    """
    if device.type == "cuda":
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    taken: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(TRIES):
            for dtype, times in taken.items():
                started = _clock()
                _convolve(dtype)
                times.append(_clock() - started)
    finally:
        torch.set_num_threads(threads)
    return min(taken[torch.bfloat16]) < PAYS * min(taken[torch.float32])


#: Windows counts a thread's time in sixtieths of a second.
_clock = time.perf_counter if sys.platform == "win32" else time.thread_time


def _convolve(dtype: torch.dtype) -> Tensor:
    """A convolution like those that networks are made of."""
    pixels, kernel = (
        torch.ones(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
        for shape in ((1, 128, 48, 48), (128, 128, 3, 3))
    )
    return F.conv2d(pixels, kernel, padding=1)


def largest_window(device: torch.device) -> int:
    """The side of the largest window where a job does not choose: what fits the device with ease."""
    if device.type == "cuda":
        return LARGEST_ON_A_CARD
    side = math.isqrt(int(ram.allowed() * WINDOW_SHARE / PIXEL))
    return min(max(side // SMALLEST_WINDOW, 1) * SMALLEST_WINDOW, LARGEST_WINDOW)


def pixels_at_once(device: torch.device) -> int:
    """How many pixels windows may have that are shown together; 0 where one by one is the quickest.

    A processor is busy with the smallest window, a card is not.
    """
    if device.type != "cuda":
        return 0
    room = torch.cuda.get_device_properties(device).total_memory * BATCH_SHARE / PIXEL
    return min(int(room), LARGEST_ON_A_CARD**2)


def card_memory(device: torch.device) -> dict[str, int] | None:
    """Bytes of a card's memory: in all, free for everybody, and taken by this process; None without a card."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return {"total": total, "free": free, "ours": torch.cuda.memory_reserved(device)}
    if device.type == "mps":
        total, ours = torch.mps.recommended_max_memory(), torch.mps.driver_allocated_memory()
        return {"total": total, "free": max(total - ours, 0), "ours": ours}
    return None


def device_name(device: torch.device) -> str:
    """What a person calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return {"cpu": "processor", "mps": "Apple GPU"}.get(device.type, device.type)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; on the processor a plain RuntimeError says so, in many ways."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_WITHOUT_MEMORY.search(str(error)))


#: By torch itself, by oneDNN when it writes the code for a convolution, by the C++ library, and for threads.
_WITHOUT_MEMORY = re.compile(
    r"not enough memory|allocate memory|could not create a (primitive(?! desc)|memory)|bad_alloc|start new thread"
)


class NetworkCache:
    """Loaded networks, the least recently used going first when they outgrow `budget` bytes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._loaded: OrderedDict[tuple[str, torch.device, torch.dtype], models.LoadedNetwork] = OrderedDict()

    def get(self, name: str, device: torch.device, dtype: torch.dtype) -> models.LoadedNetwork:
        """The network, loaded if it is not. Raises `DreamError` if its weights are missing or wrong."""
        key = name, device, dtype
        if key not in self._loaded:
            row = find_network(name)
            self._loaded[key] = models.load(row, weights.require(row), device, dtype)
            log.info("loaded %s on %s in %s", name, device, dtype)
        self._loaded.move_to_end(key)
        while len(self._loaded) > 1 and self.bytes > self._budget:
            self._drop(next(iter(self._loaded)))
        return self._loaded[key]

    @property
    def bytes(self) -> int:
        """Of the weights of all that is loaded."""
        return sum(network.bytes for network in self._loaded.values())

    def holds(self, name: str, device: torch.device, dtype: torch.dtype) -> bool:
        return (name, device, dtype) in self._loaded

    def unload(self, name: str = "") -> None:
        """Drops a network, or all."""
        for key in [key for key in self._loaded if name in ("", key[0])]:
            self._drop(key)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _drop(self, key: tuple[str, torch.device, torch.dtype]) -> None:
        del self._loaded[key]
        log.info("unloaded %s", key[0])

    def listed(self) -> list[dict[str, Any]]:
        """What is loaded, for `status`."""
        return [
            {
                "name": name,
                "device": str(device),
                "precision": str(dtype).removeprefix("torch."),
                "bytes": network.bytes,
            }
            for (name, device, dtype), network in self._loaded.items()
        ]


@dataclass
class Attempt:
    """How a job is tried: on which device, with how large a window, and what had to be given up for it."""

    device: torch.device
    window: int
    degraded: list[str] = field(default_factory=list)
    unloaded: bool = False

    @property
    def at_once(self) -> int:
        """How many pixels windows may have that are shown together: where memory has run out, no more than one."""
        most = pixels_at_once(self.device)
        return min(most, self.window**2) if self.degraded else most

    def described(self) -> dict[str, Any]:
        """For the result's `info`."""
        return {"device": str(self.device), "window": self.window, "degraded": self.degraded}

    def lighter(self, cache: NetworkCache) -> Attempt | None:
        """The next attempt after memory ran out; None when nothing lighter is left."""
        others = len(cache.listed()) > 1 and not self.unloaded
        cache.unload()
        gc.collect()
        ram.give_back()
        if others:
            return replace(self, unloaded=True, degraded=[*self.degraded, "other networks were unloaded"])
        if self.window > SMALLEST_WINDOW:
            return self.reduced(self.window // 2)
        if self.device.type != "cpu":
            cpu = torch.device("cpu")
            degraded = [*self.degraded, "the processor was used"]
            return replace(self, device=cpu, window=largest_window(cpu), degraded=degraded)
        return None

    def reduced(self, window: int = SMALLEST_WINDOW) -> Attempt:
        """The same with smaller windows."""
        if self.window <= SMALLEST_WINDOW:
            return self
        window = max(window, SMALLEST_WINDOW)
        return replace(self, window=window, degraded=[*self.degraded, f"the window was reduced to {window} px"])

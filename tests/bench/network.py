"""One measurement of a network, printed as JSON, in a process of its own so that its peak of memory is its own.

`python -m tests.bench.network KIND ARGUMENTS`: a function of `KINDS` and its keyword arguments as JSON, as
`tests.bench` starts it. Sizes are (width, height).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dreamd import codec, models, weights
from dreamd.core import dream as core
from dreamd.core import plan
from dreamd.core.objectives import energy
from dreamd.core.pyramid import octave_sizes
from dreamd.devices import bfloat16_pays, choose_device, choose_dtype, device_name, largest_window, pixels_at_once
from dreamd.kinds.dream import settings
from dreamwire.networks import Network, find_network
from dreamwire.params import validate

#: Steps that are not counted: the first ones fill caches, and choose algorithms on a card.
WARM_UP = 3
#: What the core calls in every step, and where; the first is windows' way through the network and back.
PARTS: dict[str, tuple[object, str]] = {"gradient": (plan, "gradients"), "normalise": (core, "normalise")}
#: The side of the matrices that a device's rate is measured with: a card has to be kept busy.
MATRIX = {"cuda": 8192}


def machine(*, device: str) -> dict[str, Any]:
    """What torch computes with."""
    chosen = choose_device(device)
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "device": str(chosen),
        "device_name": device_name(chosen),
        # Old cards have no convolutions in bfloat16.
        "precisions": ["float32", "bfloat16"][: 2 if chosen.type != "cuda" or bfloat16_pays(chosen) else 1],
    }


def step(
    *, network: str, layer: str, way: str, size: tuple[int, int], repeats: int, device: str
) -> dict[str, Any]:
    """A dream's step through the network and back, in the precision `way`; and the forward half alone."""
    net = _loaded(network, way, device)
    picture = _picture(size, net.device)
    # One window shows the whole picture, whose corner stays on the network's grid.
    how = core.Settings(octaves=1, steps=WARM_UP + repeats, jitter=0, window=1 << 14)
    taken = [parts["gradient"] for parts in _steps(net, layer, picture, how)]
    with torch.no_grad():
        forward = _timed(lambda: net.features(picture[None], [layer]), repeats, net.device)
    return {"step": _summary(taken[WARM_UP:]), "forward": _summary(forward), "peak_mb": _peak(net.device)}


def plain(
    *, network: str, layer: str, way: str, size: tuple[int, int], repeats: int, device: str
) -> dict[str, Any]:
    """The same step as a first script has it: a hook in the untouched network, run to its end, and autograd."""
    row, chosen = find_network(network), choose_device(device)
    net, picture = _made(row).to(chosen), _picture(size, chosen)[None]
    mean, std = (torch.tensor(scale, device=chosen).view(1, 3, 1, 1) for scale in (row.mean, row.std))
    kept: list[Tensor] = []
    net.get_submodule(layer).register_forward_hook(lambda _module, _given, result: kept.append(result))

    def climb() -> None:
        pixels = picture.clone().requires_grad_()
        net((pixels - mean) / std)
        torch.autograd.grad(kept.pop().square().sum() / 2, pixels)

    return {"step": _summary(_timed(climb, repeats, chosen)), "peak_mb": _peak(chosen)}


def dream(*, size: tuple[int, int], precision: str, device: str) -> dict[str, Any]:
    """A dream with otherwise default parameters: its seconds, and the percentage of them that each part takes."""
    params = validate("dream", {"precision": precision})
    net = _loaded(str(params["network"]), str(params["precision"]), device)
    layer, picture, window = net.row.default_layer, _picture(size, net.device), largest_window(net.device)
    list(_steps(net, layer, picture, core.Settings(octaves=1, steps=WARM_UP, window=window)))
    seconds: Counter[str] = Counter()
    for parts in _steps(net, layer, picture, settings("dream", params, window)):
        seconds.update(parts)
    total = seconds.pop("total")
    percent = {name: 100 * taken / total for name, taken in seconds.items()}
    return {
        "network": net.row.name,
        "layer": layer,
        "way": str(net.dtype).removeprefix("torch."),
        "seconds": total,
        "percent": percent | {"the rest": 100 - sum(percent.values())},
        "peak_mb": _peak(net.device),
    }


def windows(*, network: str, layer: str, side: int, repeats: int, device: str) -> dict[str, Any]:
    """Windows of `side`² in a second, through the network and back, in each way that the device knows."""
    net = _loaded(network, "auto", device)
    rates = {}
    for way, count in (("step by step", 1), ("replayed", 1), ("together", net.at_once // side**2)):
        if way != "step by step" and (net.recordings is None or not count):
            continue
        if net.recordings is not None:
            net.recordings.off = way == "step by step"
        shown = torch.stack([_picture((side, side), net.device)] * count).requires_grad_()

        def climb(shown: Tensor = shown) -> None:
            torch.autograd.grad(net.features(shown, [layer])[0].float().square().sum(), shown)

        rates[way] = count / min(_timed(climb, repeats, net.device))
    return {"rates": rates, "recorded": len(net.recordings or ())}


def large(*, network: str, layer: str, size: tuple[int, int], device: str) -> dict[str, Any]:
    """A dream of a large picture, 4 octaves of 10 steps, the first time and again, and how busy the device is.

    `share` is how much of the rate at which it multiplies matrices the network comes to, by the operations that
    the picture needs; that windows overlap counts for nothing.
    """
    net = _loaded(network, "auto", device)
    picture, how = _picture(size, net.device), core.Settings(window=largest_window(net.device))
    seconds: list[float] = []
    shown = 0
    for _ in range(2):
        started = _now(net.device)
        shown = sum(1 for _ in core.dream(net, energy({layer: 1.0}), picture, torch.ones_like(picture[0]), how))
        seconds.append(_now(net.device) - started)
    pixels = sum(
        height * width * how.pace(octave)[0]
        for octave, (height, width) in enumerate(octave_sizes(*picture.shape[1:], how.octaves, how.octave_scale))
    )
    rate = pixels * _operations(net, layer) / seconds[-1]
    matrix = _matrix_rate(net.device, net.dtype)
    return {
        "way": str(net.dtype).removeprefix("torch."),
        "first_s": seconds[0],
        "again_s": seconds[-1],
        "windows_per_s": shown / seconds[-1],
        "tera_per_s": rate / 1e12,
        "matrix_tera_per_s": matrix / 1e12,
        "share": rate / matrix,
        "recorded": len(net.recordings or ()),
        "peak_mb": _peak(net.device),
    }


def _operations(net: models.LoadedNetwork, layer: str, side: int = 256) -> float:
    """Multiplications and additions of a step for each pixel: the way back takes as many as the way forwards."""
    forward = models.truncate(net.traced, [net.traced.layers[layer]])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward(net.scale(_picture((side, side), net.device)[None]))
    return 2 * counter.get_total_flops() / side**2


def _matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Multiplications and additions in a second of a product of large matrices."""
    side = MATRIX.get(device.type, 512)
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    return 2 * side**3 / min(_timed(lambda: matrix @ matrix, 10, device))


def made(*, network: str, file: str) -> dict[str, Any]:
    """Writes made weights of a network that is not here; their hash."""
    torch.save(_made(find_network(network)).state_dict(), file)
    return {"sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}


def climbed(*, network: str, layer: str, file: str, pictures: list[str]) -> dict[str, Any]:
    """The objective's value, the mean of a layer's squares, of each of some pictures."""
    net = models.load(find_network(network), Path(file), torch.device("cpu"), torch.float32)
    values = []
    for name in pictures:
        pixels = torch.from_numpy(codec.read(Path(name)).pixels[..., :3].copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            values.append(float(net.features(pixels, [layer])[0].square().mean()))
    return {"values": values}


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    each.__name__: each for each in (machine, step, plain, dream, windows, large, made, climbed)
}


def _picture(size: tuple[int, int], device: torch.device) -> Tensor:
    """Noise, which takes as long as any picture: (3, height, width)."""
    width, height = size
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)).to(device)


def _loaded(network: str, precision: str, device: str) -> models.LoadedNetwork:
    """The network as the worker has it, with made weights if the published ones are not here."""
    row, chosen = find_network(network), choose_device(device)
    with tempfile.TemporaryDirectory() as folder:
        file = weights.locate(row)
        if file is None:
            file = Path(folder, row.weights.file)
            torch.save(_made(row).state_dict(), file)
        net = models.load(row, file, chosen, choose_dtype(precision, chosen))
    net.at_once = pixels_at_once(chosen)
    return net


def _made(row: Network) -> nn.Module:
    """The untouched network with random weights, as quick as any others: they keep activations in bounds."""
    net = models.build(row).to_empty(device="cpu").requires_grad_(False)
    torch.manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            nn.init.kaiming_normal_(tensor)
        elif name.endswith(("weight", "running_var")):
            tensor.uniform_(0.5, 1.5)
        else:
            tensor.zero_()
    return net


def _steps(
    network: models.LoadedNetwork, layer: str, picture: Tensor, how: core.Settings
) -> Iterator[dict[str, float]]:
    """Dreams the whole picture; the seconds of each step, in `total` and by the core's `PARTS`."""
    device, mask = network.device, torch.ones_like(picture[0])
    seconds: dict[str, list[float]] = {name: [] for name in PARTS}
    with contextlib.ExitStack() as patches:
        for part, (owner, name) in PARTS.items():
            clocked = _clocked(getattr(owner, name), device, seconds[part])
            patches.enter_context(mock.patch.object(owner, name, clocked))
        started = _now(device)
        for progress in core.dream(network, energy({layer: 1.0}), picture, mask, how):
            if progress.window == progress.windows:
                ended = _now(device)
                yield {"total": ended - started} | {name: sum(taken) for name, taken in seconds.items()}
                for taken in seconds.values():
                    taken.clear()
                started = ended


def _timed(call: Callable[[], object], repeats: int, device: torch.device) -> list[float]:
    """The seconds of each of `repeats` calls."""
    seconds: list[float] = []
    for _ in range(WARM_UP + repeats):
        _clocked(call, device, seconds)()
    return seconds[WARM_UP:]


def _clocked(call: Callable[..., Any], device: torch.device, seconds: list[float]) -> Callable[..., Any]:
    """The same function, which appends to `seconds` how long it took."""

    def clocked(*args: Any, **kwargs: Any) -> Any:
        started = _now(device)
        result = call(*args, **kwargs)
        seconds.append(_now(device) - started)
        return result

    return clocked


def _now(device: torch.device) -> float:
    """The time when the device has done all that it was asked for."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    return {"median_ms": 1000 * statistics.median(seconds), "minimum_ms": 1000 * min(seconds)}


def _peak(device: torch.device) -> int:
    """The most memory that was held, in MB: by the tensors on a CUDA card, else by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 10**6
    # Linux counts in what the parent held when it started us, which is why `tests.bench` does without torch.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 10**6


if __name__ == "__main__":
    print(json.dumps(KINDS[sys.argv[1]](**json.loads(sys.argv[2]))))

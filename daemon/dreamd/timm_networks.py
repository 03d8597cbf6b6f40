"""Networks of the library timm: fetched by its own means, looked through for layers, and kept as the others are.

`python -m dreamd.timm_networks timm:NAME` is a process of its own, started by `weights.pull_timm`: it needs torch,
and much memory for a large network.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dreamwire.classes import synonyms
from dreamwire.errors import DreamError
from dreamwire.networks import CLASSES, TIMM, Layer, Network, row_file, write_row
from dreamwire.words import nearest

from .geometry import layers_of
from .models import SAFETENSORS, Tracer, build_timm, split_norms, timm, trace
from .weights import keep


def fetch(name: str, file: Path | None = None) -> Network:
    """Makes a network ready: its weights from timm's hub, or from a checkpoint file of timm's, and its row.

    Raises `DreamError`: unknown_network if timm is not installed or has no such network, or it is not one of
    convolutions throughout; download if its weights cannot be had.
    """
    library, model = timm(), name.removeprefix(TIMM)
    # Trained weights are told apart by a tag, as in resnet18.a1_in1k; without one timm has a choice of its own.
    names = library.list_models(pretrained="." in model)
    if model not in names:
        hint = nearest(model, names, "; timm.list_models() in Python lists them.")
        raise DreamError("unknown_network", f"timm has no network called {model!r:.60}{hint}")
    layers = _layers(name)
    net = _filled(library, model, file)
    weights = keep(row_file(name).with_suffix(SAFETENSORS).name, partial(_save, net))
    about: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
    row = Network(
        name=name,
        label=f"{model} of timm",
        family="timm",
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
        classes_at=int(about["input_size"][1]),
        offers=tuple(each for each in layers if each != CLASSES),
        default_layer=_default(layers),
        weights=weights,
        help=f"From timm; license of the weights: {about.get('license') or 'not told'}.",
        geometry={each: dataclasses.astuple(layer) for each, layer in layers.items()},
    )
    write_row(row, row_file(name))
    return row


def _save(net: nn.Module, path: Path) -> None:
    """Writes the weights, each tensor in full and by itself, as the format wants them."""
    from safetensors.torch import save_file  # noqa: PLC0415 - comes with timm

    tensors = {
        name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in net.state_dict().items()
    }
    save_file(tensors, path)


def _filled(library: Any, model: str, file: Path | None) -> nn.Module:
    """The network with its weights."""
    if file is not None and not file.is_file():
        raise DreamError("download", f"There is no file {file}. Name a checkpoint of {model} as timm has it.")
    overlay = {"pretrained_cfg_overlay": {"file": str(file)}} if file else {}
    try:
        net: nn.Module = library.create_model(model, pretrained=True, **overlay)
    except Exception as error:  # of timm, the hub, the connection, the file: each has its own
        what = f"{type(error).__name__}: {' '.join(str(error).split()):.100}..."
        if file:
            raise DreamError(
                "checksum", f"{file} could not be read as a checkpoint of {model} ({what}). Fetch it anew."
            ) from error
        raise DreamError(
            "download",
            f"timm could not get the weights of {model} ({what}). Check the connection and try again; or on"
            f" another computer fetch them from https://huggingface.co/timm, and run `deepdream pull {TIMM}{model}"
            " --weights FILE` here.",
        ) from error
    return split_norms(net.eval())


def _layers(name: str) -> dict[str, Layer]:
    """The layers to offer, from the shallowest to the deepest, and what they see."""
    try:
        with torch.device("meta"):
            net = build_timm(name).eval()
        tracer = Tracer()
        order = {node: place for place, node in enumerate(tracer.trace(net).nodes)}
        stages = [stage["module"] for stage in getattr(net, "feature_info", ())]
        found = {tracer.outputs[each]: each for each in (*stages, *blocks(net)) if each in tracer.outputs}
        layers = layers_of(trace(net, [found[node] for node in sorted(found, key=order.__getitem__)]))
    except Exception as error:  # whatever tracing foreign code may raise
        cause = " ".join(str(error).split())
        raise DreamError(
            "unknown_network",
            f"{name} cannot dream here: it is no network of convolutions, or what its layers see cannot be told"
            f" ({type(error).__name__}: {cause:.200}). Choose another, such as {TIMM}resnet18.",
        ) from error
    if CLASSES in layers and layers[CLASSES].channels != len(synonyms()):
        del layers[CLASSES]
    return layers


def blocks(net: nn.Module, prefix: str = "") -> Iterator[str]:
    """The names of the modules of several convolutions that a network is a chain of."""
    for name, child in net.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)) or type(child).__name__.endswith("Stage"):
            yield from blocks(child, f"{prefix}{name}.")
        elif next(child.children(), None) and any(isinstance(each, nn.Conv2d) for each in child.modules()):
            yield prefix + name


def _default(layers: dict[str, Layer]) -> str:
    """The layer in the middle of those with a stride of 16, where things begin to be seen; else the deepest."""
    names = [name for name in layers if name != CLASSES]
    middle = [name for name in names if layers[name].stride == 16]
    return middle[len(middle) // 2] if middle else names[-1]


def main(argv: Sequence[str] | None = None) -> int:
    """Fetches the network named, and prints an `error` as JSON if that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args(argv)
    answer: dict[str, Any] = {}
    try:
        fetch(arguments.network, arguments.weights)
    except DreamError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

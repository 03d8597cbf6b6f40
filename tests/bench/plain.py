"""A deep dream as a first script has it, a process of its own: what the daemon is compared with.

`python -m tests.bench.plain PICTURE WEIGHTS RESULT`: GoogLeNet to `inception4c`, the whole network run with a
hook, unfused, contiguous, autograd, float32; 4 octaves of 1.4, 10 steps of 1.5 of 255 and jitter 32, as in
google/deepdream.
"""

from __future__ import annotations

import random
import sys

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from dreamd import models
from dreamwire.networks import find_network

OCTAVES, SCALE, STEPS, STEP, JITTER = 4, 1.4, 10, 1.5 / 255, 32


def main(picture: str, weights: str, result: str) -> None:
    """Dreams a picture."""
    row, dice = find_network("googlenet"), random.Random(0)  # noqa: S311
    net = models.build(row).eval().requires_grad_(False)
    net.load_state_dict(torch.load(weights, weights_only=True), assign=True, strict=False)
    kept: list[Tensor] = []
    net.get_submodule("inception4c").register_forward_hook(lambda _module, _given, found: kept.append(found))
    mean, std = (torch.tensor(scale).view(1, 3, 1, 1) for scale in (row.mean, row.std))
    source = torch.from_numpy(np.asarray(Image.open(picture).convert("RGB")).copy()).permute(2, 0, 1)[None] / 255
    height, width = source.shape[-2:]
    sizes = [(round(height / SCALE**octave), round(width / SCALE**octave)) for octave in reversed(range(OCTAVES))]
    detail = torch.zeros(1, 3, *sizes[0])
    for size in sizes:
        base = F.interpolate(source, size, mode="bilinear", antialias=True)
        image = base + F.interpolate(detail, size, mode="bilinear")
        for _ in range(STEPS):
            shift = dice.randint(-JITTER, JITTER), dice.randint(-JITTER, JITTER)
            image = image.roll(shift, (2, 3)).requires_grad_()
            net((image - mean) / std)
            (gradient,) = torch.autograd.grad(kept.pop().square().sum() / 2, image)
            image = (image.detach() + STEP * gradient / gradient.abs().mean()).clamp(0, 1)
            image = image.roll((-shift[0], -shift[1]), (2, 3))
        detail = image - base
    Image.fromarray((image[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(result)


if __name__ == "__main__":
    main(*sys.argv[1:])

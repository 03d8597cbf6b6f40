"""Larger pictures, whose missing detail is dreamt: the first use that the technique was meant for (2015)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dreamwire.params import Value, enlargement

from ..core.dream import dream
from ..core.progress import Progress
from ..core.region import FAINT, lay
from ..core.resample import lanczos, linear
from ..core.texture import texture
from ..pixels import Picture, encode
from .dream import objective, settings
from .task import Kind, Task

#: The least alpha at which a colour is read from under it; below, Lanczos's ringing would be all there is.
SEEN = 1 / 16


def run(task: Task) -> Iterator[Progress]:
    """Dreams detail into the region, least where it is plain; the result is all of the enlarged picture."""
    rich = texture(task.source, math.ceil(enlargement(task.params)))
    how = replace(settings(task.kind, task.params, task.window), blended=False)
    for progress in dream(task.network, objective(task), task.source, task.mask, how):
        yield progress.showing(partial(_picture, task, rich, progress)).over(task.source)


def _picture(task: Task, rich: Tensor, progress: Progress) -> Tensor:
    """The region as dreamt so far, plain surfaces left as they are: a sky has no grain."""
    here = progress.region.index
    source, mask = task.source[here], task.mask[here]
    made = torch.lerp(source, progress.picture(), rich[here])
    return lay(source, made, mask * (mask >= FAINT), blended=task.blended)


def prepare(params: Mapping[str, Value], picture: Picture, mask: Tensor) -> tuple[Picture, Tensor]:
    """The picture and the region enlarged; transparent pixels lend their neighbours no colour."""
    scale, device = enlargement(params), mask.device
    colour, alpha = picture.colour(device), picture.alpha(device)
    large = lanczos(colour, scale)
    if alpha is not None:
        light, alpha = lanczos(colour * alpha, scale), lanczos(alpha, scale)
        large = torch.cat([torch.where(alpha > SEEN, light / alpha, large), alpha.clamp(0, 1)])
    pixels = encode(large, picture.dtype).permute(1, 2, 0).cpu().contiguous()
    return Picture(pixels, picture.dtype), linear(mask[None], scale)[0].clamp(0, 1)


KIND = Kind(run, prepare=prepare)

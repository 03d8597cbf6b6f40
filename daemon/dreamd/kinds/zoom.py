"""The next frame of a dream that is fallen into (google/deepdream, 2015)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dreamwire.params import Value

from ..core.dream import dream
from ..core.palette import held
from ..core.progress import Progress
from ..core.region import FAINT, bounds, lay
from ..core.resample import zoomed
from ..pixels import Picture
from .dream import objective, settings
from .enlarge import SEEN
from .task import Kind, Task, blends


def run(task: Task) -> Iterator[Progress]:
    """Dreams the region, without more contrast than it had: the next frame is made of this one."""
    how = replace(settings(task.kind, task.params, task.window), blended=False)
    for progress in dream(task.network, objective(task), task.source, task.mask, how):
        yield progress.showing(partial(_picture, task, progress))


def _picture(task: Task, progress: Progress) -> Tensor:
    source, mask = task.source[progress.region.index], task.mask[progress.region.index]
    made = held(progress.picture(), source, mask >= FAINT)
    return lay(source, made, mask * (mask >= FAINT), blended=task.blended)


def prepare(params: Mapping[str, Value], picture: Picture, mask: Tensor) -> tuple[Picture, Tensor]:
    """The picture with the box around the region enlarged in its place; alpha stays, and lends no colour."""
    box = bounds(mask >= FAINT)
    if box is None:
        return picture, mask
    part, alpha = picture.colour(mask.device)[box.index], picture.alpha(mask.device)
    scale, degrees = float(params["zoom"]), float(params["rotation"])
    if alpha is None:
        large = zoomed(part, scale, degrees)
    else:
        cover = alpha[box.index]
        seen = zoomed(cover, scale, degrees)
        large = torch.where(seen > SEEN, zoomed(part * cover, scale, degrees) / seen, part)
    inside = mask[box.index]
    large = lay(part, large, inside, blended=blends(params))
    pixels = picture.pixels.clone()
    pixels[box.top : box.bottom, box.left : box.right] = picture.replaced(
        box.top, box.left, large, inside > 0, None
    )
    return Picture(pixels, picture.dtype), mask


KIND = Kind(run, prepare=prepare)

"""Pictures at several scales: resizing for the octaves, and the Laplacian pyramid that normalises gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# The binomial filter of Burt and Adelson, "The Laplacian pyramid as a compact image code" (1983).
_KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def octave_sizes(height: int, width: int, octaves: int, scale: float) -> list[tuple[int, int]]:
    """Sizes of the octaves from coarse to fine; the last is the picture's own."""
    factors = [scale**octave for octave in reversed(range(octaves))]
    return [(max(1, round(height / factor)), max(1, round(width / factor))) for factor in factors]


def resize(image: Tensor, size: Sequence[int], mode: str = "bilinear") -> Tensor:
    """`image (C, H, W)` at `size`; reducing averages what it leaves out. The image itself if of that size."""
    if image.shape[-2:] == tuple(size):
        return image
    reduces = size[0] < image.shape[-2] or size[1] < image.shape[-1]
    return F.interpolate(image[None], list(size), mode=mode, antialias=reduces)[0]


def resize_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """`mask (H, W)` at `size` by area, so that nothing above 0 is lost and nothing far away gains."""
    if mask.shape == tuple(size):
        return mask
    return F.interpolate(mask[None, None], list(size), mode="area")[0, 0]


def rms(patches: Sequence[Tensor], supports: Sequence[Tensor]) -> float:
    """Root mean square of `patches (C, h, w)` over `supports (h, w)` of 0..1, all patches together."""
    squares = sum(
        float((patch.square().sum(0) * support).sum()) for patch, support in zip(patches, supports, strict=True)
    )
    count = sum(float(support.sum()) * patch.shape[0] for patch, support in zip(patches, supports, strict=True))
    return (squares / count) ** 0.5 if count else 0.0


def normalise(
    gradients: Sequence[Tensor], supports: Sequence[Tensor], levels: int, colour: float = 1.0
) -> list[Tensor]:
    """Gradients `(C, h, w)` brought to a root mean square of 1 over the supports `(h, w)`, all patches together.

    With `levels` above 0 each band of a Laplacian pyramid of so many levels is brought to the same size first:
    without it the finest scale, which dominates a convnet's gradient, drowns the broad forms (TensorFlow's
    DeepDream tutorial, 2015). What differs between the channels is multiplied by `colour`: in photographs hue
    varies far less than light does, but a convnet's gradient asks for both alike.
    """
    if levels:
        gradients = _level(gradients, supports, levels)
    if colour != 1:
        gradients = [_mute(gradient, colour) for gradient in gradients]
    return _scaled(gradients, rms(gradients, supports))


def _level(gradients: Sequence[Tensor], supports: Sequence[Tensor], levels: int) -> list[Tensor]:
    """Splits off the finest band, levels what remains, and puts both together again at equal size."""
    if levels == 0 or max(max(gradient.shape[-2:]) for gradient in gradients) < 4:
        return _scaled(gradients, rms(gradients, supports))
    coarse = [reduce(gradient) for gradient in gradients]
    fine = [gradient - expand(low, gradient.shape[-2:]) for gradient, low in zip(gradients, coarse, strict=True)]
    fine = _scaled(fine, rms(fine, supports))
    coarse_supports = [resize_mask(support, low.shape[-2:]) for support, low in zip(supports, coarse, strict=True)]
    coarse = _level(coarse, coarse_supports, levels - 1)
    return [band.add_(expand(low, band.shape[-2:])) for band, low in zip(fine, coarse, strict=True)]


def _mute(image: Tensor, colour: float) -> Tensor:
    light = image.mean(0, keepdim=True)
    return light + colour * (image - light)


def _scaled(patches: Sequence[Tensor], size: float) -> list[Tensor]:
    return [patch / size if size else torch.zeros_like(patch) for patch in patches]


def reduce(image: Tensor) -> Tensor:
    """`image (C, H, W)` blurred and halved to `(C, ceil(H/2), ceil(W/2))`."""
    kernel = image.new_tensor(_KERNEL)
    image = F.pad(image[:, None], (2, 2, 2, 2), mode="replicate")
    image = F.conv2d(image, kernel.view(1, 1, 1, 5), stride=(1, 2))
    return F.conv2d(image, kernel.view(1, 1, 5, 1), stride=(2, 1))[:, 0]


def expand(image: Tensor, size: Sequence[int]) -> Tensor:
    """`image (C, h, w)` doubled to `size` and smoothed: the inverse of `reduce` on what is smooth."""
    kernel = 2 * image.new_tensor(_KERNEL)
    image = F.pad(image[:, None], (1, 1, 1, 1), mode="replicate")
    image = F.conv_transpose2d(image, kernel.view(1, 1, 5, 1), stride=(2, 1))[:, :, 4 : 4 + size[0]]
    return F.conv_transpose2d(image, kernel.view(1, 1, 1, 5), stride=(1, 2))[:, 0, :, 4 : 4 + size[1]]

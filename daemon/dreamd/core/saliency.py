"""Where a network sees what it sees: maps of a class over a region, as the mean of samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from .classifier import Classifier
from .progress import Progress
from .pyramid import expand, reduce, resize
from .region import region_of

#: The noise of SmoothGrad, where black is 0 and white is 1.
NOISE = 0.15
#: This share of a map's pixels lie below what is shown as 1.
MOST = 0.99

#: Samples of a map `(h, w)`, 0 where nothing speaks for a class, each found when it is called for.
Samples = Sequence[Callable[[], Tensor]]


def saliency(samples: Samples, classifier: Classifier, mask: Tensor) -> Iterator[Progress]:
    """Yields, after every sample, the mean so far over the region where `mask (H, W)` of 0..1 is above 0.

    Pictures are `(1, h, w)`, from 0 to 1 where most speaks for the class, multiplied by the mask. The classifier
    views this region. Raises `EmptyRegionError`.
    """
    mask, region = region_of(mask)
    total = torch.zeros_like(classifier.view.mask)

    def picture() -> Tensor:
        found, within = classifier.view.unshow(total[None], region), mask[region.index]
        values = found[:, within > 0].flatten()
        most = values.kthvalue(math.ceil(MOST * len(values))).values
        return (found / most.clamp(min=torch.finfo(found.dtype).tiny)).clamp(0, 1) * within

    for step, sample in enumerate(samples, start=1):
        total += sample()
        yield Progress.of_step(step, len(samples), region, picture)


def gradient(classifier: Classifier, source: Tensor, weights: Tensor) -> Samples:
    """One sample: where the smallest change of a pixel changes the scores most, in any of its colours.

    The scores are those of the classifier, times `weights (classes,)`, for `source (C, H, W)`.
    Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks" (2013).
    """
    shown = classifier.view.show(source)
    return [lambda: classifier.shown_gradient(shown, weights).abs().amax(0)]


def smooth(classifier: Classifier, source: Tensor, weights: Tensor, count: int, seed: int) -> Samples:
    """Where copies with noise have strong gradients: SmoothGrad (Smilkov and others, 2017).

    Of their squares, which tell more (Hooker and others, 2019), smoothed a little.
    """
    shown, dice = classifier.view.show(source), torch.Generator().manual_seed(seed)

    def sample() -> Tensor:
        noise = torch.randn(shown.shape, generator=dice).to(shown.device)
        squares = classifier.shown_gradient(shown + NOISE * noise, weights).square().sum(0, keepdim=True)
        half = reduce(squares)
        return expand(expand(reduce(half), half.shape[1:]), squares.shape[1:])[0]

    return [sample] * count


def cam(classifiers: Sequence[Classifier], source: Tensor, weights: Tensor, count: int) -> Samples:
    """Where the scores themselves are above 0: the class-activation map of Zhou and others (2016).

    Of a network that ends in a global average this is Grad-CAM at its last convolution (Selvaraju and others,
    2017). The samples are of slides of the network's grid, of as many as make a square: their mean is finer than
    the grid. Several classifiers may view the same region: those that view it larger see its parts. The map has
    the size of the first one's view.
    """
    size = classifiers[0].view.mask.shape

    def sample(classifier: Classifier, offset: tuple[int, int]) -> Tensor:
        found = classifier.map(classifier.view.show(source), weights, offset).clamp(min=0)
        return resize(found[None], size)[0]

    side = math.isqrt(count)
    shares = [(index + 0.5) / side for index in range(side)]
    return [
        partial(sample, each, (int(down * each.stride), int(right * each.stride)))
        for each in classifiers
        for down, right in itertools.product(shares, shares)
    ]

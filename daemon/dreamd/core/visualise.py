"""What a network has in mind: pictures made from nothing, that excite it most.

Of classes: Simonyan, Vedaldi and Zisserman, "Deep Inside Convolutional Networks" (2013). That forms come out
rather than noise is owed to Olah, Mordvintsev and Schubert, "Feature Visualization" (2017): the picture is climbed
to by its frequencies, the low ones strongest, and by colours as photographs vary in them; and it has to excite the
network however it is slid, turned and scaled. Here it is seen from afar first, and in parts later, so that large
forms come before small ones.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .gradient import Network
from .objectives import Objective
from .plan import Extent, Plan, sums
from .progress import Progress, rise
from .pyramid import Support, resize, resize_mask, rms
from .region import lay, region_of

#: How much weaker a frequency is than one of half as many waves: 2 to the power of this. In photographs it is 1.
DECAY = 1.5
#: How far all frequencies together move in a step, before the logistic function makes a picture of them: at first,
#: and at last.
PACE, LAST = 0.12, 0.012
#: The noise to begin with, in first steps.
NOISE = 0.15
#: Pixels around the picture that nobody sees: where the waves come round, one side would fit the other.
MARGIN = 8
#: The axes along which the colours of photographs vary, light first (Lucid's, from ImageNet), each column scaled
#: by how much they do.
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
#: How large it is shown, least and most, at the beginning and in the end; above 1 a part of it.
EARLY, LATE = (0.5, 0.8), (0.8, 1.6)
#: How far it is turned either way, in degrees, and slid, in pixels as they are shown.
TURN, SLIDE = 15.0, 16.0
#: The shortest side that is shown.
LEAST = 32


@dataclass(frozen=True)
class Settings:
    """How to visualise; meanings and ranges are those of the parameters of the same names.

    The region is shown as large as a square of `side`² pixels, at most `most`² of it at once. `window` is as in
    `dream`.
    """

    side: float
    most: float
    steps: int = 200
    contrast: float = 1.0
    colour: float = 0.5
    robustness: float = 1.0
    seed: int = 0
    blended: bool = True
    window: int = 1024


class Spectrum:
    """A picture as the frequencies of each axis of colour: `parameters (C, h, w // 2 + 1, 2)`, noise at first."""

    def __init__(self, channels: int, size: tuple[int, int], settings: Settings, device: torch.device) -> None:
        height, width = (side + 2 * MARGIN for side in size)
        self._shape = height, width
        waves = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
        strength = waves.clamp(min=1 / max(height, width)) ** -DECAY
        strength *= settings.contrast / strength.square().mean().sqrt()
        self._strength = strength.to(device)
        axes = torch.tensor(COLOURS)
        axes = axes / axes.norm(dim=0).max() * torch.tensor([1.0, 2 * settings.colour, 2 * settings.colour])
        self._axes = (axes if channels == 3 else torch.ones(1, 1)).to(device)
        dice = torch.Generator().manual_seed(settings.seed)
        noise = torch.randn(channels, height, width // 2 + 1, 2, generator=dice)
        self.parameters = (PACE * NOISE * noise).to(device).requires_grad_()

    def picture(self) -> Tensor:
        """The picture `(C, h, w)`, 0..1, differentiable to the parameters."""
        waves = torch.fft.irfft2(
            torch.view_as_complex(self.parameters) * self._strength, self._shape, norm="ortho"
        )
        waves = waves[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        return torch.einsum("oc,chw->ohw", self._axes, waves).sigmoid()


def visualise(
    network: Network, objective: Objective, source: Tensor, mask: Tensor, settings: Settings
) -> Iterator[Progress]:
    """Fills the region where `mask (H, W)` of 0..1 is above 0 in `source (C, H, W)` with what excites the network.

    What was there before is not looked at, nor what is around. Yields after every window of every step; when it
    is exhausted the last `Progress.picture` is the result. Raises `EmptyRegionError`.
    """
    mask, region = region_of(mask)
    base, inside = source[region.index], mask[region.index]
    scale = settings.side / math.sqrt(region.area)
    # No finer than it is ever shown.
    finest = scale * LATE[1] ** settings.robustness
    size = [max(1, min(side, round(side * finest))) for side in inside.shape]
    spectrum = Spectrum(source.shape[0], (size[0], size[1]), settings, source.device)
    within = resize_mask(inside, size)[None]
    places = 2 * (within[0].nonzero() + 0.5) / torch.tensor(size, device=within.device) - 1
    climber = torch.optim.Adam([spectrum.parameters], lr=PACE)
    dice = random.Random(settings.seed)  # noqa: S311 - repeatable on purpose

    def picture() -> Tensor:
        with torch.no_grad():
            made = resize(spectrum.picture(), inside.shape, "bicubic").clamp(0, 1)
        return lay(base, made, inside, blended=settings.blended)

    scales: Sequence[float] = ()
    first: list[float] = []
    value = 0.0
    for step in range(settings.steps):
        climber.param_groups[0]["lr"] = LAST + (PACE - LAST) * (1 + math.cos(math.pi * step / settings.steps)) / 2
        made = spectrum.picture()
        place = places[dice.randrange(len(places))].tolist()
        look = Look.of((region.height * scale, region.width * scale), place, step / settings.steps, settings, dice)
        # Around the region there is middle gray.
        shown = look.show(torch.cat([within * (made - 0.5), within]))
        # What is in the middle of a look counts most, so that forms are whole.
        shown, weights = shown[:-1] + 0.5, shown[-1].detach() * _middle(shown)
        if not weights.any():  # turned out of sight
            weights = torch.ones_like(weights)
        plan = Plan.of(Extent.around(weights), network, objective.layers, side=settings.window)
        scales = scales or _scales(network, objective, plan, shown.detach())
        gradient, found = torch.zeros_like(shown), list[Tensor]()
        seen = plan.gradients(network, objective, scales, shown.detach(), gradient)
        for window, values in enumerate(seen, start=1):
            found.append(values)
            if window == len(plan.windows):
                climber.zero_grad()
                shown.backward(-gradient)  # type: ignore[no-untyped-call]
                climber.step()
                climbed = objective.weighted(sums(found), scales)
                first = first or climbed
                value = rise(first, climbed)
            done = (step + window / len(plan.windows)) / settings.steps
            yield Progress(1, 1, step + 1, settings.steps, window, len(plan.windows), done, value, region, picture)


def _middle(shown: Tensor) -> Tensor:
    """Weights `(h, w)` of places in what is shown: 1 in the middle, falling off to the edges."""
    rows, columns = (
        torch.sin(math.pi * (torch.arange(side, device=shown.device) + 0.5) / side) for side in shown.shape[-2:]
    )
    return torch.outer(rows, columns)


def _scales(network: Network, objective: Objective, plan: Plan, shown: Tensor) -> list[float]:
    """What each term is divided by, so that weights compare terms of unlike strength: its gradient at first."""
    scales = []
    for term in objective.terms:
        gradient = torch.zeros_like(shown)
        for _ in plan.gradients(network, Objective((term,)), [term.weight], shown, gradient):
            pass
        scales.append(rms([gradient], [Support(torch.ones_like(gradient[0]))]) or 1.0)
    return scales


@dataclass(frozen=True)
class Look:
    """How a picture is looked at: brought to the size `full`, of which a part of the size `part` is shown.

    The part is turned by `angle` and slid by `slide`, in shares of half the picture.
    """

    full: tuple[int, int]
    part: tuple[int, int]
    angle: float
    slide: tuple[float, float]

    @classmethod
    def of(
        cls,
        size: tuple[float, float],
        place: Sequence[float],
        share: float,
        settings: Settings,
        dice: random.Random,
    ) -> Look:
        """One at random of a picture shown at `size`, after a `share` of all steps.

        Nearly all of them show the `place`, which is told from -1 to 1, down and to the right.
        """
        least, most = (early + share * (late - early) for early, late in zip(EARLY, LATE, strict=True))
        scale = dice.uniform(least, most) ** settings.robustness
        shown = min(1.0, min(1.0, settings.most / settings.side) / scale)
        height, width = (max(1, round(side * scale)) for side in size)
        down, right = (max(LEAST, round(side * shown)) for side in (height, width))
        # To the edge of the picture, and a little beyond, where it is reflected; where there is room for several
        # things, so far that they stand at the edges too.
        several = 1 - settings.most / settings.side / 4 if settings.side > settings.most else 0.0
        far = [
            max(several, 1 - seen / side + settings.robustness * SLIDE / side, 0.0)
            for side, seen in ((height, down), (width, right))
        ]
        angle = math.radians(settings.robustness * dice.uniform(-TURN, TURN))
        return cls((height, width), (down, right), angle, (place[0] * far[0], place[1] * far[1]))

    def show(self, picture: Tensor) -> Tensor:
        """What is seen of a picture `(C, H, W)`, differentiable to it."""
        (height, width), (down, right) = self.full, self.part
        sine, cosine = math.sin(self.angle), math.cos(self.angle)
        places = [
            [cosine * right / width, -sine * down / width, self.slide[1]],
            [sine * right / height, cosine * down / height, self.slide[0]],
        ]
        grid = F.affine_grid(picture.new_tensor([places]), [1, picture.shape[0], down, right], align_corners=False)
        full = resize(picture, self.full)
        return F.grid_sample(full[None], grid, padding_mode="reflection", align_corners=False)[0]

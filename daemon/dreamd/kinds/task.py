"""What every kind of job is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dreamwire.networks import CLASSES
from dreamwire.params import SURROUNDINGS, Value, context_pixels

from ..core.measure import at_size, region_means
from ..core.progress import Progress
from ..models import LoadedNetwork
from ..pixels import Picture


@dataclass(frozen=True)
class Task:
    """What a job works on: validated parameters, the picture `(C, H, W)`, the region `(H, W)`, the network.

    `window` is the side of the largest window, as the device has room for. `guide (C, h, w)` is another picture.
    """

    params: Mapping[str, Value]
    source: Tensor
    mask: Tensor
    network: LoadedNetwork
    window: int
    guide: Tensor | None = None

    @property
    def blended(self) -> bool:
        """Whether the mask is to be laid over the result here; see `core.region.lay`."""
        return self.params.get("edge", "blended") == "blended"

    def means(self, layer: str, picture: Tensor | None = None, *, power: int = 1) -> Tensor:
        """The means of a layer's channels `(C,)` over the region, of a picture of the source's size or the source.

        With `power` 2, of their squares.
        """
        picture = self.source if picture is None else picture
        context = context_pixels(self.params)
        return region_means(
            self.network, layer, picture, self.mask, context=context, window=self.window, power=power
        )

    def probabilities(self, picture: Tensor | None = None) -> Tensor:
        """How probable each class is in the region `(1000,)`, of a picture of the source's size or the source.

        The region is shown as large as the pictures that the network was trained on, with a little of what lies
        around it.
        """
        side = self.network.row.classes_at
        shown, mask = at_size(self.source if picture is None else picture, self.mask, side, SURROUNDINGS)
        scores = region_means(self.network, CLASSES, shown, mask, context=SURROUNDINGS, window=self.window)
        return scores.softmax(0)


def nothing(_task: Task, _after: Tensor) -> dict[str, Any]:
    """The report of a job that was asked for nothing that could be told."""
    return {}


def as_it_came(_params: Mapping[str, Value], picture: Picture, mask: Tensor) -> tuple[Picture, Tensor]:
    """The picture and the region as they came."""
    return picture, mask


@dataclass(frozen=True)
class Kind:
    """How a job is done: `run` yields what it comes to; `report` tells what was reached by it.

    `prepare` makes of the picture that came, and of the region `(H, W)`, those that the job works on. `onto` makes
    of that picture the one that the region's pixels are put onto. The report is given the colours `(C, H, W)` of
    the picture worked on as they are afterwards, and goes into the result's `info`.
    """

    run: Callable[[Task], Iterator[Progress]]
    report: Callable[[Task, Tensor], dict[str, Any]] = nothing
    prepare: Callable[[Mapping[str, Value], Picture, Tensor], tuple[Picture, Tensor]] = as_it_came
    onto: Callable[[Picture], Picture] = lambda picture: picture

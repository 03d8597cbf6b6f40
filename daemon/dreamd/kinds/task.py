"""What every kind of job is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dreamwire.classes import class_name
from dreamwire.networks import CLASSES
from dreamwire.params import SURROUNDINGS, Value, context_pixels

from ..core.classifier import Classifier
from ..core.measure import View, region_means
from ..core.progress import Progress
from ..models import LoadedNetwork
from ..pixels import Picture


@dataclass(frozen=True)
class Task:
    """What a job of a `kind` works on: its parameters, the picture `(C, H, W)`, the region `(H, W)`, the network.

    `window` is the side of the largest window, as the device has room for. `another` loads another network by its
    name, and raises `DreamError` if its weights are not here. `guide` is another picture.
    """

    kind: str
    params: Mapping[str, Value]
    source: Tensor
    mask: Tensor
    network: LoadedNetwork
    window: int
    another: Callable[[str], LoadedNetwork]
    guide: Picture | None = None

    @property
    def blended(self) -> bool:
        """Whether the mask is to be laid over the result here; see `core.region.lay`."""
        return blends(self.params)

    def means(self, layer: str, picture: Tensor | None = None, *, power: int = 1) -> Tensor:
        """The means of a layer's channels `(C,)` over the region, of a picture of the source's size or the source.

        With `power` 2, of their squares.
        """
        picture = self.source if picture is None else picture
        context = context_pixels(self.kind, self.params)
        return region_means(
            self.network, layer, picture, self.mask, context=context, window=self.window, power=power
        )

    def classifier(self, network: LoadedNetwork | None = None, scale: float = 1.0) -> Classifier:
        """The classifier of the region that the job's network is, or another.

        It views the region as large as the pictures that the network was trained on, times `scale`, with a little
        of what lies around it.
        """
        network = network or self.network
        view = View.of(self.mask, scale * network.row.classes_at, round(scale * SURROUNDINGS))
        return Classifier(network, CLASSES, view, SURROUNDINGS, self.window)

    def probabilities(self, picture: Tensor | None = None, network: LoadedNetwork | None = None) -> Tensor:
        """How probable each class is in the region `(1000,)`, of a picture of the source's size or the source.

        As the job's network says, or another.
        """
        return self.classifier(network).scores(self.source if picture is None else picture).softmax(0)


def blends(params: Mapping[str, Value]) -> bool:
    """Whether the mask is to be laid over the result by whoever makes it; see `core.region.lay`."""
    return params.get("edge", "blended") == "blended"


def named(probabilities: Tensor, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Classes as reports have them: number, name, probability."""
    return [
        {"number": each, "name": class_name(each), "probability": float(probabilities[each])} for each in numbers
    ]


def nothing(_task: Task, _after: Callable[[], Tensor]) -> dict[str, Any]:
    """The report of a job that was asked for nothing that could be told."""
    return {}


def as_it_came(_params: Mapping[str, Value], picture: Picture, mask: Tensor) -> tuple[Picture, Tensor]:
    """The picture and the region as they came."""
    return picture, mask


@dataclass(frozen=True)
class Kind:
    """How a job is done: `run` yields what it comes to; `report` tells what was reached by it.

    `prepare` makes of the picture that came, and of the region `(H, W)`, those that the job works on. `onto` makes
    of that picture the one that the region's pixels are put onto. The report, which goes into the result's
    `info`, may ask for the colours `(C, H, W)` of the picture worked on as they are afterwards. `show` makes of
    those of the region, and of the same part of the picture worked on, what is put there.
    """

    run: Callable[[Task], Iterator[Progress]]
    report: Callable[[Task, Callable[[], Tensor]], dict[str, Any]] = nothing
    prepare: Callable[[Mapping[str, Value], Picture, Tensor], tuple[Picture, Tensor]] = as_it_came
    onto: Callable[[Picture], Picture] = lambda picture: picture
    show: Callable[[Mapping[str, Value], Tensor, Tensor], Tensor] = lambda params, source, made: made

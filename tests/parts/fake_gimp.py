"""Stands for GIMP, as small as `canvas.py`, `runs.py` and the helpers of `inside_gimp.py` need it.

There are images in 8 bit and in linear floats, layers in groups, masks, channels, selections and parasites. There
are no filters and no feather; groups show nothing, nothing is drawn or composed, a profile or a palette changes no
pixel, and nothing can be undone: `Image.undo` tells what Edit > Undo would take back. `tests/gimp/test_fake.py`
holds all this against the real one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from itertools import chain, count
from types import SimpleNamespace
from typing import Any, NamedTuple

import fake_gegl as gegl
from fake_gegl import Buffer, Rectangle

PARASITE_PERSISTENT, PARASITE_UNDOABLE = 1, 2
AddMaskType = Enum("AddMaskType", "WHITE BLACK")
ChannelOps = Enum("ChannelOps", "REPLACE")
ConvertDitherType = Enum("ConvertDitherType", "NONE")
ConvertPaletteType = Enum("ConvertPaletteType", "GENERATE")
ImageBaseType = Enum("ImageBaseType", "RGB GRAY INDEXED")
ImageType = Enum("ImageType", "RGB_IMAGE RGBA_IMAGE GRAY_IMAGE GRAYA_IMAGE")
LayerColorSpace = Enum("LayerColorSpace", "AUTO RGB_PERCEPTUAL")
LayerMode = Enum("LayerMode", "NORMAL")
#: With the parts of babl's names for layers and for masks.
Precision = Enum("Precision", {"U8_NON_LINEAR": ("'", "u8"), "FLOAT_LINEAR": ("", "float")})

RunMode = Enum("RunMode", "INTERACTIVE NONINTERACTIVE WITH_LAST_VALS")

_numbers = count(1)
_images: list[Image] = []
#: What the user was told.
messages: list[str] = []


def get_images() -> list[Image]:
    return list(_images)


def context_set_feather(feather: bool) -> None:
    assert not feather, "there is no feather here"


def context_set_feather_radius(_x: float, _y: float) -> None:
    """For feather, which there is not."""


def edit_copy(_drawables: Sequence[Drawable]) -> None:
    """The clipboard holds nothing: only that something was pasted matters here."""


def edit_paste(drawable: Drawable, _into: bool) -> list[Layer]:
    image = drawable.get_image()
    image.floating = Layer(image, "Floating Selection", image.new_buffer("RGBA", 1, 1))
    return [image.floating]


def progress_init(_text: str) -> None:
    """Nobody sees how far it is."""


def progress_set_text(_text: str) -> None:
    pass


def progress_update(_fraction: float) -> None:
    pass


def progress_end() -> None:
    pass


def message(text: str) -> None:
    messages.append(text)


def displays_flush() -> None:
    """There are none."""


class Image:
    def __init__(self, width: int, height: int, base: ImageBaseType, precision: Precision) -> None:
        self._width, self._height, self._base, self._precision = width, height, base, precision
        self._tattoos = count(1)
        self._group, self._kept = 0, 0
        self._profile: object = None
        self.floating: Layer | None = None
        self.layers: list[Layer] = []
        #: The changes that each step of Edit > Undo takes back.
        self.undo: list[list[str]] = []
        self._selection = Selection(self, "Selection Mask", self.new_mask_buffer(width, height))

    @classmethod
    def new_with_precision(cls, width: int, height: int, base: ImageBaseType, precision: Precision) -> Image:
        _images.append(made := cls(width, height, base, precision))
        return made

    def new_buffer(self, components: str, width: int, height: int) -> Buffer:
        """As layers keep pixels."""
        prime, item = self._precision.value
        colours, alpha = components.rstrip("A"), "A" if components.endswith("A") else ""
        primed = "".join(each + prime for each in colours)
        return Buffer.new(f"{primed}{alpha} {item}", 0, 0, width, height)

    def new_mask_buffer(self, width: int, height: int) -> Buffer:
        """As masks keep them: without a prime whatever the layers have."""
        return Buffer.new(f"Y {self._precision.value[1]}", 0, 0, width, height)

    def changed(self, change: str) -> None:
        """One more thing to be undone, with all others of an open group."""
        if not self._group:
            self.undo.append([])
        self.undo[-1].append(change)

    def undo_group_start(self) -> bool:
        if not self._group:
            self.undo.append([])
        self._group += 1
        return True

    def undo_group_end(self) -> bool:
        self._group -= 1
        return True

    def clean_all(self) -> None:
        self._kept = len(self.undo)

    def is_dirty(self) -> bool:
        return len(self.undo) > self._kept

    def is_valid(self) -> bool:
        return self in _images

    def delete(self) -> None:
        _images.remove(self)

    def get_width(self) -> int:
        return self._width

    def get_height(self) -> int:
        return self._height

    def get_base_type(self) -> ImageBaseType:
        return self._base

    def get_precision(self) -> Precision:
        return self._precision

    def set_color_profile(self, profile: object) -> None:
        """It is known, but changes no pixel."""
        self._profile = profile

    def get_color_profile(self) -> object:
        return self._profile

    def convert_indexed(self, *_how: object) -> None:
        """Its layers say that they have a palette; their pixels stay."""
        self._base = ImageBaseType.INDEXED

    # Layers

    def get_layers(self) -> list[Layer]:
        return list(self.layers)

    def within(self, parent: GroupLayer | None) -> list[Layer]:
        """The layers of a group, or of the image."""
        return self.layers if parent is None else parent.children

    def everything(self, layers: Sequence[Layer] | None = None) -> list[Layer]:
        """All layers, those in groups too."""
        found = []
        for layer in self.layers if layers is None else layers:
            found += [layer, *(self.everything(layer.children) if isinstance(layer, GroupLayer) else [])]
        return found

    def insert_layer(self, layer: Layer, parent: GroupLayer | None, position: int) -> None:
        others = {each.get_name() for each in self.everything()}
        names = chain([layer.name], (f"{layer.name} #{number}" for number in count(1)))
        layer.name = next(each for each in names if each not in others)
        self.within(parent).insert(position, layer)
        layer.parent, layer.inserted = parent, True
        self.changed(f"insert {layer.name}")

    def remove_layer(self, layer: Layer) -> None:
        self.within(layer.parent).remove(layer)
        self.changed(f"remove {layer.name}")
        layer.valid = False

    def insert_channel(self, channel: Channel, _parent: None, _position: int) -> None:
        self.changed(f"insert {channel.get_name()}")

    def get_item_position(self, layer: Layer) -> int:
        return self.within(layer.parent).index(layer)

    def get_layer_by_tattoo(self, tattoo: int) -> Layer | None:
        return next((each for each in self.everything() if each.get_tattoo() == tattoo), None)

    def get_floating_sel(self) -> Layer | None:
        return self.floating

    # What is selected

    def get_selection(self) -> Selection:
        return self._selection

    def select_rectangle(self, _how: ChannelOps, left: int, top: int, width: int, height: int) -> None:
        right, bottom = min(left + width, self._width), min(top + height, self._height)
        left, top = max(0, left), max(0, top)
        buffer = self._selection.get_buffer()
        buffer.kept[:] = 0
        buffer.set_color(Rectangle(left, top, right - left, bottom - top), gegl.Color("white"))
        self.changed("select")

    def select_item(self, _how: ChannelOps, channel: Channel) -> None:
        """Soft, as the channel is; by its values as they are kept."""
        self._selection.get_buffer().kept[:] = channel.get_buffer().kept
        self.changed("select")


class Parasite(NamedTuple):
    name: str
    flags: int
    data: bytes

    @classmethod
    def new(cls, name: str, flags: int, data: bytes) -> Parasite:
        return cls(name, flags, bytes(data))

    def get_data(self) -> list[int]:
        return list(self.data)


class Drawable:
    """Anything with pixels; once it was inserted, its changes can be undone."""

    def __init__(self, image: Image, name: str, buffer: Buffer) -> None:
        self._image, self.name, self._buffer = image, name, buffer
        self._id, self._tattoo = next(_numbers), next(image._tattoos)
        self._left = self._top = 0
        self._parasites: dict[str, Parasite] = {}
        self.valid, self.inserted = True, False

    def changed(self, change: str) -> None:
        if self.inserted:
            self._image.changed(f"{change} {self.name}")

    def is_valid(self) -> bool:
        return self.valid and self._image.is_valid()

    def delete(self) -> None:
        """Only what is in no image."""
        if not self.inserted:
            self.valid = False

    def get_id(self) -> int:
        return self._id

    def get_tattoo(self) -> int:
        return self._tattoo

    def get_image(self) -> Image:
        return self._image

    def get_name(self) -> str:
        return self.name

    def get_buffer(self) -> Buffer:
        return self._buffer

    @property
    def pixels(self) -> gegl.Pixels:
        """All of them, for tests to look at."""
        return self._buffer.format.read(self._buffer.kept)

    def update(self, left: int, top: int, width: int, height: int) -> None:
        """GIMP would draw it anew."""

    def get_width(self) -> int:
        return int(self._buffer.kept.shape[1])

    def get_height(self) -> int:
        return int(self._buffer.kept.shape[0])

    def get_offsets(self) -> tuple[bool, int, int]:
        return True, self._left, self._top

    def set_offsets(self, left: int, top: int) -> None:
        self._left, self._top = left, top
        self.changed("move")

    def is_gray(self) -> bool:
        return self._image.get_base_type() is ImageBaseType.GRAY

    def is_indexed(self) -> bool:
        return self._image.get_base_type() is ImageBaseType.INDEXED

    def attach_parasite(self, parasite: Parasite) -> None:
        self._parasites[parasite.name] = parasite
        self.changed("parasite of")

    def get_parasite(self, name: str) -> Parasite | None:
        return self._parasites.get(name)


class Channel(Drawable):
    @classmethod
    def new(cls, image: Image, name: str, width: int, height: int, _opacity: float, _colour: object) -> Channel:
        return cls(image, name, image.new_buffer("Y", width, height))


class LayerMask(Channel):
    layer: Layer


class Bounds(NamedTuple):
    success: bool
    non_empty: bool
    x1: int
    y1: int
    x2: int
    y2: int


class Selection(Channel):
    @staticmethod
    def bounds(image: Image) -> Bounds:
        rows, columns, _ = image.get_selection().get_buffer().kept.nonzero()
        if not len(rows):
            return Bounds(True, False, 0, 0, image.get_width(), image.get_height())
        box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        return Bounds(True, True, *map(int, box))

    @staticmethod
    def is_empty(image: Image) -> bool:
        return not Selection.bounds(image).non_empty

    @staticmethod
    def none(image: Image) -> None:
        image.get_selection().get_buffer().kept[:] = 0
        image.changed("select")


class Layer(Drawable):
    def __init__(self, image: Image, name: str, buffer: Buffer) -> None:
        super().__init__(image, name, buffer)
        self.parent: GroupLayer | None = None
        self._mask: LayerMask | None = None
        self._applied = self._edited = False
        self._visible = True
        self._composite_space = LayerColorSpace.AUTO

    @classmethod
    def new(
        cls, image: Image, name: str, width: int, height: int, kind: ImageType, _opacity: float, _mode: LayerMode
    ) -> Layer:
        components = kind.name.removesuffix("_IMAGE").replace("GRAY", "Y")
        return cls(image, name, image.new_buffer(components, width, height))

    @staticmethod
    def from_mask(mask: LayerMask) -> Layer:
        return mask.layer

    def is_group(self) -> bool:
        return False

    def get_parent(self) -> GroupLayer | None:
        return self.parent

    def get_filters(self) -> list[object]:
        return []

    def get_visible(self) -> bool:
        return self._visible

    def set_visible(self, visible: bool) -> None:
        self._visible = visible
        self.changed("show" if visible else "hide")

    def set_composite_space(self, space: LayerColorSpace) -> None:
        self._composite_space = space
        self.changed("composite")

    def get_composite_space(self) -> LayerColorSpace:
        return self._composite_space

    def resize(self, width: int, height: int, left: int, top: int) -> None:
        """Its canvas, in which the old one lies at (left, top)."""
        resized = Buffer.new(self._buffer.format.name, 0, 0, width, height)
        place = Rectangle(-left, -top, width, height)
        resized.kept[:] = self._buffer.format.keep(self._buffer.pixels(place))
        self._buffer = resized
        self._left, self._top = self._left - left, self._top - top
        self.changed("resize")

    # Its mask

    def create_mask(self, kind: AddMaskType) -> LayerMask:
        width, height = self.get_width(), self.get_height()
        mask = LayerMask(self._image, f"{self.name} mask", self._image.new_mask_buffer(width, height))
        if kind is AddMaskType.WHITE:
            mask.get_buffer().set_color(Rectangle(0, 0, width, height), gegl.Color("white"))
        return mask

    def add_mask(self, mask: LayerMask) -> None:
        """Which is applied, and edited, from now on."""
        self._mask, mask.layer = mask, self
        self._applied = self._edited = True
        self.changed("mask of")

    def get_mask(self) -> LayerMask | None:
        return self._mask

    def get_apply_mask(self) -> bool:
        return self._applied

    def set_apply_mask(self, applied: bool) -> None:
        self._applied = applied
        self.changed("mask of")

    def get_edit_mask(self) -> bool:
        return self._edited

    def set_edit_mask(self, edited: bool) -> None:
        self._edited = edited


class GroupLayer(Layer):
    def __init__(self, image: Image, name: str, buffer: Buffer) -> None:
        super().__init__(image, name, buffer)
        self.children: list[Layer] = []

    @classmethod
    def new(cls, image: Image, name: str) -> GroupLayer:
        return cls(image, name, image.new_buffer("RGBA", 1, 1))

    def is_group(self) -> bool:
        return True

    def get_children(self) -> list[Layer]:
        return list(self.children)


class ProcedureConfig:
    """A procedure's arguments: any that are set, unchecked; there is always a guide, which is none."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {"guide": None}
        self._listeners: list[Callable[[ProcedureConfig, Any], None]] = []

    def get_property(self, name: str) -> Any:
        return self._values[name]

    def find_property(self, name: str) -> bool:
        return name in self._values

    def set_property(self, name: str, value: Any) -> None:
        """Tells everybody, even if nothing is new."""
        self._values[name] = value
        for listener in self._listeners:
            listener(self, SimpleNamespace(name=name))

    def connect(self, signal: str, listener: Callable[[ProcedureConfig, Any], None]) -> None:
        assert signal == "notify"
        self._listeners.append(listener)

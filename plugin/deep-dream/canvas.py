"""Pixels between GIMP and the wire: what of a layer is dreamt, and the layer that comes of it.

Coordinates are the image's, as (left, top); a `Box` of the wire is (top, left, height, width). Pixels travel as
R'G'B'A or Y'A: in 8 bit what is kept so in sRGB, all else in float, which GIMP converts from and to any precision
and colour profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gi

gi.require_version("Gimp", "3.0")
gi.require_version("Gegl", "0.4")
from gi.repository import Gegl, Gimp

from dreamwire.client import Image
from dreamwire.crop import Box, crop
from dreamwire.errors import DreamError
from dreamwire.params import find_job
from settings import PARASITE, Origin, Settings, keeps_mask

MASK = "Y float"


class RefusalError(Exception):
    """GIMP's layer cannot be dreamt; the message says why, and what to do."""


@dataclass(frozen=True)
class Place:
    """A rectangle of the image."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, item: Gimp.Drawable) -> Place:
        """Where a layer lies."""
        _, left, top = item.get_offsets()
        return cls(left, top, item.get_width(), item.get_height())

    def intersect(self, other: Place) -> Place | None:
        """What both share, or None."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right = min(self.left + self.width, other.left + other.width)
        bottom = min(self.top + self.height, other.top + other.height)
        return Place(left, top, right - left, bottom - top) if left < right and top < bottom else None

    def union(self, other: Place) -> Place:
        """What surrounds both."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        right = max(self.left + self.width, other.left + other.width)
        bottom = max(self.top + self.height, other.top + other.height)
        return Place(left, top, right - left, bottom - top)

    def at(self, left: int, top: int) -> Place:
        """The same in coordinates whose origin is (left, top)."""
        return Place(self.left - left, self.top - top, self.width, self.height)

    def scaled(self, scale: float) -> Place:
        """The pixels that it has in a picture of another scale."""
        left, top = round(self.left * scale), round(self.top * scale)
        right, bottom = round((self.left + self.width) * scale), round((self.top + self.height) * scale)
        return Place(left, top, max(1, right - left), max(1, bottom - top))

    @property
    def rectangle(self) -> Gegl.Rectangle:
        return Gegl.Rectangle.new(self.left, self.top, self.width, self.height)

    @property
    def box(self) -> Box:
        return self.top, self.left, self.height, self.width


@dataclass(frozen=True)
class Pixels:
    """A part of a picture, perhaps reduced: the pixels of `place`, in 8 bit or in float."""

    place: Place
    frame: bytes
    channels: int
    dtype: str = "float32"

    @property
    def image(self) -> Image:
        """As a job takes it."""
        return Image(self.frame, (self.place.height, self.place.width, self.channels), self.dtype)

    def part(self, place: Place) -> Pixels:
        """Those at a place within this one."""
        size = self.channels * (1 if self.dtype == "uint8" else 4)
        here, line = place.at(self.place.left, self.place.top), self.place.width * size
        starts = range(here.top * line + here.left * size, (here.top + here.height) * line, line)
        rows = b"".join(self.frame[start : start + here.width * size] for start in starts)
        return Pixels(place, rows, self.channels, self.dtype)


@dataclass(frozen=True)
class Shown:
    """A layer as it is seen: where its pixels are read, the place that they fill, and its mask if it has one."""

    layer: Gimp.Layer
    place: Place
    mask: Gegl.Buffer | None


class Source:
    """What of a layer is dreamt: its pixels and the region's mask, as they were when this was made.

    The region is the selection within the layer, or all of the layer; a mask of the layer's own counts too. A
    layer that was itself dreamt shows the network what lies around it in the layers that it came from. `close`
    frees what had to be copied.
    """

    def __init__(self, drawable: Gimp.Drawable, region_of: Gimp.Layer | None = None) -> None:
        """Reads `drawable`; with `region_of` the region is that of a dreamt layer, whatever is selected."""
        self.layer = layer_of(drawable)
        self.image: Gimp.Image = self.layer.get_image()
        self._name = self.layer.get_name()
        _check(self.layer)
        self._copies: list[Gimp.Layer] = []
        self._gray = self.layer.is_gray()
        # What is kept in 8 bit of sRGB travels so: a quarter of the bytes, and GEGL has nothing to convert.
        plain = (
            self.image.get_precision() == Gimp.Precision.U8_NON_LINEAR and self.image.get_color_profile() is None
        )
        self._dtype = "uint8" if plain else "float32"
        #: What is read, from below to above; the first is the picture, whose borders the network sees.
        self._layers = [self._shown(each) for each in _history(self.layer)]
        self.picture = self._layers[0].place
        if region_of is None:
            self._mask, self.region = self._selected(self._layers[-1])
        else:
            self._mask, self.region = _region(region_of)

    def check(self) -> None:
        """Raises `RefusalError` when the layer is no more."""
        if not self.image.is_valid():
            raise RefusalError(
                f"The image of the layer “{self._name}” was closed before it was dreamt. Open it again, and dream."
            )
        if not self.layer.is_valid():
            raise RefusalError(
                f"The layer “{self._name}” was deleted before it was dreamt. Edit > Undo brings it back."
            )

    def close(self) -> None:
        """Frees the copies that were made."""
        for copy in self._copies:
            if copy.is_valid():
                copy.delete()
        self._copies.clear()

    def _shown(self, layer: Gimp.Layer) -> Shown:
        """The layer as it is seen: with filters that can still be changed, a copy of what they make of it."""
        place, image = Place.of(layer), self.image
        if not layer.get_filters():
            return Shown(layer, place, _mask_of(layer))
        # On a stage of its own, because `merge_filters` leaves groups as they are, paints black what grows out of
        # a layer without alpha, and in GIMP 3.0 loses what grows to the left.
        stage_place = place.union(Place(0, 0, image.get_width(), image.get_height()))
        stage = Gimp.Image.new_with_precision(
            stage_place.width, stage_place.height, image.get_base_type(), image.get_precision()
        )
        try:
            stage.undo_disable()
            if (profile := image.get_color_profile()) is not None:
                stage.set_color_profile(profile)
            actor = Gimp.Layer.new_from_drawable(layer, stage)
            stage.insert_layer(actor, None, 0)
            actor.set_lock_position(False)
            actor.set_offsets(place.left - stage_place.left, place.top - stage_place.top)
            actor.set_visible(True)
            actor.set_opacity(100.0)
            actor.set_mode(Gimp.LayerMode.NORMAL)
            if actor.get_mask() is not None:
                actor.set_apply_mask(False)
            copy = Gimp.Layer.new_from_visible(stage, image, layer.get_name())
        finally:
            stage.delete()
        self._copies.append(copy)
        copy.set_offsets(stage_place.left, stage_place.top)
        grown = _visible(_moved(copy.get_buffer(), stage_place.left, stage_place.top), stage_place, "A u8")
        return Shown(copy, place.union(grown) if grown else place, _mask_of(layer))

    def _selected(self, shown: Shown) -> tuple[Gegl.Buffer | None, Place]:
        """The region's mask, a buffer in the image's coordinates or None for all, and the box around it."""
        # What a filter lets grow beyond the picture that a layer was dreamt from is no part of it.
        region = shown.place.intersect(self.picture) or shown.place
        _, selected, left, top, right, bottom = Gimp.Selection.bounds(self.image)
        if selected:
            inside = region.intersect(Place(left, top, right - left, bottom - top))
            if inside is None:
                raise RefusalError(
                    f"The selection does not touch the layer “{self._name}”. Select a part of that"
                    " layer, choose another layer, or select nothing to dream all of it."
                )
            region = inside
        masks = [self.image.get_selection().get_buffer()] if selected else []
        if shown.mask is not None:
            masks.append(shown.mask)
        if not masks:
            return None, region
        mask = _product(masks, region)
        # In an image of floats a soft edge hardly ever ends: what no screen could show is no part of the region.
        seen = _visible(mask, region, "Y u8")
        if seen is None:
            raise RefusalError(
                f"What is selected of the layer “{self._name}” is hidden by its layer mask, or selected"
                " so faintly that nothing would be seen. Select another part of it."
            )
        return _filled(seen, MASK, mask.get(seen.rectangle, 1.0, MASK, Gegl.AbyssPolicy.NONE)), seen

    def crop(self, settings: Settings) -> Place:
        """What of the picture has to travel: the region with what the network sees around it."""
        inside = self.region.at(self.picture.left, self.picture.top)
        size = self.picture.height, self.picture.width
        top, left, height, width = crop(settings.kind, inside.box, size, settings.params)
        return Place(left + self.picture.left, top + self.picture.top, width, height)

    def pixels(self, place: Place, scale: float = 1.0, dtype: str = "") -> Pixels:
        """The picture's pixels at a place within it, perhaps reduced; as they are kept if no type is named.

        Raises `RefusalError` when they are no more.
        """
        self.check()
        if scale != 1.0:
            Gegl.init(None)  # or GEGL reduces to black
        dtype = dtype or self._dtype
        channels = 2 if self._gray else 4
        form = _format(channels, dtype)
        scaled = place.scaled(scale)
        frame = _read(self._layers[0].layer, scaled, scale, form)
        for shown in self._layers[1:]:
            frame = _over(frame, shown, scaled, scale, form)
        return Pixels(scaled, frame, channels, dtype)

    def mask(self, place: Place, scale: float = 1.0, *, soft: bool = True) -> Pixels | None:
        """The region's mask at a place, None if everything at that place is in the region.

        Unless `soft` it is 1 wherever it is more than 0.
        """
        if self._mask is None and place == self.region:
            return None
        scaled = place.scaled(scale)
        mask = self._mask or _white(self.region)
        if not soft:
            mask = _filled(self.region, MASK, _hard(mask, self.region))
        frame = mask.get(scaled.rectangle, scale, MASK, Gegl.AbyssPolicy.NONE)
        return Pixels(scaled, frame, 1)


class Result:
    """The new layer above a source, which shows a dream as it grows; in its `image` from `insert` on.

    `sent` is where what was sent of the source lies.
    """

    def __init__(
        self,
        source: Source,
        before: Pixels,
        settings: Settings,
        weights: str,
        replaces: Gimp.Layer | None = None,
        name: str = "",
    ) -> None:
        """`before` is what was sent of the source, and what the layer shows at first."""
        self.image, self._above = source.image, replaces or source.layer
        self._replaces = replaces
        self.inserted = False
        self.sent, self._place = before.place, source.region
        place = self._place
        kind = Gimp.ImageType.GRAYA_IMAGE if source.layer.is_gray() else Gimp.ImageType.RGBA_IMAGE
        # What a map does not speak of is dark; so laid over the picture, it is as if lit where it does.
        gives = find_job(settings.kind).gives
        mode = Gimp.LayerMode.MULTIPLY if gives == "map" else Gimp.LayerMode.NORMAL
        title = name or settings.title
        layer = Gimp.Layer.new(self.image, title, place.width, place.height, kind, 100.0, mode)
        self.layer: Gimp.Layer = layer
        layer.set_offsets(place.left, place.top)
        # A soft edge mixes encoded values, as the dream was made, so that the mask falls off as it does there.
        layer.set_composite_space(Gimp.LayerColorSpace.RGB_PERCEPTUAL)
        if settings.mask == "layer-mask":
            self._set(place, before.part(place).frame, before.channels, before.dtype)
            soft = gives == "map" or keeps_mask(settings.kind)
            if (mask := source.mask(place, soft=soft)) is not None:
                own = layer.create_mask(Gimp.AddMaskType.WHITE)
                layer.add_mask(own)
                own.get_buffer().set(place.at(place.left, place.top).rectangle, MASK, mask.frame)
                own.get_buffer().flush()
                layer.set_edit_mask(False)  # painting is to go on in colours
        # What this is kept with cannot be written later without another step of undo.
        data = Origin(settings, source.layer.get_tattoo(), weights).write()
        flags = Gimp.PARASITE_PERSISTENT | Gimp.PARASITE_UNDOABLE
        layer.attach_parasite(Gimp.Parasite.new(PARASITE, flags, data))

    def insert(self) -> None:
        """Puts the layer into the image. Callers open one undo group around all that they insert."""
        above, parent, position = self._above, None, 0
        # The user may have deleted it meanwhile: then the top of all is as good a place as any.
        if above.is_valid():
            parent, position = above.get_parent(), self.image.get_item_position(above)
        self.image.insert_layer(self.layer, parent, position)
        self.inserted = True
        if self._replaces is not None and self._replaces.is_valid():
            self._replaces.set_visible(False)

    def show(self, box: Box, frame: bytes, shape: Sequence[int], dtype: str) -> None:
        """Puts dreamt pixels into the layer, `box` within what was sent; fewer pixels are stretched over it.

        Only while there is no `trouble`.
        """
        top, left, height, width = box
        place = Place(self.sent.left + left, self.sent.top + top, width, height)
        if tuple(shape[:2]) != (height, width):
            frame = _stretched(frame, shape, width, height, _format(shape[2], dtype))
        self._set(place, frame, shape[2], dtype)
        here = place.at(self._place.left, self._place.top)
        self.layer.update(here.left, here.top, here.width, here.height)

    def _set(self, place: Place, frame: bytes, channels: int, dtype: str) -> None:
        buffer = self.layer.get_buffer()
        here = place.at(self._place.left, self._place.top)
        buffer.set(here.rectangle, _format(channels, dtype), frame)
        buffer.flush()

    @property
    def trouble(self) -> str:
        """Why dreaming on is of no use: what has become of image and layer meanwhile, or nothing."""
        if not self.image.is_valid():
            return "The image was closed, so the dream was dropped."
        if not self.layer.is_valid():
            # To GIMP the two are the same.
            return "The dream's layer was undone or deleted, so the dream ended. Edit > Redo shows what there was."
        if (self.layer.get_width(), self.layer.get_height()) != (self._place.width, self._place.height):
            return (
                "The dream's layer was given another size while it was dreamt, so the dream was stopped, and the"
                " layer is as it was then. To begin anew, undo both and dream again."
            )
        return ""

    def remove(self) -> None:
        """Takes the layer out of the image again, if it is still there."""
        if not self.image.is_valid() or not self.layer.is_valid():
            return  # and no step of undo, which would take away what could be redone
        self.image.undo_group_start()
        self.image.remove_layer(self.layer)
        if self._replaces is not None and self._replaces.is_valid():
            self._replaces.set_visible(True)
        self.image.undo_group_end()

    def discard(self) -> None:
        """Frees a layer that never was inserted."""
        if self.layer.is_valid():
            self.layer.delete()


class Enlarged:
    """A new image of the region of a source, enlarged; like a `Result`, but shown in a window of its own."""

    def __init__(self, source: Source, before: Pixels, settings: Settings, weights: str, *, window: bool) -> None:
        """`before` is what was sent of the source; with a `window` the image is opened by `insert`."""
        scale, place = settings.scale, source.region
        # In pixels of what was sent, enlarged: the region's own.
        here = place.at(before.place.left, before.place.top)
        self._place = Place(*(int(side * scale) for side in (here.left, here.top, here.width, here.height)))
        self._window, self._display = window, None
        self.inserted = False
        kind = Gimp.ImageType.GRAYA_IMAGE if source.layer.is_gray() else Gimp.ImageType.RGBA_IMAGE
        self.image = image = Gimp.Image.new_with_precision(
            self._place.width, self._place.height, source.image.get_base_type(), source.image.get_precision()
        )
        image.undo_disable()
        if (profile := source.image.get_color_profile()) is not None:
            image.set_color_profile(profile)
        _, *resolution = source.image.get_resolution()
        image.set_resolution(*resolution)
        self.layer: Gimp.Layer = Gimp.Layer.new(
            image, settings.title, image.get_width(), image.get_height(), kind, 100.0, Gimp.LayerMode.NORMAL
        )
        data = Origin(settings, 0, weights).write()
        flags = Gimp.PARASITE_PERSISTENT | Gimp.PARASITE_UNDOABLE
        self.layer.attach_parasite(Gimp.Parasite.new(PARASITE, flags, data))
        image.insert_layer(self.layer, None, 0)

    def insert(self) -> None:
        """Shows the image."""
        self.image.undo_enable()
        if self._window:
            self._display = Gimp.Display.new(self.image)
        self.inserted = True

    def show(self, box: Box, frame: bytes, shape: Sequence[int], dtype: str) -> None:
        """Puts pixels into the layer, as a `Result` does; `box` is within what was sent, enlarged."""
        top, left, height, width = box
        form = _format(shape[2], dtype)
        if tuple(shape[:2]) != (height, width):
            frame = _stretched(frame, shape, width, height, form)
        part = Pixels(Place(left, top, width, height), frame, shape[2], dtype).part(self._place)
        buffer = self.layer.get_buffer()
        buffer.set(part.place.at(part.place.left, part.place.top).rectangle, form, part.frame)
        buffer.flush()
        self.layer.update(0, 0, part.place.width, part.place.height)

    @property
    def trouble(self) -> str:
        """As of a `Result`."""
        if self.image.is_valid() and self.layer.is_valid():
            return ""
        return "The new image was closed, so the job was dropped."

    def remove(self) -> None:
        """Closes the image."""
        if self._display is not None and self._display.is_valid():
            self._display.delete()  # and with it the image
        self.discard()

    def discard(self) -> None:
        """Frees an image that nobody sees."""
        if self.image.is_valid():
            self.image.delete()


def open_layers(pictures: Mapping[str, Image]) -> Gimp.Image:
    """Opens a new image with a layer of each name, of pictures of one size in 8 bit, gray or RGB."""
    first = next(iter(pictures.values()))
    height, width, channels = first.shape
    gray = channels == 1
    image = Gimp.Image.new(width, height, Gimp.ImageBaseType.GRAY if gray else Gimp.ImageBaseType.RGB)
    kind = Gimp.ImageType.GRAY_IMAGE if gray else Gimp.ImageType.RGB_IMAGE
    image.undo_disable()
    for position, (name, picture) in enumerate(pictures.items()):
        layer = Gimp.Layer.new(image, name, width, height, kind, 100.0, Gimp.LayerMode.NORMAL)
        image.insert_layer(layer, None, position)
        buffer = layer.get_buffer()
        buffer.set(Place(0, 0, width, height).rectangle, _format(channels, "uint8"), bytes(picture.pixels))
        buffer.flush()
    image.undo_enable()
    Gimp.Display.new(image)
    return image


def select(image: Gimp.Image, place: Place, shape: Sequence[int], mask: bytes) -> None:
    """Makes 8-bit gray pixels `(height, width, 1)` the selection, stretched over a place; one step of undo."""
    frame = _stretched(mask, shape, place.width, place.height, "Y u8")
    image.undo_group_start()
    try:
        channel = Gimp.Channel.new(
            image, "seen", image.get_width(), image.get_height(), 100.0, Gegl.Color.new("white")
        )
        image.insert_channel(channel, None, 0)
        buffer = channel.get_buffer()
        buffer.clear(Place(0, 0, image.get_width(), image.get_height()).rectangle)
        buffer.set(place.rectangle, "Y u8", frame)
        buffer.flush()
        image.select_item(Gimp.ChannelOps.REPLACE, channel)
        image.remove_channel(channel)
    finally:
        image.undo_group_end()


def origin(layer: Gimp.Layer) -> Origin | None:
    """What a dreamt layer knows about itself; None for any other layer, and for what cannot be read."""
    parasite = layer.get_parasite(PARASITE)
    if parasite is None:
        return None
    try:
        return Origin.read(bytes(parasite.get_data()))
    except DreamError:
        return None


def source_of(layer: Gimp.Layer) -> Gimp.Layer | None:
    """The layer that a dreamt layer came from, if that is there and still surrounds it."""
    known = origin(layer)
    below = layer.get_image().get_layer_by_tattoo(known.source) if known else None
    here = Place.of(layer)
    return below if below is not None and Place.of(below).intersect(here) == here else None


def _history(layer: Gimp.Layer) -> list[Gimp.Layer]:
    """A layer after all those that it was dreamt from."""
    layers = [layer]
    while below := source_of(layers[0]):
        if below.get_id() in [each.get_id() for each in layers]:
            break  # parasites can be copied from layer to layer
        layers.insert(0, below)
    return layers


def _region(layer: Gimp.Layer) -> tuple[Gegl.Buffer | None, Place]:
    """The region of a dreamt layer: by its layer mask, or its alpha if the mask was put there, or all of it."""
    place, mask = Place.of(layer), layer.get_mask()
    here = place.at(place.left, place.top).rectangle
    if mask is not None:
        return _filled(place, MASK, mask.get_buffer().get(here, 1.0, MASK, Gegl.AbyssPolicy.NONE)), place
    known = origin(layer)
    if known is None or known.settings.mask == "layer-mask":
        return None, place
    return _filled(place, MASK, layer.get_buffer().get(here, 1.0, "A float", Gegl.AbyssPolicy.NONE)), place


#: Pixels of the longer side of a guide, which are more than a network looks at.
GUIDE_SIDE = 640


def guide_pixels(drawable: Gimp.Drawable | None) -> Pixels | None:
    """What a guide shows, as it is or reduced; None without one, or when it was deleted."""
    if drawable is None or not drawable.is_valid():
        return None
    Gegl.init(None)  # or GEGL reduces to black
    whole = Place(0, 0, drawable.get_width(), drawable.get_height())
    scale = min(1.0, GUIDE_SIDE / max(whole.width, whole.height))
    place = whole.scaled(scale)
    frame = drawable.get_buffer().get(place.rectangle, scale, _format(4, "uint8"), Gegl.AbyssPolicy.NONE)
    return Pixels(place, frame, 4, "uint8")


def layer_of(drawable: Gimp.Drawable) -> Gimp.Layer:
    """The layer that is meant: its own mask stands for it while that is edited. Raises `RefusalError`."""
    if isinstance(drawable, Gimp.LayerMask):
        return Gimp.Layer.from_mask(drawable)
    if not isinstance(drawable, Gimp.Layer):
        raise RefusalError(
            f"“{drawable.get_name()}” is a channel, which has no colours to dream with. Choose a layer."
        )
    return drawable


def _check(layer: Gimp.Layer) -> None:
    image = layer.get_image()
    if image.get_floating_sel() is not None:
        raise RefusalError(
            "There is a floating selection. Anchor it (Layer > Anchor Layer) or make it a layer of its own"
            " (Layer > To New Layer), then dream."
        )
    if layer.is_indexed():
        raise RefusalError(
            "This image has a palette, and dreams need more colours than it holds. Change it by Image > Mode >"
            " RGB; afterwards Image > Mode > Indexed makes a palette that fits the dream."
        )


def _format(channels: int, dtype: str) -> str:
    return {1: "Y'", 2: "Y'A", 3: "R'G'B'", 4: "R'G'B'A"}[channels] + (" u8" if dtype == "uint8" else " float")


def _read(layer: Gimp.Layer, place: Place, scale: float, form: str) -> bytes:
    """A layer's pixels, at a place in the image's coordinates after scaling, transparent beyond its border."""
    _, left, top = layer.get_offsets()
    buffer = _moved(layer.get_buffer(), left, top)
    frame: bytes = buffer.get(place.rectangle, scale, form, Gegl.AbyssPolicy.NONE)
    return frame


def _over(frame: bytes, shown: Shown, place: Place, scale: float, form: str) -> bytes:
    """Pixels at a place with a layer laid over them as GIMP shows a dreamt one: by its mask, in encoded values."""
    graph = _graph()
    below = _operation(graph, "buffer-source", buffer=_filled(place, form, frame))
    above = _operation(graph, "buffer-source", buffer=_filled(place, form, _read(shown.layer, place, scale, form)))
    if shown.mask is not None:
        values = shown.mask.get(place.rectangle, scale, MASK, Gegl.AbyssPolicy.NONE)
        opacity = _operation(graph, "opacity")
        above.link(opacity)
        mask = _operation(graph, "buffer-source", buffer=_filled(place, MASK, values))
        mask.connect_to("output", opacity, "aux")
        above = opacity
    over = _operation(graph, "over", srgb=True)
    below.link(over)
    above.connect_to("output", over, "aux")
    return _processed(over, place, form)


def _mask_of(layer: Gimp.Layer) -> Gegl.Buffer | None:
    """A layer's mask in the image's coordinates, if it has one that is applied."""
    mask = layer.get_mask() if layer.get_apply_mask() else None
    _, left, top = layer.get_offsets()
    return None if mask is None else _moved(mask.get_buffer(), left, top)


def _visible(buffer: Gegl.Buffer, place: Place, form: str) -> Place | None:
    """The box around all that is not 0 there, in an 8-bit format of one channel; None if all of it is."""
    frame: bytes = buffer.get(place.rectangle, 1.0, form, Gegl.AbyssPolicy.NONE)
    rows = [frame[start : start + place.width] for start in range(0, len(frame), place.width)]
    filled = [number for number, row in enumerate(rows) if row.strip(b"\0")]
    if not filled:
        return None
    left = min(place.width - len(rows[number].lstrip(b"\0")) for number in filled)
    right = max(len(rows[number].rstrip(b"\0")) for number in filled)
    return Place(place.left + left, place.top + filled[0], right - left, filled[-1] + 1 - filled[0])


def _filled(place: Place, form: str, frame: bytes) -> Gegl.Buffer:
    """A buffer that holds these pixels."""
    buffer = Gegl.Buffer.new(form, place.left, place.top, place.width, place.height)
    buffer.set(place.rectangle, form, frame)
    return buffer


def _processed(node: Gegl.Node, place: Place, form: str) -> bytes:
    """What a node of a graph makes of a place."""
    into = Gegl.Buffer.new(form, place.left, place.top, place.width, place.height)
    write = _operation(node.get_parent(), "write-buffer", buffer=into)
    node.link(write)
    write.process()
    frame: bytes = into.get(place.rectangle, 1.0, form, Gegl.AbyssPolicy.NONE)
    return frame


def _moved(buffer: Gegl.Buffer, left: int, top: int) -> Gegl.Buffer:
    """The same pixels, without a copy, with their origin at (left, top)."""
    return Gegl.Buffer(source=buffer, shift_x=-left, shift_y=-top)


def _white(place: Place) -> Gegl.Buffer:
    buffer = Gegl.Buffer.new(MASK, place.left, place.top, place.width, place.height)
    buffer.set_color(place.rectangle, Gegl.Color.new("white"))
    return buffer


def _hard(mask: Gegl.Buffer, place: Place) -> bytes:
    """A mask at a place with 1 for all that is more than 0."""
    graph = _graph()
    source = _operation(graph, "buffer-source", buffer=mask)
    # Even what is least in 16 bit.
    hard = _operation(graph, "threshold", value=1e-6)
    source.link(hard)
    return _processed(hard, place, MASK)


def _product(buffers: Sequence[Gegl.Buffer], place: Place) -> Gegl.Buffer:
    """The product of masks at a place."""
    graph = _graph()
    first, *others = (_operation(graph, "buffer-source", buffer=buffer) for buffer in buffers)
    for other in others:
        product = _operation(graph, "multiply")
        first.link(product)
        other.connect_to("output", product, "aux")
        first = product
    return _filled(place, MASK, _processed(first, place, MASK))


def _stretched(frame: bytes, shape: Sequence[int], width: int, height: int, form: str) -> bytes:
    """Pixels `(height, width)` of `shape` scaled to another size."""
    small = Place(0, 0, shape[1], shape[0])
    graph = _graph()
    source = _operation(graph, "buffer-source", buffer=_filled(small, form, frame))
    ratios = {"x": width / small.width, "y": height / small.height}
    scale = _operation(graph, "scale-ratio", abyss_policy=Gegl.AbyssPolicy.CLAMP, **ratios)
    source.link(scale)
    return _processed(scale, Place(0, 0, width, height), form)


def _graph() -> Gegl.Node:
    """A graph of operations, which take a while to load, and which most dreams can do without."""
    Gegl.init(None)
    return Gegl.Node()


def _operation(graph: Gegl.Node, name: str, **properties: object) -> Gegl.Node:
    node = graph.create_child(f"gegl:{name}")
    for each, value in properties.items():
        node.set_property(each.replace("_", "-"), value)
    return node

"""What tests use inside GIMP: sent once to the probe of `real_gimp.py`, where the names below stay known.

Pixels leave as `{"pixels": base64, "shape": [...]}`, which `Lab` in `gimp_lab.py` makes arrays of.
"""

from __future__ import annotations

import array
import base64
import importlib
import json
import os
import random
import sys
from types import SimpleNamespace

from gi.repository import Gegl, Gimp, Gio

DREAM = "plug-in-deep-dream"
#: A dream that takes a blink.
BRIEF = {"layers": "blocks.2", "octaves": 1, "steps": 1, "jitter": 4, "precision": "float32"}


def new_image(width=96, height=80, base="RGB", precision="U8_NON_LINEAR", profile=None):
    """An image; `profile` is the name of one that GIMP makes, as in rgb_adobe."""
    bases = {"RGB": Gimp.ImageBaseType.RGB, "GRAY": Gimp.ImageBaseType.GRAY}
    image = Gimp.Image.new_with_precision(width, height, bases[base], getattr(Gimp.Precision, precision))
    if profile:
        image.set_color_profile(getattr(Gimp.ColorProfile, f"new_{profile}")())
    return image


def new_layer(image, width=None, height=None, at=(0, 0), alpha=True, parent=None, seed=1, name="picture"):
    """A layer of seeded noise, in its image; with `alpha` it has a hole."""
    width, height = width or image.get_width(), height or image.get_height()
    gray = image.get_base_type() == Gimp.ImageBaseType.GRAY
    kinds = Gimp.ImageType
    if gray:
        kind = kinds.GRAYA_IMAGE if alpha else kinds.GRAY_IMAGE
    else:
        kind = kinds.RGBA_IMAGE if alpha else kinds.RGB_IMAGE
    layer = Gimp.Layer.new(image, name, width, height, kind, 100.0, Gimp.LayerMode.NORMAL)
    image.insert_layer(layer, parent, 0)
    layer.set_offsets(*at)
    dice = random.Random(seed)  # noqa: S311 - no secret
    values = array.array("f")
    for row in range(height):
        for column in range(width):
            hole = alpha and 8 <= row < 16 and 40 <= column < 60
            values.extend((*(0.25 + 0.5 * dice.random() for _ in range(3)), 0.0 if hole else 1.0))
    write(layer, values)
    return layer


def write(drawable, values, form="R'G'B'A float"):
    """Sets all pixels."""
    buffer = drawable.get_buffer()
    buffer.set(Gegl.Rectangle.new(0, 0, drawable.get_width(), drawable.get_height()), form, values.tobytes())
    buffer.flush()
    drawable.update(0, 0, drawable.get_width(), drawable.get_height())


def picture(width=96, height=80, base="RGB", precision="U8_NON_LINEAR", profile=None, **options):
    """An image with one layer; both."""
    image = new_image(width, height, base, precision, profile)
    return image, new_layer(image, **options)


def read(drawable, form="R'G'B'A float", channels=4):
    """A drawable's pixels."""
    width, height = drawable.get_width(), drawable.get_height()
    data = drawable.get_buffer().get(Gegl.Rectangle.new(0, 0, width, height), 1.0, form, Gegl.AbyssPolicy.NONE)
    return {"pixels": base64.b64encode(data).decode(), "shape": [height, width, channels]}


def raw(drawable):
    """A drawable's pixels as they are kept, or nothing of None."""
    if drawable is None:
        return None
    rectangle = Gegl.Rectangle.new(0, 0, drawable.get_width(), drawable.get_height())
    return bytes(drawable.get_buffer().get(rectangle, 1.0, None, Gegl.AbyssPolicy.NONE))


def state(layer):
    """All of a layer that a dream of it must leave alone."""
    return (
        layer.get_name(), raw(layer), raw(layer.get_mask()), tuple(layer.get_offsets()), layer.get_visible(),
        layer.get_opacity(), layer.get_mode(), [each.get_name() for each in layer.get_filters()],
        layer.get_parasite_list(), layer.get_lock_alpha(), layer.get_lock_content(), layer.get_lock_position(),
        layer.get_apply_mask(), layer.get_edit_mask(),
    )  # fmt: skip


def seen(image):
    """The picture as it is shown, as a layer that is in no image."""
    return Gimp.Layer.new_from_visible(image, image, "seen")


def look(image, form="R'G'B'A float", channels=4):
    """The pixels that are shown."""
    layer = seen(image)
    try:
        return read(layer, form, channels)
    finally:
        layer.delete()


def shown(image):
    """The bytes that are shown."""
    layer = seen(image)
    try:
        return raw(layer)
    finally:
        layer.delete()


def select(image, left, top, width, height, feather=0):
    """Selects a rectangle."""
    Gimp.context_set_feather(bool(feather))
    Gimp.context_set_feather_radius(feather, feather)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, left, top, width, height)
    Gimp.context_set_feather(False)


def values_of(drawables, procedure, arguments):
    """What a procedure returns, or a RuntimeError with GIMP's message."""
    pdb = Gimp.get_pdb()
    config = pdb.lookup_procedure(procedure).create_config()
    config.set_property("image", drawables[0].get_image())
    config.set_core_object_array("drawables", drawables)
    for name, value in arguments.items():
        config.set_property(name.replace("_", "-"), value)
    values = pdb.lookup_procedure(procedure).run(config)
    if values.index(0) != Gimp.PDBStatusType.SUCCESS:
        raise RuntimeError(pdb.get_last_error())
    return [values.index(place) for place in range(1, values.length())]


def call(drawables, procedure=DREAM, **arguments):
    """Runs a procedure; the new layer, or a RuntimeError with GIMP's message."""
    return values_of(drawables, procedure, arguments)[0]


def report(drawables, procedure=DREAM, **arguments):
    """Runs a procedure; what it tells of what was reached."""
    return json.loads(values_of(drawables, procedure, arguments)[-1])


def dream(*drawables, **arguments):
    """A brief dream of layers; the first new one."""
    return call(list(drawables), **BRIEF | arguments)


def scheme(layer, arguments):
    """Dreams a layer by a line of Script-Fu; the message if that fails."""
    start = f"plug-in-deep-dream #:run-mode RUN-NONINTERACTIVE #:image {layer.get_image().get_id()}"
    evaluate = Gimp.get_pdb().lookup_procedure("plug-in-script-fu-eval")
    config = evaluate.create_config()
    config.set_property(
        "script", f"(script-fu-use-v3) ({start} #:drawables (vector {layer.get_id()}) {arguments})"
    )
    done = evaluate.run(config).index(0) == Gimp.PDBStatusType.SUCCESS
    return "" if done else Gimp.get_pdb().get_last_error()


def refusal(*drawables, **arguments):
    """The message with which a dream is refused."""
    try:
        call(list(drawables), **BRIEF | arguments)
    except RuntimeError as error:
        return str(error)
    return "It was not refused."


def facts(layer):
    """Where a layer is, and what it is."""
    parent = layer.get_parent()
    image = layer.get_image()
    _, left, top = layer.get_offsets()
    mask = layer.get_mask()
    return {
        "name": layer.get_name(),
        "parent": parent and parent.get_name(),
        "position": image.get_item_position(layer),
        "box": [top, left, layer.get_height(), layer.get_width()],
        "mask": mask and read(mask, "Y float", 1),
        "visible": layer.get_visible(),
        "edits_mask": bool(mask) and layer.get_edit_mask(),
    }


def tree(image):
    """The names of all layers, from above to below, groups with what is in them."""

    def names(layers):
        return [
            [layer.get_name(), names(layer.get_children())] if layer.is_group() else layer.get_name()
            for layer in layers
        ]

    return names(image.get_layers())


def watched(*drawables, procedure=DREAM, **arguments):
    """Dreams layers briefly: what was there before and after, and how the first of them was dreamt."""
    layers = [Gimp.Layer.from_mask(each) if isinstance(each, Gimp.LayerMask) else each for each in drawables]
    image = layers[0].get_image()
    before, bytes_before = [state(layer) for layer in layers], shown(image)
    first = layers[0]
    found = {
        "before": look(image),
        "names": tree(image),
        "selection": None if Gimp.Selection.is_empty(image) else read(image.get_selection(), "Y float", 1),
        "source": read(first),
        "place": facts(first)["box"],
        "own_mask": read(first.get_mask(), "Y float", 1) if first.get_apply_mask() else None,
    }
    new = call(list(drawables), procedure, **BRIEF | arguments)
    found |= facts(new) | {"pixels": read(new), "after": look(image), "tree": tree(image)}
    found["untouched"] = [state(layer) for layer in layers] == before
    new.set_visible(False)
    found["hidden"] = shown(image) == bytes_before
    new.set_visible(True)
    return found


def add_filter(layer, operation, **properties):
    """A filter that can still be changed."""
    made = Gimp.DrawableFilter.new(layer, f"gegl:{operation}", "")
    for name, value in properties.items():
        made.get_config().set_property(name.replace("_", "-"), value)
    made.update()
    layer.append_filter(made)


def new_group(image, parent=None, name="group"):
    """A group of layers, in its image."""
    group = Gimp.GroupLayer.new(image, name)
    image.insert_layer(group, parent, 0)
    return group


def new_mask(layer, white=None):
    """A layer mask that hides all but a rectangle."""
    mask = layer.create_mask(Gimp.AddMaskType.BLACK if white else Gimp.AddMaskType.WHITE)
    layer.add_mask(mask)
    if white:
        mask.get_buffer().set_color(Gegl.Rectangle.new(*white), Gegl.Color.new("white"))
        mask.get_buffer().flush()
        mask.update(0, 0, mask.get_width(), mask.get_height())
    layer.set_edit_mask(False)
    return mask


def reopened(image, name="saved.xcf"):
    """An image, saved, closed and opened again."""
    file = Gio.File.new_for_path(f"{os.environ['HOME']}/{name}")
    Gimp.file_save(Gimp.RunMode.NONINTERACTIVE, image, file, None)
    image.delete()
    return Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, file)


def carried(layer):
    """What a dreamt layer knows about itself."""
    parasite = layer.get_parasite("deep-dream")
    return json.loads(bytes(parasite.get_data())) if parasite else None


def plug_in():
    """The plug-in's modules in this process, for what no procedure shows."""
    folder = f"{os.environ['HOME']}/.config/GIMP/{Gimp.version().rpartition('.')[0]}/plug-ins/deep-dream"
    if folder not in sys.path:
        Gegl.init(None)
        sys.path[:0] = [folder]
        sys.path.append(f"{folder}/carried")
    names = ("canvas", "runs", "settings", "dreamwire.client")
    return SimpleNamespace(**{name.rpartition(".")[2]: importlib.import_module(name) for name in names})


class Onlooker:
    """Stands for the window beside a dream that runs: does something once, at the first frame."""

    does = None

    def __init__(self, doing, title, stop, cancel):
        self.stop, self.cancel = stop, cancel

    def can_stop(self):
        does, Onlooker.does = Onlooker.does, None
        if does is not None:
            does(self)

    def show_progress(self, text, fraction):
        pass

    def destroy(self):
        pass


def onlooked(layers, does, action="make", **arguments):
    """Dreams with somebody looking on; the new layers, and what went wrong."""
    ours = plug_in()
    sys.modules["windows"] = SimpleNamespace(RunWindow=Onlooker)
    Onlooker.does = does
    config = Gimp.get_pdb().lookup_procedure(DREAM).create_config()
    for name, value in (BRIEF | arguments).items():
        config.set_property(name.replace("_", "-"), value)
    called = ours.runs.Call("dream", None, Gimp.RunMode.WITH_LAST_VALS, layers[0].get_image(), layers, config)
    try:
        return getattr(ours.runs, action)(called).layers, ""
    except Exception as error:
        return [], f"{type(error).__name__}: {error}"


def forget():
    """Closes all images."""
    for image in Gimp.get_images():
        image.delete()

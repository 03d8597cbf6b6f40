"""What the fast tests of the plug-in stand on: the fake GIMP does what the real one does."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from fake_gi import FakeGimp, faked
from gimp_lab import Lab

#: The plug-in's own module, as it is found inside each.
REAL, FAKE = "canvas = plug_in().canvas", "canvas = importlib.import_module('canvas')"
#: What the cases below are made with.
HELPERS = """
def pixels(buffer, left, top, width, height, form="R'G'B'A float", scale=1.0):
    data = buffer.get(Gegl.Rectangle.new(left, top, width, height), scale, form, Gegl.AbyssPolicy.NONE)
    return unpacked(data, height, width, form)

def unpacked(data, height, width, form="R'G'B'A float"):
    values = array.array("f", array.array("B" if form.endswith("u8") else "f", data))
    return {"pixels": base64.b64encode(values.tobytes()).decode(), "shape": [height, width, -1]}

def ramp(layer):
    width, height = layer.get_width(), layer.get_height()
    write(layer, array.array("f", [
        each for row in range(height) for column in range(width)
        for each in (column / (width - 1), row / (height - 1), 0.3, 0.5 + column / (2 * width - 2))
    ]))

def soft(image, falls=0.09):
    width, height = image.get_width(), image.get_height()
    channel = Gimp.Channel.new(image, "soft", width, height, 50.0, Gegl.Color.new("red"))
    values = [
        max(0.0, 1 - falls * max(abs(row - height / 2), abs(column - width / 2)))
        for row in range(height) for column in range(width)
    ]
    write(channel, array.array("f", values), "Y float")
    image.insert_channel(channel, None, 0)
    image.select_item(Gimp.ChannelOps.REPLACE, channel)

def taken(source, scale=1.0, dtype=""):
    mask = source.mask(source.region, scale)
    found = source.pixels(source.region, scale, dtype)
    form = "R'G'B'A u8" if found.dtype == "uint8" else "R'G'B'A float"
    return {
        "region": source.region.box, "picture": source.picture.box, "place": found.place.box, "dtype": found.dtype,
        "channels": found.channels, "pixels": unpacked(found.frame, found.place.height, found.place.width, form),
        "mask": mask and unpacked(mask.frame, mask.place.height, mask.place.width),
    }

def dreamt(layer, replaces=None, mask="layer-mask", **params):
    source = canvas.Source(layer)
    made = canvas.Result(source, source.pixels(source.region), canvas.Settings.of(params, mask), "abc", replaces)
    made.insert()
    return made

def painted(made):
    layer = made.layer
    box = 0, 0, layer.get_height(), layer.get_width()
    size = layer.get_height() * layer.get_width()
    values = array.array("f", [each for number in range(size) for each in (0.2, 0.8, 0.5, number / size)])
    made.show(box, values.tobytes(), (*box[2:], 4), "float32")
    return made

def tried(call):
    try:
        call()
    except canvas.RefusalError as error:
        return str(error)
"""

KINDS = {
    "8 bit": "",
    "8 bit without alpha": "alpha=False",
    "linear floats": "precision='FLOAT_LINEAR'",
    "gray": "base='GRAY'",
    "gray without alpha": "base='GRAY', alpha=False",
    "gray linear floats": "base='GRAY', precision='FLOAT_LINEAR'",
}
CASES = {
    **{
        f"pixels of {name}, as all that they are read as, also beyond the layer": f"""
            image, layer = picture(24, 20, {options})
            forms = ["R'G'B'A float", "R'G'B'A u8", "A float", "A u8"] + ["Y'A float", "Y'A u8"] * layer.is_gray()
            result = [pixels(layer.get_buffer(), -2, -3, 30, 28, form) for form in forms] + [len(raw(layer))]
        """
        for name, options in KINDS.items()
    },
    "pixels that are moved, and written where they lie": """
        image, layer = picture(24, 20)
        values = array.array("f", [0.2, 0.4, 0.6, 0.8] * 6).tobytes()
        layer.get_buffer().set(Gegl.Rectangle.new(5, 6, 3, 2), "R'G'B'A float", values)
        layer.get_buffer().flush()
        result = pixels(Gegl.Buffer(source=layer.get_buffer(), shift_x=-3, shift_y=5), 0, -8, 20, 24)
    """,
    "a new buffer, and one of one colour": """
        made = Gegl.Buffer.new("Y float", 3, 4, 6, 5)
        made.set_color(Gegl.Rectangle.new(4, 5, 3, 2), Gegl.Color.new("white"))
        result = [pixels(made, 0, 0, 12, 12, form) for form in ("Y float", "Y u8")]
    """,
    "what is selected": """
        image, layer = picture(24, 20)
        result = []
        for left, top, width, height in ((4, 5, 6, 7), (-4, 12, 10, 30), (0, 0, 24, 20)):
            select(image, left, top, width, height)
            result += [tuple(Gimp.Selection.bounds(image)), read(image.get_selection(), "Y float", 1)]
        Gimp.Selection.none(image)
        result += [tuple(Gimp.Selection.bounds(image)), Gimp.Selection.is_empty(image)]
    """,
    **{
        f"a soft selection in {precision}": f"""
            image, layer = picture(24, 20, precision={precision!r})
            soft(image)
            bounds, buffer = Gimp.Selection.bounds(image), image.get_selection().get_buffer()
            result = [bounds.non_empty, bounds.x2, tuple(bounds), len(raw(image.get_selection()))]
            result += [pixels(buffer, 0, 0, 24, 20, form) for form in ("Y float", "Y u8")]
        """
        for precision in ("U8_NON_LINEAR", "FLOAT_LINEAR")
    },
    "a layer mask": """
        image, layer = picture(24, 20)
        before = layer.get_apply_mask(), layer.get_edit_mask(), layer.get_mask() is None
        mask = new_mask(layer, (2, 3, 10, 9))
        result = [
            before, read(mask, "Y float", 1), layer.get_apply_mask(), layer.get_edit_mask(), len(raw(mask)),
            Gimp.Layer.from_mask(mask).get_name(), isinstance(mask, Gimp.LayerMask), isinstance(mask, Gimp.Layer),
        ]
        layer.set_edit_mask(True)
        layer.set_apply_mask(False)
        result += [layer.get_apply_mask(), layer.get_edit_mask(), mask.is_valid()]
    """,
    "where layers are, in groups too, and what they are called": """
        image = new_image(24, 20)
        inner = new_group(image, new_group(image, name="outer"), "inner")
        below = new_layer(image, 4, 4, at=(3, -2), parent=inner)
        above = new_layer(image, 4, 4, parent=inner)
        between = Gimp.Layer.new(image, "between", 2, 2, Gimp.ImageType.RGBA_IMAGE, 100.0, Gimp.LayerMode.NORMAL)
        between.set_offsets(1, 2)
        image.insert_layer(between, inner, image.get_item_position(below))
        result = [tree(image), *(facts(each) for each in (below, above, between)), inner.get_parent().get_name()]
    """,
    "tattoos and parasites": """
        image, layer = picture(24, 20)
        other = new_layer(image, 4, 4, parent=new_group(image), name="other")
        flags = Gimp.PARASITE_PERSISTENT | Gimp.PARASITE_UNDOABLE
        layer.attach_parasite(Gimp.Parasite.new("carried", flags, b"a\\0b"))
        result = [
            layer.get_tattoo() != other.get_tattoo(), layer.get_id() != other.get_id(),
            image.get_layer_by_tattoo(other.get_tattoo()).get_name(), image.get_layer_by_tattoo(99) is None,
            list(layer.get_parasite("carried").get_data()), other.get_parasite("carried") is None,
        ]
    """,
    "what is there, and what is gone": """
        image, layer = picture(24, 20)
        loose = Gimp.Layer.new(image, "loose", 2, 2, Gimp.ImageType.RGBA_IMAGE, 100.0, Gimp.LayerMode.NORMAL)
        result = [layer.is_valid(), loose.is_valid(), image.is_valid()]
        loose.delete()
        layer.delete()
        result += [loose.is_valid(), layer.is_valid()]
        image.remove_layer(layer)
        result += [layer.is_valid(), tree(image)]
        last = new_layer(image)
        image.delete()
        result += [image.is_valid(), last.is_valid()]
    """,
    "which changes can be undone": """
        image, layer = picture(24, 20)
        made = Gimp.Layer.new(image, "made", 6, 5, Gimp.ImageType.RGBA_IMAGE, 100.0, Gimp.LayerMode.NORMAL)
        parasite = Gimp.Parasite.new("carried", Gimp.PARASITE_PERSISTENT | Gimp.PARASITE_UNDOABLE, b"a")
        result = []
        for change in (
            lambda: write(layer, array.array("f", [0.5] * 4 * 24 * 20)),
            lambda: made.set_offsets(2, 3), lambda: made.attach_parasite(parasite),
            lambda: made.add_mask(made.create_mask(Gimp.AddMaskType.WHITE)),
            lambda: made.set_composite_space(Gimp.LayerColorSpace.RGB_PERCEPTUAL),
            lambda: image.insert_layer(made, None, 0),
            lambda: made.set_visible(False), lambda: made.set_offsets(1, 1),
            lambda: made.attach_parasite(parasite), lambda: made.set_apply_mask(False),
            lambda: made.set_edit_mask(False), lambda: made.resize(9, 9, 1, 2),
            lambda: select(image, 1, 1, 5, 5), lambda: Gimp.Selection.none(image),
            lambda: image.remove_layer(made),
        ):
            image.clean_all()
            change()
            result.append(image.is_dirty())
    """,
    "a layer of another size": """
        image, layer = picture(24, 20)
        layer.resize(30, 12, 4, -3)
        result = [facts(layer), read(layer)]
    """,
    "a floating selection, and a palette": """
        image, layer = picture(24, 20)
        result = [image.get_floating_sel() is None, layer.is_indexed()]
        select(image, 2, 2, 9, 9)
        Gimp.edit_copy([layer])
        pasted = Gimp.edit_paste(layer, False)[0]
        result += [image.get_floating_sel().get_id() == pasted.get_id(), tried(lambda: canvas.Source(layer))]
        image, layer = picture(24, 20)
        image.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 16, False, False, "")
        result += [layer.is_indexed(), tried(lambda: canvas.Source(layer))]
        result += [tried(lambda: canvas.Source(image.get_selection()))]
    """,
    **{
        f"what is taken of a layer that lies anywhere, soft by its mask and a selection, of {name}": f"""
            image = new_image(40, 30, precision={precision!r})
            layer = new_layer(image, 30, 24, at=(-5, 8))
            own = new_mask(layer, (6, 2, 20, 14))
            soft(image, 0.07)
            result = taken(canvas.Source(layer))
        """
        for name, precision in {"8 bit": "U8_NON_LINEAR", "linear floats": "FLOAT_LINEAR"}.items()
    },
    "what is taken of all of a layer": """
        image, layer = picture(24, 20, at=(7, -6))
        result = taken(canvas.Source(layer))
    """,
    "a dream's layer": """
        image, layer = picture(24, 20)
        soft(image)
        image.clean_all()
        made = dreamt(layer, seed=7)
        data = json.loads(bytes(made.layer.get_parasite("deep-dream").get_data()))
        result = [
            facts(made.layer), read(made.layer), data["params"], data["source"] == layer.get_tattoo(),
            made.layer.get_composite_space() == Gimp.LayerColorSpace.RGB_PERCEPTUAL,
            tree(image), image.is_dirty(), made.trouble,
        ]
    """,
    "a layer that was dreamt twice, in its mask and in its alpha": """
        image, layer = picture(24, 20, precision="FLOAT_LINEAR")
        soft(image)
        first = painted(dreamt(layer))
        second = painted(dreamt(first.layer, mask="alpha"))
        result = [taken(canvas.Source(each.layer)) for each in (first, second)]
        result += [taken(canvas.Source(layer, each.layer)) for each in (first, second)]
    """,
    "a frame that is stretched": """
        image, layer = picture(24, 20, precision="FLOAT_LINEAR")
        made = dreamt(layer)
        values = [each for row in range(5) for column in range(8) for each in (column / 7, row / 4, 0.5, 1.0)]
        made.show((2, 3, 15, 19), array.array("f", values).tobytes(), (5, 8, 4), "float32")
        result = read(made.layer)
    """,
    "what becomes of a dream whose layer is changed, removed, and whose image is closed": """
        image, layer = picture(24, 20)
        made = dreamt(layer)
        made.layer.resize(9, 9, 0, 0)
        result = [made.trouble]
        made = dreamt(layer)
        again = dreamt(made.layer, made.layer)
        result.append(made.layer.get_visible())
        again.remove()
        result += [again.trouble, made.layer.get_visible(), tree(image)]
        source = canvas.Source(layer)
        image.remove_layer(layer)
        result.append(tried(source.check))
        image.delete()
        result += [made.trouble, tried(source.check)]
    """,
}
REDUCED = {
    f"a picture of {name}, {share}": f"""
        image = new_image(96, 80, base={base!r})
        layer = new_layer(image, at=(-12, 9))
        ramp(layer)
        Gegl.init(None)
        inner = canvas.Place(12, 25, 60, 48)
        reduced = canvas.Source(layer).pixels(inner, {scale}, "{dtype}")
        form = "Y'A" if layer.is_gray() else "R'G'B'A"
        form += " u8" if "{dtype}" == "uint8" else " float"
        result = reduced.place.box, unpacked(reduced.frame, reduced.place.height, reduced.place.width, form)
    """
    for name, base, dtype in (("8 bit", "RGB", "uint8"), ("floats", "RGB", "float32"), ("gray", "GRAY", "uint8"))
    for share, scale in {"an octave less": 1.4**-1, "half": 0.5, "three octaves less": 1.4**-3}.items()
}
#: In steps of 8 bit, how far apart the averages of a ramp are: one and a half of its pixels.
AVERAGES = 5.0


@pytest.mark.parametrize("code", CASES.values(), ids=CASES)
def test_the_fake_does_what_gimp_does(lab: Lab, code: str) -> None:
    real, fake = both(lab, code)
    same(real, fake, 3e-5)


@pytest.mark.parametrize("code", REDUCED.values(), ids=REDUCED)
def test_a_picture_is_reduced_as_gimp_reduces_it(lab: Lab, code: str) -> None:
    """But for its border, and where values change quickly."""
    (box, real), (fake_box, fake) = both(lab, code)
    assert box == fake_box
    unit = 1.0 if real.max() > 2 else 1 / 255
    same(real, fake, AVERAGES * unit)


def test_nobody_sees_the_fake_afterwards() -> None:
    with faked() as modules:
        assert sys.modules["canvas"] is modules.canvas
    assert {"gi", "gi.repository", *vars(modules)}.isdisjoint(sys.modules)


def both(lab: Lab, code: str) -> tuple[Any, Any]:
    """What some code gives in GIMP, and in the fake."""
    lab(HELPERS)
    lab(REAL)
    with faked() as modules:
        fake = Lab(FakeGimp(modules))
        fake(HELPERS)
        fake(FAKE)
        return lab(code), fake(code)


def same(real: Any, fake: Any, tolerance: float) -> None:
    """Compares plain data with pixels in it."""
    if isinstance(real, np.ndarray):
        assert real.shape == fake.shape
        assert np.abs(real - fake).max(initial=0) <= tolerance
    elif isinstance(real, dict):
        same(list(real.items()), list(fake.items()), tolerance)
    elif isinstance(real, list | tuple):
        assert len(real) == len(fake)
        for one, other in zip(real, fake, strict=True):
            same(one, other, tolerance)
    else:
        assert real == fake

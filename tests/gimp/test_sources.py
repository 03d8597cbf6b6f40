"""Layers of every sort as what is dreamt: each does the right thing, or is refused with what to do."""

from __future__ import annotations

import numpy as np
import pytest

from gimp_lab import FAINT, STEP, Lab, bounds, moved

#: What makes `layer`, and where the new layer is: the names of all layers, from above to below.
LAYERS = {
    "below another one": (
        "image, layer = picture(); new_layer(image, 20, 20, name='above').set_visible(False)",
        ["above", "NEW", "picture"],
    ),
    "in nested groups": (
        "image = new_image(); inner = new_group(image, new_group(image, name='outer'), 'inner');"
        "new_layer(image, parent=inner, seed=3, name='below');"
        "layer = new_layer(image, 60, 50, at=(10, 20), parent=inner);"
        "new_layer(image, 20, 20, parent=inner, name='above').set_visible(False);"
        "select(image, 20, 30, 30, 20, feather=4)",
        [["outer", [["inner", ["above", "NEW", "picture", "below"]]]]],
    ),
    "a group": (
        "image = new_image(); layer = new_group(image); new_layer(image, 50, 40, at=(10, 5), parent=layer);"
        "new_layer(image, 50, 40, at=(30, 25), parent=layer, seed=4, name='other'); select(image, 20, 20, 40, 30)",
        ["NEW", ["group", ["other", "picture"]]],
    ),
    "a group that passes through": (
        "image = new_image(); layer = new_group(image); layer.set_mode(Gimp.LayerMode.PASS_THROUGH);"
        "new_layer(image, 50, 40, at=(10, 5), parent=layer)",
        ["NEW", ["group", ["picture"]]],
    ),
    "with a mask that hides a part": (
        "image, layer = picture(); new_mask(layer, (10, 20, 50, 40)); select(image, 20, 24, 60, 30, feather=6)",
        ["NEW", "picture"],
    ),
    "with a mask that is switched off": (
        "image, layer = picture(); new_mask(layer, (10, 20, 50, 40)); layer.set_apply_mask(False)",
        ["NEW", "picture"],
    ),
    "with a mask that is being edited": (
        "image, below = picture(); layer = new_mask(below); below.set_edit_mask(True)",
        ["NEW", "picture"],
    ),
    "locked": (
        "image, layer = picture(); layer.set_lock_content(True); layer.set_lock_position(True);"
        "layer.set_lock_alpha(True)",
        ["NEW", "picture"],
    ),
    "in a locked group": (
        "image = new_image(); group = new_group(image); layer = new_layer(image, 50, 40, parent=group);"
        "group.set_lock_content(True); group.set_lock_position(True)",
        [["group", ["NEW", "picture"]]],
    ),
    "of a picture in a file": (
        "image, layer = picture(alpha=False); image = reopened(image, 'picture.png');"
        "layer = image.get_layers()[0]; layer.set_name('picture')",
        ["NEW", "picture"],
    ),
}


@pytest.mark.parametrize(("setup", "tree"), LAYERS.values(), ids=LAYERS)
def test_the_dream_of_a_layer_is_a_layer_directly_above_it(lab: Lab, setup: str, tree: list[object]) -> None:
    found = lab(f"{setup}\nresult = watched(layer)")
    lab.check(found)
    assert found["tree"] == named(tree, found["name"])
    assert not found["edits_mask"], "painting would go on in the mask"


def named(tree: list[object], new: str) -> list[object]:
    """A tree of layers with the new one's name."""
    return [named(each, new) if isinstance(each, list) else new if each == "NEW" else each for each in tree]


def test_an_invisible_layer_is_dreamt_and_stays_invisible(lab: Lab) -> None:
    found = lab("""
        image, layer = picture()
        layer.set_visible(False)
        result = watched(layer)
    """)
    assert found["untouched"]
    assert found["hidden"]
    assert np.abs(found["pixels"] - lab.dreamt(found["source"], lab.region(found), edge="full")).max() <= STEP


def test_the_dream_of_a_half_transparent_layer_is_as_transparent(lab: Lab) -> None:
    found = lab("""
        image, layer = picture()
        everything = Gegl.Rectangle.new(0, 0, 96, 80)
        values = array.array("f", layer.get_buffer().get(everything, 1.0, "R'G'B'A float", 0))
        values[3::4] = array.array("f", [column / 95 for column in range(96)] * 80)
        write(layer, values)
        result = watched(layer)
    """)
    assert found["untouched"]
    assert found["hidden"]
    full = lab.dreamt(found["source"], lab.region(found), edge="full")
    assert np.abs(found["pixels"] - full).max() <= STEP
    assert np.abs(found["pixels"][..., 3] - found["source"][..., 3]).max() <= STEP / 100
    assert np.abs(full - found["source"]).max() > 0.02


LAYER, SHADOW = "layer = new_layer(image, 60, 50, at=(60, 40))", "add_filter(layer, 'dropshadow', x=9.0)"
FILTERS = {
    "a blur": f"{LAYER}; add_filter(layer, 'gaussian-blur', std_dev_x=3.0)",
    "a shadow, which grows": f"{LAYER}; {SHADOW}",
    "a shadow of a layer without alpha": f"layer = new_layer(image, 60, 50, at=(60, 40), alpha=False); {SHADOW}",
    "a shadow of a group": (
        f"layer = new_group(image); new_layer(image, 60, 50, at=(60, 40), parent=layer); {SHADOW}"
    ),
    "two of a locked layer": (
        f"{LAYER}; add_filter(layer, 'gaussian-blur', std_dev_x=3.0); {SHADOW};"
        "layer.set_lock_position(True); layer.set_lock_content(True); layer.set_lock_alpha(True)"
    ),
    "a shadow in a picture of 16 bit with a profile": (
        "image.convert_precision(Gimp.Precision.U16_LINEAR);"
        f"image.set_color_profile(Gimp.ColorProfile.new_rgb_adobe()); {LAYER}; {SHADOW}"
    ),
}


@pytest.mark.parametrize("setup", FILTERS.values(), ids=FILTERS)
def test_filters_that_can_still_be_changed_are_in_the_dream_and_left_alone(lab: Lab, setup: str) -> None:
    found = lab(f"image = new_image(180, 140); {setup}; result = watched(layer)")
    assert found["untouched"]
    assert found["hidden"]
    seen = found["before"]
    canvas = (0, 0, *seen.shape[:2])
    own = moved(np.ones((50, 60, 1), np.float32), (40, 60, 50, 60), canvas)
    picture = bounds((seen[..., 3:] >= FAINT) | (own > 0))
    assert tuple(found["box"]) == picture
    here = moved(seen, canvas, picture)
    full = lab.dreamt(here, np.ones((*here.shape[:2], 1), np.float32), edge="full")
    assert np.abs(found["pixels"] - full).max() <= STEP
    assert np.abs(full - here).max() > 0.02


def test_a_selection_is_as_much_as_it_is_of_a_layer_with_a_filter_and_a_mask(lab: Lab) -> None:
    found = lab("""
        image = new_image(180, 140)
        layer = new_layer(image, 60, 50, at=(60, 40), alpha=False)
        new_mask(layer, (0, 0, 40, 50))
        add_filter(layer, "invert-gamma")
        select(image, 70, 50, 50, 20)
        result = watched(layer)
    """)
    assert found["untouched"]
    assert found["hidden"]
    assert found["box"] == [50, 70, 20, 30]
    inverted = found["source"].copy()
    inverted[..., :3] = 1 - inverted[..., :3]
    dreamt = moved(lab.dreamt(inverted, lab.region(found), edge="full"), (40, 60, 50, 60), (50, 70, 20, 30))
    assert np.abs(found["pixels"] - dreamt).max() <= STEP


def test_a_layer_of_text_is_dreamt_and_stays_text(lab: Lab) -> None:
    found = lab("""
        Gimp.fonts_refresh()
        image = new_image(120, 60)
        layer = Gimp.TextLayer.new(image, "Dream", Gimp.fonts_get_list(None)[0], 30.0, Gimp.Unit.pixel())
        image.insert_layer(layer, None, 0)
        layer.set_offsets(10, 10)
        result = watched(layer) | {"text": layer.get_text(), "is_text": Gimp.Item.id_is_text_layer(layer.get_id())}
    """)
    assert found["untouched"]
    assert found["hidden"]
    assert found["is_text"]
    assert found["text"] == "Dream"
    letters = found["source"][..., 3] > 0
    assert np.abs(found["pixels"] - found["source"])[letters].max() > 0.01
    assert np.array_equal(found["pixels"][..., 3], found["source"][..., 3])


def test_of_several_layers_each_gets_its_dream_and_the_first_is_returned(lab: Lab) -> None:
    found = lab("""
        image = new_image()
        first = new_layer(image, 40, 40, name="first")
        second = new_layer(image, 40, 40, at=(50, 30), seed=2, name="second")
        result = watched(first, second)
    """)
    assert found["untouched"]
    first, second = found["tree"][2], found["tree"][0]
    assert found["tree"] == [second, "second", first, "first"]
    assert found["name"] == first
    assert found["box"] == [0, 0, 40, 40]
    assert np.abs(found["after"] - found["before"])[35:70, 55:].max() > 0.02


def test_if_one_of_several_layers_cannot_be_dreamt_none_is(lab: Lab) -> None:
    says, names = lab("""
        image = new_image()
        first = new_layer(image, 40, 40, name="first")
        second = new_layer(image, 40, 40, at=(50, 30), name="second")
        second.fill(Gimp.FillType.TRANSPARENT)
        result = refusal(first, second), tree(image)
    """)
    assert "nothing to dream" in says
    assert names == ["second", "first"]


REFUSED = {
    "a floating selection": (
        "image, below = picture(); select(image, 20, 20, 40, 30); Gimp.edit_copy([below]);"
        "layer = Gimp.edit_paste(below, False)[0]",
        "There is a floating selection. Anchor it (Layer > Anchor Layer)",
    ),
    "a layer below a floating selection": (
        "image, layer = picture(); select(image, 20, 20, 40, 30); Gimp.edit_copy([layer]);"
        "Gimp.edit_paste(layer, False)",
        "There is a floating selection. Anchor it (Layer > Anchor Layer)",
    ),
    "a channel": (
        "image, _ = picture(); layer = Gimp.Channel.new(image, 'stars', 96, 80, 50.0, Gegl.Color.new('red'));"
        "image.insert_channel(layer, None, 0)",
        "“stars” is a channel, which has no colours to dream with. Choose a layer.",
    ),
    "the selection": ("image, _ = picture(); layer = image.get_selection()", "Choose a layer."),
    "a layer of a picture with a palette": (
        "image, layer = picture(); image.convert_indexed("
        "Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 16, False, False, '')",
        "This image has a palette, and dreams need more colours than it holds. Change it by Image > Mode > RGB",
    ),
    "an empty group": ("image = new_image(); layer = new_group(image)", "There is nothing to dream"),
    "a layer that is all transparent": (
        "image, layer = picture(); layer.fill(Gimp.FillType.TRANSPARENT)",
        "There is nothing to dream",
    ),
}


@pytest.mark.parametrize(("setup", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_dreamt_is_refused_with_what_to_do(lab: Lab, setup: str, says: str) -> None:
    message, unchanged = lab(f"""
        {setup}
        before = raw(layer), tree(image)
        result = refusal(layer), (raw(layer), tree(image)) == before
    """)
    assert says in message
    assert unchanged

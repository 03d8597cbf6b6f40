"""What of a layer is dreamt, and the layer that comes of it: in a fake GIMP, in no time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dreamwire.crop import Box
from dreamwire.params import context_pixels
from settings import Origin, Settings

#: A dream that sees little around it.
NEAR = Settings.of({"layers": "blocks.0", "octaves": 1, "jitter": 0, "context": "fast"})


@pytest.fixture
def gimp(fake: SimpleNamespace) -> SimpleNamespace:
    """What tests in GIMP are made with."""
    return fake.inside_gimp


@pytest.fixture
def canvas(fake: SimpleNamespace) -> SimpleNamespace:
    return fake.canvas


def pixels_of(taken: Any) -> NDArray[Any]:
    """Pixels that were taken, as an array."""
    return np.frombuffer(taken.frame, taken.dtype).reshape(taken.image.shape)


def soften(image: Any, rows: list[float]) -> None:
    """Selects each row of a picture of floats as much as is said."""
    image.get_selection().get_buffer().kept[:] = np.array(rows, np.float32)[:, None, None]


def dreamt(
    canvas: SimpleNamespace, layer: Any, settings: Settings = NEAR, replaces: Any = None, insert: bool = True
) -> Any:
    """The result of a dream that changed nothing yet."""
    source = canvas.Source(layer)
    result = canvas.Result(source, source.pixels(source.crop(settings)), settings, "abc", replaces)
    if insert:
        source.image.undo_group_start()
        result.insert()
        source.image.undo_group_end()
    return result


def paint(result: Any, box: Box, value: float, alpha: float = 1.0) -> None:
    """Shows one grey at a box of the image."""
    frame = np.full((*box[2:], 4), value, np.float32)
    frame[..., 3] = alpha
    show(result, box, frame)


def show(result: Any, box: Box, frame: NDArray[np.float32]) -> None:
    """Shows pixels at a box of the image, which the daemon tells within what was sent."""
    top, left, height, width = box
    within = top - result.sent.top, left - result.sent.left, height, width
    result.show(within, frame.tobytes(), frame.shape, "float32")


# The region

#: In an image of 40 x 30: where a layer of 30 x 24 lies, what is selected, what its mask shows, what is dreamt.
REGIONS = {
    "all of a layer, wherever it lies": ((-5, 8), None, None, (8, -5, 24, 30)),
    "the selection": ((0, 0), (4, 5, 6, 7), None, (5, 4, 7, 6)),
    "what is selected of the layer": ((-5, 8), (0, 0, 40, 20), None, (8, 0, 12, 25)),
    "what the mask shows": ((-5, 8), None, (10, 2, 6, 5), (10, 5, 5, 6)),
    "what both the selection and the mask show": ((-5, 8), (0, 12, 9, 30), (10, 2, 6, 5), (12, 5, 3, 4)),
}


@pytest.mark.parametrize(("at", "selected", "shown", "region"), REGIONS.values(), ids=REGIONS)
def test_what_is_dreamt_is_what_is_selected_of_the_layer_and_shown_by_its_mask(
    gimp: SimpleNamespace, canvas: SimpleNamespace, at: Any, selected: Any, shown: Any, region: Any
) -> None:
    image = gimp.new_image(40, 30)
    layer = gimp.new_layer(image, 30, 24, at=at)
    if selected:
        gimp.select(image, *selected)
    if shown:
        gimp.new_mask(layer, shown)
    source = canvas.Source(layer)
    assert source.region.box == region
    assert source.picture == canvas.Place.of(layer)
    top, left, height, width = region
    wider = canvas.Place(left - 2, top - 2, width + 4, height + 4)
    assert np.array_equal(pixels_of(source.mask(wider)), np.pad(np.ones((height, width)), 2)[..., None])


def test_without_a_soft_edge_no_mask_is_sent(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    _, layer = gimp.picture(24, 20)
    source = canvas.Source(layer)
    assert source.mask(source.region) is None


def test_a_mask_that_is_switched_off_does_not_count(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    _, layer = gimp.picture(24, 20)
    gimp.new_mask(layer, (2, 3, 4, 5))
    layer.set_apply_mask(False)
    assert canvas.Source(layer).region == canvas.Place(0, 0, 24, 20)


def test_a_mask_that_is_being_edited_stands_for_its_layer(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    _, layer = gimp.picture(24, 20)
    assert canvas.Source(gimp.new_mask(layer, (2, 3, 4, 5))).layer is layer


def test_a_soft_edge_is_as_soft_as_selection_and_mask_together(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image, layer = gimp.picture(6, 5, precision="FLOAT_LINEAR")
    soften(image, [0.2, 0.4, 1.0, 0.4, 0.2])
    mask = gimp.new_mask(layer)
    mask.get_buffer().kept[:] = np.array([1.0, 0.5, 0.5, 0.5, 0.0], np.float32)[:, None, None]
    source = canvas.Source(layer)
    assert source.region.box == (0, 0, 4, 6)
    assert pixels_of(source.mask(source.region))[:, 0, 0] == pytest.approx([0.2, 0.2, 0.5, 0.2], abs=1e-6)


def test_what_is_selected_so_faintly_that_no_screen_shows_it_is_no_part_of_the_region(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image, layer = gimp.picture(6, 5, precision="FLOAT_LINEAR")
    soften(image, [0.0, 0.001, 0.003, 1.0, 0.001])
    assert canvas.Source(layer).region.box == (2, 0, 2, 6)


def test_the_selection_counts_as_it_was_at_the_start(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    image, layer = gimp.picture(24, 20)
    gimp.select(image, 4, 5, 6, 7)
    source = canvas.Source(layer)
    gimp.select(image, 0, 0, 2, 2)
    assert source.region.box == (5, 4, 7, 6)
    assert pixels_of(source.mask(source.region)).all()


# Refusals


def floating(gimp: SimpleNamespace, fake: SimpleNamespace) -> Any:
    _, layer = gimp.picture(24, 20)
    fake.fake_gimp.edit_copy([layer])
    return fake.fake_gimp.edit_paste(layer, False)[0]


def with_palette(gimp: SimpleNamespace, fake: SimpleNamespace) -> Any:
    image, layer = gimp.picture(24, 20)
    image.convert_indexed()
    return layer


def channel(gimp: SimpleNamespace, fake: SimpleNamespace) -> Any:
    return fake.fake_gimp.Channel.new(gimp.new_image(24, 20), "stars", 24, 20, 50.0, None)


def beside(gimp: SimpleNamespace, fake: SimpleNamespace) -> Any:
    image = gimp.new_image(40, 30)
    gimp.select(image, 0, 0, 10, 30)
    return gimp.new_layer(image, 10, 10, at=(20, 0))


def hidden(gimp: SimpleNamespace, fake: SimpleNamespace) -> Any:
    image, layer = gimp.picture(24, 20)
    gimp.select(image, 0, 0, 10, 20)
    gimp.new_mask(layer, (12, 0, 12, 20))
    return layer


REFUSED = {
    floating: "There is a floating selection. Anchor it (Layer > Anchor Layer) or make it a layer of its own",
    with_palette: "This image has a palette, and dreams need more colours than it holds. Change it by",
    channel: "“stars” is a channel, which has no colours to dream with. Choose a layer.",
    beside: "The selection does not touch the layer “picture”. Select a part of that layer, choose another layer",
    hidden: "What is selected of the layer “picture” is hidden by its layer mask",
}


@pytest.mark.parametrize(("make", "says"), REFUSED.items(), ids=[make.__name__ for make in REFUSED])
def test_what_cannot_be_dreamt_is_refused_with_what_to_do(
    gimp: SimpleNamespace, fake: SimpleNamespace, make: Any, says: str
) -> None:
    with pytest.raises(fake.canvas.RefusalError) as caught:
        fake.canvas.Source(make(gimp, fake))
    assert str(caught.value).startswith(says)


def test_a_layer_or_an_image_that_is_gone_before_it_was_dreamt_is_told_as_what_it_is(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image, layer = gimp.picture(24, 20)
    source = canvas.Source(layer)
    image.remove_layer(layer)
    with pytest.raises(canvas.RefusalError, match=r"layer “picture” was deleted .* Edit > Undo brings it back"):
        source.pixels(source.region)
    image.delete()
    with pytest.raises(canvas.RefusalError, match=r"image of the layer “picture” was closed before it was dreamt"):
        source.pixels(source.region)


# What travels


def test_as_much_travels_as_the_network_looks_at_and_the_layer_holds(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image = gimp.new_image(60, 50)
    layer = gimp.new_layer(image, 40, 30, at=(11, 13))
    gimp.select(image, 30, 16, 10, 5)
    sees = context_pixels("dream", NEAR.params)
    assert 3 <= sees <= 11, "above, and nowhere else, there is less than it looks at"
    assert canvas.Source(layer).crop(NEAR) == canvas.Place(30 - sees, 13, 10 + 2 * sees, 8 + sees)


@pytest.mark.parametrize(
    ("options", "dtype", "channels"),
    [
        ({}, "uint8", 4),
        ({"base": "GRAY"}, "uint8", 2),
        ({"alpha": False}, "uint8", 4),
        ({"precision": "FLOAT_LINEAR"}, "float32", 4),
        ({"precision": "FLOAT_LINEAR", "base": "GRAY"}, "float32", 2),
    ],
    ids=str,
)
def test_pixels_travel_in_8_bit_if_they_are_kept_so(
    gimp: SimpleNamespace, canvas: SimpleNamespace, options: Any, dtype: str, channels: int
) -> None:
    _, layer = gimp.picture(24, 20, **options)
    source = canvas.Source(layer)
    pixels = source.pixels(canvas.Place(3, 4, 10, 5))
    assert (pixels.dtype, pixels.channels, pixels.image.shape) == (dtype, channels, (5, 10, channels))
    found = pixels_of(pixels) / (255 if dtype == "uint8" else 1)
    colours = layer.pixels[4:9, 3:13]
    assert found == pytest.approx(colours[..., [0, 3]] if channels == 2 else colours, abs=1e-6)
    assert source.pixels(source.region, 1.0, "uint8").dtype == "uint8"


def test_in_another_colour_space_they_travel_as_floats(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    image, layer = gimp.picture(24, 20)
    image.set_color_profile("of another space")
    assert canvas.Source(layer).pixels(canvas.Place.of(layer)).dtype == "float32"


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 4), ("uint8", 2), ("float32", 4), ("float32", 1)])
def test_a_part_of_pixels_is_what_lies_there(canvas: SimpleNamespace, dtype: str, channels: int) -> None:
    all_of_it = np.arange(9 * 7 * channels).reshape(9, 7, channels).astype(dtype)
    pixels = canvas.Pixels(canvas.Place(-3, 20, 7, 9), all_of_it.tobytes(), channels, dtype)
    part = pixels.part(canvas.Place(-1, 22, 4, 5))
    assert part.place == canvas.Place(-1, 22, 4, 5)
    assert np.array_equal(pixels_of(part), all_of_it[2:7, 2:6])


def test_reduced_pixels_and_their_mask_are_of_one_size(
    gimp: SimpleNamespace, canvas: SimpleNamespace, fake: SimpleNamespace
) -> None:
    image, layer = gimp.picture(24, 20)
    gimp.select(image, 4, 4, 10, 8)
    source = canvas.Source(layer)
    fake.fake_gegl.init(None)
    pixels, mask = source.pixels(canvas.Place(2, 2, 14, 12), 0.5), source.mask(canvas.Place(2, 2, 14, 12), 0.5)
    assert pixels.place == mask.place == canvas.Place(1, 1, 7, 6)
    assert np.array_equal(pixels_of(mask)[..., 0], np.pad(np.ones((4, 5)), 1))


# A layer that was dreamt


def test_a_dreamt_layer_is_seen_upon_what_it_was_dreamt_from(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image, layer = gimp.picture(8, 5, precision="FLOAT_LINEAR", alpha=False)
    soften(image, [0.0, 0.25, 1.0, 0.25, 0.0])
    result = dreamt(canvas, layer)
    assert result.layer.get_height() == 3
    paint(result, (1, 0, 3, 8), 0.75)
    source = canvas.Source(result.layer)
    assert source.picture == canvas.Place.of(layer)
    below = layer.pixels
    share = np.array([0.0, 0.25, 1.0, 0.25, 0.0])[:, None, None]
    seen = pixels_of(source.pixels(source.picture))[..., :3]
    assert seen == pytest.approx(below[..., :3] * (1 - share) + 0.75 * share, abs=1e-5)


def test_of_layers_dreamt_one_from_another_all_are_seen(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    image, layer = gimp.picture(9, 6)
    colours = layer.pixels[3, :, 0]
    for left, right, grey in ((0, 7, 0.2), (2, 7, 0.4), (4, 7, 0.6)):
        gimp.select(image, left, 0, right - left, 6)
        result = dreamt(canvas, layer)
        paint(result, (0, left, 6, right - left), grey)
        layer = result.layer
        colours[left:right] = grey
    source = canvas.Source(layer)
    seen = pixels_of(source.pixels(source.picture, 1.0, "float32"))[3, :, 0]
    assert seen == pytest.approx(colours, abs=1 / 255)


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.set_offsets(5, 0),
        lambda layer: layer.resize(10, 10, 0, 0),
        lambda layer: layer.get_image().remove_layer(layer),
    ],
    ids=["moved", "cropped", "deleted"],
)
def test_a_dream_that_its_source_no_more_surrounds_is_seen_alone(
    gimp: SimpleNamespace, canvas: SimpleNamespace, change: Callable[[Any], None]
) -> None:
    _, layer = gimp.picture(24, 20)
    result = dreamt(canvas, layer)
    assert canvas.source_of(result.layer) is layer
    change(layer)
    assert canvas.source_of(result.layer) is None
    assert canvas.Source(result.layer).picture == canvas.Place.of(result.layer)


def test_layers_that_claim_to_come_from_each_other_are_no_endless_story(
    fake: SimpleNamespace, gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image, one = gimp.picture(24, 20)
    other = gimp.new_layer(image, seed=2)
    for layer, below in ((one, other), (other, one)):
        data = Origin(NEAR, below.get_tattoo()).write()
        layer.attach_parasite(fake.fake_gimp.Parasite.new("deep-dream", 3, data))
    assert canvas.Source(one).pixels(canvas.Place.of(one)).frame == gimp.raw(one)


@pytest.mark.parametrize("kept", ["layer-mask", "alpha"])
def test_to_dream_again_takes_the_dreams_own_region_whatever_is_selected(
    gimp: SimpleNamespace, canvas: SimpleNamespace, kept: str
) -> None:
    image, layer = gimp.picture(6, 5, precision="FLOAT_LINEAR")
    soften(image, [0.0, 0.5, 1.0, 0.5, 0.0])
    result = dreamt(canvas, layer, Settings.of(NEAR.params, kept))
    if kept == "alpha":
        for row, alpha in enumerate((0.5, 1.0, 0.5)):
            paint(result, (1 + row, 0, 1, 6), 0.3, alpha)
    gimp.select(image, 0, 0, 1, 1)
    source = canvas.Source(layer, result.layer)
    assert source.region.box == (1, 0, 3, 6)
    assert pixels_of(source.mask(source.region))[:, 0, 0] == pytest.approx([0.5, 1.0, 0.5], abs=1e-6)
    assert source.pixels(source.region).frame == canvas.Source(layer).pixels(source.region).frame


# The new layer


def test_the_new_layer_lies_above_its_source_in_the_same_group(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image = gimp.new_image(24, 20)
    group = gimp.new_group(image)
    layer = gimp.new_layer(image, parent=group)
    gimp.new_layer(image, parent=group, name="above")
    dreamt(canvas, layer)
    assert gimp.tree(image) == [["group", ["above", NEAR.title, "picture"]]]


def test_if_the_source_is_gone_the_new_layer_is_the_topmost(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image = gimp.new_image(24, 20)
    layer = gimp.new_layer(image, parent=gimp.new_group(image))
    result = dreamt(canvas, layer, insert=False)
    image.remove_layer(layer)
    result.insert()
    assert gimp.tree(image) == [NEAR.title, ["group", []]]


@pytest.mark.parametrize("options", [{}, {"base": "GRAY"}, {"precision": "FLOAT_LINEAR"}], ids=str)
def test_the_new_layer_shows_the_picture_at_first_under_the_regions_mask(
    gimp: SimpleNamespace, canvas: SimpleNamespace, options: Any
) -> None:
    image = gimp.new_image(40, 30, **options)
    layer = gimp.new_layer(image, 30, 24, at=(-5, 8))
    gimp.select(image, 2, 10, 9, 7)
    made = dreamt(canvas, layer).layer
    assert canvas.Place.of(made).box == (10, 2, 7, 9)
    assert np.array_equal(made.pixels, layer.pixels[2:9, 7:16])
    assert made.get_mask().pixels.all()
    assert not made.get_edit_mask(), "painting would go on in the mask"


def test_without_a_selection_there_is_no_mask(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    _, layer = gimp.picture(24, 20)
    assert dreamt(canvas, layer).layer.get_mask() is None


def test_with_the_edge_in_the_alpha_the_layer_is_empty_at_first(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image, layer = gimp.picture(24, 20)
    gimp.select(image, 2, 10, 9, 7)
    made = dreamt(canvas, layer, Settings.of({}, "alpha")).layer
    assert made.get_mask() is None
    assert not any(gimp.raw(made))


def test_the_new_layer_carries_what_it_was_dreamt_with(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    _, layer = gimp.picture(24, 20)
    settings = Settings.of({"seed": 7}, "alpha")
    made = dreamt(canvas, layer, settings).layer
    assert made.get_name() == settings.title
    assert canvas.origin(made) == Origin(settings, layer.get_tattoo(), "abc")
    assert canvas.origin(layer) is None


def test_a_dream_with_its_frames_is_one_step_of_undo(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    image, layer = gimp.picture(24, 20)
    gimp.select(image, 2, 10, 9, 7)
    older = dreamt(canvas, layer).layer
    steps = len(image.undo)
    result = dreamt(canvas, layer, replaces=older)
    paint(result, (10, 2, 7, 9), 0.5)
    assert not older.get_visible()
    assert len(image.undo) == steps + 1


def test_frames_are_painted_where_they_belong_and_small_ones_are_stretched(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image = gimp.new_image(40, 30, precision="FLOAT_LINEAR")
    layer = gimp.new_layer(image, 30, 24, at=(-5, 8))
    result = dreamt(canvas, layer)
    before = result.layer.pixels
    frame = np.ones((2, 3, 4), np.float32)
    frame[..., :3] = np.array([0.25, 0.5, 0.75])[:, None]
    show(result, (10, -3, 4, 9), frame)
    after = result.layer.pixels
    shown = after[2:6, 2:11, 0]
    assert shown[:, [0, 4, 8]] == pytest.approx(np.tile([0.25, 0.5, 0.75], (4, 1)), abs=1e-6)
    assert (np.diff(shown) >= 0).all()
    after[2:6, 2:11] = before[2:6, 2:11]
    assert np.array_equal(after, before)


# What users do meanwhile


def test_what_the_user_does_to_layer_or_image_ends_the_dream_with_the_reason(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image, layer = gimp.picture(24, 20)
    result, resized = dreamt(canvas, layer), dreamt(canvas, layer)
    assert result.trouble == ""
    result.layer.set_offsets(3, 3)
    assert result.trouble == "", "it can be moved"
    resized.layer.resize(24, 19, 0, 0)
    assert "given another size" in resized.trouble
    image.remove_layer(result.layer)
    assert result.trouble.startswith("The dream's layer was undone or deleted")
    image.delete()
    assert result.trouble == "The image was closed, so the dream was dropped."


def test_a_cancelled_dream_is_removed_and_the_one_before_is_seen_again_in_one_step(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image, layer = gimp.picture(24, 20)
    older = dreamt(canvas, layer).layer
    result = dreamt(canvas, layer, replaces=older)
    steps = len(image.undo)
    result.remove()
    assert gimp.tree(image) == [NEAR.title, "picture"]
    assert older.get_visible()
    assert len(image.undo) == steps + 1


def test_a_cancelled_dream_that_was_undone_leaves_what_could_be_redone(
    gimp: SimpleNamespace, canvas: SimpleNamespace
) -> None:
    image, layer = gimp.picture(24, 20)
    result = dreamt(canvas, layer)
    image.remove_layer(result.layer)
    steps = len(image.undo)
    result.remove()
    image.delete()
    result.remove()
    assert len(image.undo) == steps


def test_a_dream_that_never_came_to_be_seen_leaves_nothing(gimp: SimpleNamespace, canvas: SimpleNamespace) -> None:
    image, layer = gimp.picture(24, 20)
    gimp.select(image, 2, 10, 9, 7)
    steps = len(image.undo)
    result = dreamt(canvas, layer, insert=False)
    result.discard()
    result.discard()
    assert not result.layer.is_valid()
    assert gimp.tree(image) == ["picture"]
    assert len(image.undo) == steps

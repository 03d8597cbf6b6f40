"""Pixels between GIMP and the daemon: pictures of every kind, selections of every shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from gimp_lab import Lab

#: How much pixels may differ: by their rounding, in the layer and where it is laid over the picture.
ROUNDING = {"U8": 1.1 / 255, "U16": 1.1 / 65535, "U32": 3e-6, "HALF": 6e-4, "FLOAT": 3e-6, "DOUBLE": 3e-6}
CURVES = ("LINEAR", "NON_LINEAR", "PERCEPTUAL")


@dataclass(frozen=True)
class Kind:
    """A kind of picture, and how much its pixels may differ from the daemon's."""

    precision: str
    base: str = "RGB"
    profile: str | None = None
    alpha: bool = True
    tolerance: float = 0.0

    def __str__(self) -> str:
        alpha = " with alpha" if self.alpha else ""
        return f"{self.base} {self.precision}{alpha}{f' {self.profile}' if self.profile else ''}"


KINDS = [
    *(Kind(f"{size}_{curve}") for size in ROUNDING for curve in CURVES),
    Kind("U8_NON_LINEAR", alpha=False),
    *(Kind(precision, "GRAY") for precision in ("U8_NON_LINEAR", "U16_LINEAR", "FLOAT_PERCEPTUAL")),
    Kind("HALF_LINEAR", "GRAY", alpha=False),
    # A soft edge is mixed in the picture's own primaries, and a step of 8 bit is wider there.
    Kind("U8_NON_LINEAR", profile="rgb_adobe", tolerance=0.01),
    Kind("U16_NON_LINEAR", profile="rgb_adobe", alpha=False, tolerance=0.003),
    Kind("FLOAT_LINEAR", profile="rgb_adobe", tolerance=0.003),
    Kind("U16_NON_LINEAR", profile="rgb_srgb_linear", tolerance=4.5e-5),
    Kind("U16_NON_LINEAR", "GRAY", "d50_gray_lab_trc", tolerance=3e-4),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_picture_of_any_kind_is_dreamt_as_the_daemon_dreams_it_and_stays_what_it_was(
    lab: Lab, kind: Kind
) -> None:
    found = lab(f"""
        image, layer = picture(
            base={kind.base!r}, precision={kind.precision!r}, profile={kind.profile!r}, alpha={kind.alpha}
        )
        select(image, 20, 24, 50, 30, feather=8)
        result = watched(layer)
    """)
    tolerance = kind.tolerance or ROUNDING[kind.precision.partition("_")[0]]
    light = kind.precision.endswith("_LINEAR") and "NON" not in kind.precision
    lab.check(found, tolerance, gray=kind.base == "GRAY", light=light)


SELECTIONS = {
    "nothing": ("image, layer = picture()", (0, 0, 80, 96)),
    "a rectangle": ("image, layer = picture(); select(image, 20, 24, 50, 30)", (24, 20, 30, 50)),
    "a soft one": ("image, layer = picture(); select(image, 20, 24, 50, 30, feather=10)", (13, 9, 52, 72)),
    "its inverse": (
        "image, layer = picture(); select(image, 20, 24, 50, 30); Gimp.Selection.invert(image)",
        (0, 0, 80, 96),
    ),
    "reaches beyond the layer": (
        "image = new_image(); layer = new_layer(image, 60, 50, at=(30, 20)); select(image, 10, 10, 50, 40)",
        (20, 30, 30, 30),
    ),
    "reaches beyond the canvas": (
        "image = new_image(60, 50); layer = new_layer(image, 120, 100, at=(-30, -20));"
        "select(image, -20, -10, 50, 40)",
        (0, 0, 30, 30),
    ),
    "nothing, of a layer larger than the canvas": (
        "image = new_image(60, 50); layer = new_layer(image, 120, 100, at=(-30, -20))",
        (-20, -30, 100, 120),
    ),
    "nothing, of a layer beside the canvas": (
        "image = new_image(40, 40); layer = new_layer(image, 30, 30, at=(100, 100))",
        (100, 100, 30, 30),
    ),
    "a soft one, of a layer somewhere": (
        "image = new_image(); layer = new_layer(image, 70, 60, at=(17, 11)); select(image, 30, 20, 40, 30, 9)",
        (11, 20, 49, 60),
    ),
    "nothing, of one pixel": ("image, layer = picture(1, 1)", (0, 0, 1, 1)),
}


@pytest.mark.parametrize(("setup", "box"), SELECTIONS.values(), ids=SELECTIONS)
def test_what_is_selected_of_the_layer_is_dreamt(lab: Lab, setup: str, box: tuple[int, ...]) -> None:
    found = lab(f"{setup}\nresult = watched(layer)")
    lab.check(found)
    assert tuple(found["box"]) == box
    assert (found["mask"] is None) == (found["selection"] is None)


def test_a_soft_selection_of_floats_takes_no_more_than_can_be_seen(lab: Lab) -> None:
    """There it falls off without end, which would take the whole picture for a small selection."""
    found = lab("""
        image = new_image(400, 300, precision="FLOAT_LINEAR")
        layer = new_layer(image)
        select(image, 150, 120, 60, 40, feather=20)
        bounds = Gimp.Selection.bounds(image)
        result = facts(dream(layer)) | {"selected": bounds.x2 - bounds.x1}
    """)
    assert found["selected"] > 350
    assert found["box"][3] < 120
    assert 0.5 / 255 <= found["mask"].max(0).min() < 0.02


REFUSED = {
    "beside the layer": (
        "image = new_image(); layer = new_layer(image, 30, 30, at=(60, 40)); select(image, 10, 10, 30, 20)",
        "selection does not touch the layer “picture”. Select a part of that layer",
    ),
    "in the hole": (
        "image, layer = picture(); select(image, 44, 9, 10, 5)",
        "nothing to dream: the mask is empty",
    ),
    "what the mask hides": (
        "image, layer = picture(); new_mask(layer, (0, 0, 20, 20)); select(image, 40, 40, 20, 20)",
        "hidden by its layer mask",
    ),
}


@pytest.mark.parametrize(("setup", "says"), REFUSED.values(), ids=REFUSED)
def test_a_selection_that_holds_nothing_is_refused_with_what_to_do(lab: Lab, setup: str, says: str) -> None:
    found = lab(f"""
        {setup}
        before = state(layer), tree(image)
        result = refusal(layer), (state(layer), tree(image)) == before
    """)
    assert says in found[0]
    assert found[1], "something was changed"


def test_values_that_are_no_numbers_are_refused_and_outside_the_selection_they_do_not_matter(lab: Lab) -> None:
    refused, found = lab("""
        image, layer = picture(300, 60, precision="FLOAT_LINEAR", alpha=False)
        buffer = layer.get_buffer()
        buffer.set(Gegl.Rectangle.new(290, 20, 1, 1), "RGBA float", array.array("f", [float("nan")] * 4).tobytes())
        buffer.flush()
        refused = refusal(layer)
        select(image, 20, 20, 30, 20)
        result = refused, facts(dream(layer))
    """)
    assert "no numbers" in refused
    assert found["box"] == [20, 20, 20, 30]


def test_values_beyond_white_and_below_black_survive(lab: Lab) -> None:
    found = lab("""
        image, layer = picture(precision="FLOAT_LINEAR", alpha=False)
        buffer = layer.get_buffer()
        for column, value in ((30, 8.0), (40, -0.5)):
            place = Gegl.Rectangle.new(column, 30, 4, 4)
            buffer.set(place, "RGBA float", array.array("f", [value, value, value, 1] * 16).tobytes())
        buffer.flush()
        select(image, 20, 20, 40, 30)
        result = watched(layer)
    """)
    assert found["untouched"]
    assert found["after"][31, 31, :3].min() > 1.5
    assert found["after"][31, 41, :3].max() < -0.3
    assert np.abs(found["after"] - found["before"])[:20].max() <= ROUNDING["FLOAT"]

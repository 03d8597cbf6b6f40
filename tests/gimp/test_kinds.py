"""What the other entries of the menu do, as scripts: every kind of job makes what it is to make."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from dreamwire.client import Done, Image
from dreamwire.crop import crop
from dreamwire.params import JOBS, validate
from dreamwire.zoom import of_frame
from gimp_lab import STEP, Lab, bounds, moved

#: What a network takes the noise of `new_layer` for, if not for what it does.
SECOND = "velvet"
#: What makes each kind of job brief, and what it cannot do without.
BRIEFLY: dict[str, dict[str, Any]] = {
    "adversarial": {"classes": SECOND, "confidence": 0.0, "steps": 15, "against": "efficientnet_lite1"},
    "enlarge": {"layers": "blocks.2", "octaves": 1, "steps": 1, "jitter": 4},
    "saliency": {"classes": "tabby+lemon", "method": "smooth", "samples": 1},
    "invert": {"layers": "blocks.2", "steps": 3},
    "visualise": {"classes": "lemon", "steps": 3},
    "fool": {"classes": "lemon", "confidence": 0.0, "steps": 3, "against": "efficientnet_lite1"},
    "zoom": {"layers": "blocks.2", "octaves": 1, "steps": 1, "jitter": 4, "zoom": 1.2},
}
#: What GIMP itself is asked beside the parameters of a job.
ASKED: dict[str, dict[str, Any]] = {"zoom": {"frames": 2}}
#: Those that make layers beside what they come from.
LAYERS = sorted({job.kind for job in JOBS.values() if job.gives != "report"} - {"dream", "enlarge"})


def test_every_kind_of_job_has_an_entry_whose_arguments_are_its_parameters(lab: Lab) -> None:
    for job in JOBS.values():
        if job.kind == "dream":
            continue
        arguments, label = lab(f"""
            procedure = Gimp.get_pdb().lookup_procedure("plug-in-deep-dream-{job.kind}")
            result = [each.get_name() for each in procedure.get_arguments()], procedure.get_menu_label()
        """)
        assert {name.replace("_", "-") for name in job.params if name != "edge"} <= set(arguments)
        assert label.replace("_", "") == f"{job.label}..."


@pytest.mark.parametrize("kind", LAYERS)
def test_its_layer_is_what_the_daemon_makes_and_carries_its_settings(lab: Lab, kind: str) -> None:
    params = BRIEFLY.get(kind, {})
    found = lab(f"""
        image, layer = picture(alpha=False, precision="FLOAT_NON_LINEAR")
        select(image, 20, 24, 50, 30)
        before, untouched = read(layer), state(layer)
        new = call([layer], "plug-in-deep-dream-{kind}", **{params | ASKED.get(kind, {})!r})
        result = facts(new) | {{
            "before": before, "pixels": read(new), "carried": carried(new), "tree": tree(image),
            "untouched": state(layer) == untouched, "mode": int(new.get_mode()), "usual": int(layer.get_mode()),
        }}
    """)
    assert found["untouched"]
    assert found["tree"][1:] == ["picture"]
    assert found["carried"]["kind"] == kind
    assert found["carried"]["params"] | params == found["carried"]["params"]
    mask = moved(np.ones((30, 50, 1), np.float32), (24, 20, 30, 50), (0, 0, 80, 96))
    assert tuple(found["box"]) == bounds(mask)
    # The first of a sequence of frames is the picture itself.
    sent = of_frame(params, 2) if kind == "zoom" else params
    done = made(lab, kind, found["before"], mask, **sent)
    expected = np.frombuffer(done.frames[0], np.float32).reshape(done.outputs[0].shape)
    channels = expected.shape[2]
    assert np.abs(found["pixels"][..., :channels] - expected).max() <= STEP
    # A map darkens what it does not speak of.
    assert (found["mode"] != found["usual"]) == (JOBS[kind].gives == "map")


def made(lab: Lab, kind: str, picture: np.ndarray[Any, Any], mask: np.ndarray[Any, Any], **params: Any) -> Done:
    """What the daemon makes of a region, of which it is sent no more than it needs."""
    assert lab.client is not None
    values = validate(kind, params)
    top, left, height, width = crop(kind, bounds(mask), picture.shape[:2], values)
    here = np.s_[top : top + height, left : left + width]
    images = [Image(np.ascontiguousarray(each[here]), each[here].shape, "float32") for each in (picture, mask)]
    sent = values | ({"edge": "full"} if "edge" in values else {})
    *_, done = lab.client.submit(kind, sent, image=images[0], mask=images[1])
    assert isinstance(done, Done)
    return done


def test_a_new_layer_that_is_transparent_can_be_filled_from_nothing(lab: Lab) -> None:
    made, untouched = lab(f"""
        image = new_image()
        layer = Gimp.Layer.new(image, "new", 96, 80, Gimp.ImageType.RGBA_IMAGE, 100, Gimp.LayerMode.NORMAL)
        image.insert_layer(layer, None, 0)
        before = state(layer)
        select(image, 20, 24, 50, 30)
        new = call([layer], "plug-in-deep-dream-visualise", **{BRIEFLY["visualise"]!r})
        result = read(new), state(layer) == before
    """)
    assert untouched
    assert made.shape == (30, 50, 4)
    assert (made[..., 3] == 1).all()
    assert made[..., :3].std() > 0.01


def test_a_soft_selection_of_an_adversarial_change_is_not_softened_twice(lab: Lab) -> None:
    """The daemon has changed less where it is soft; the layer's mask shows all of that."""
    mask = lab(f"""
        image, layer = picture(alpha=False)
        select(image, 20, 24, 50, 30, feather=8)
        result = facts(call([layer], "plug-in-deep-dream-adversarial", **{BRIEFLY["adversarial"]!r}))["mask"]
    """)
    assert set(np.unique(mask)) <= {0.0, 1.0}


@pytest.mark.parametrize("at", [(20, 24, 51, 31), None], ids=["the selection", "all of a layer"])
def test_enlarging_makes_a_new_image_of_the_region(lab: Lab, at: tuple[int, int, int, int] | None) -> None:
    found = lab(f"""
        image, layer = picture(alpha=False)
        image.set_resolution(123, 321)
        if {at!r}:
            select(image, *{at!r})
        before, untouched = len(Gimp.get_images()), state(layer)
        new = call([layer], "plug-in-deep-dream-enlarge", scale=3.0, strength=0.0, **{BRIEFLY["enlarge"]!r})
        larger = new.get_image()
        result = {{
            "images": len(Gimp.get_images()) - before, "tree": tree(image), "of": tree(larger),
            "pixels": read(new), "before": read(layer), "untouched": state(layer) == untouched,
            "resolution": larger.get_resolution()[1:], "dirty": larger.is_dirty(),
        }}
    """)
    assert found["images"] == 1
    assert found["untouched"]
    assert found["tree"] == ["picture"]
    assert found["of"] == ["Enlarge: blocks.2"]
    assert found["resolution"] == [123, 321]
    left, top, width, height = at or (0, 0, 96, 80)
    assert found["pixels"].shape == (3 * height, 3 * width, 4)
    # Without strength it is the picture, enlarged: the middle one of three pixels is one of its own.
    expected = found["before"][top : top + height, left : left + width, :3]
    assert np.abs(found["pixels"][1::3, 1::3, :3] - expected).max() <= STEP


def test_what_is_seen_is_told_to_scripts(lab: Lab) -> None:
    report = lab("""
        image, layer = picture()
        result = report([layer], "plug-in-deep-dream-classify", top=3)
    """)
    assert [set(each) for each in report["seen"]] == [{"number", "name", "probability"}] * 3
    assert report["network"] == "efficientnet_lite0"


def test_a_dream_tells_scripts_what_was_reached(lab: Lab) -> None:
    told = lab("""
        image, layer = picture()
        result = report([layer], classes="tabby", octaves=1, steps=8, jitter=4)
    """)
    before, after = told["classes"]["tabby"]
    assert after > before
    assert json.dumps(told)


def test_a_map_becomes_the_selection_in_one_step_of_undo(lab: Lab) -> None:
    found = lab("""
        image, layer = picture()
        select(image, 2, 3, 4, 5)
        shape, pixels = (3, 4, 1), bytes([0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0, 0])
        canvas = plug_in().canvas
        canvas.select(image, canvas.Place(10, 12, 40, 30), shape, pixels)
        result = {
            "bounds": Gimp.Selection.bounds(image)[2:], "mask": read(image.get_selection(), "Y float", 1),
            "channels": len(image.get_channels()), "layers": tree(image),
        }
    """)
    left, top, right, bottom = found["bounds"]
    # Around the two pixels of the map that are white, with a soft edge.
    assert 10 < left <= 20
    assert 12 < top <= 22
    assert 40 <= right < 50
    assert 32 <= bottom < 42
    assert found["mask"][27, 30] > 0.9
    assert found["channels"] == 0
    assert found["layers"] == ["picture"]


def test_a_zoom_is_a_layer_for_each_frame_made_of_the_one_before_in_one_step_of_undo(lab: Lab) -> None:
    found = lab(f"""
        image, layer = picture(alpha=False, precision="FLOAT_NON_LINEAR")
        image.clean_all()
        new = call([layer], "plug-in-deep-dream-zoom", frames=4, **{BRIEFLY["zoom"]!r})
        result = {{
            "before": read(layer), "tree": tree(image), "pixels": [read(each) for each in image.get_layers()],
            "first": new.get_name(), "frames": carried(new)["frames"],
        }}
    """)
    assert found["tree"] == ["Zoom: blocks.2", "Zoom: blocks.2, 3", "Zoom: blocks.2, 2", "picture"]
    assert found["first"] == "Zoom: blocks.2"
    assert found["frames"] == 4
    frame = found["before"]
    whole = np.ones((80, 96, 1), np.float32)
    for number, pixels in zip(range(2, 5), reversed(found["pixels"][:-1]), strict=True):
        done = made(lab, "zoom", frame, whole, **of_frame(BRIEFLY["zoom"], number))
        frame = np.frombuffer(done.frames[0], np.float32).reshape(done.outputs[0].shape)
        assert np.abs(pixels - frame).max() <= STEP


REFUSED = {
    "a class that there is not": ("adversarial", {"classes": "espreso"}, "espresso"),
    "no class": ("adversarial", {}, "must be the one class"),
    "a second network that is not here": (
        "adversarial", {"classes": "tabby", "against": "googlenet"}, "The weights of GoogLeNet are not here",
    ),
    "out of reach": (
        "adversarial", {"classes": "tabby", "epsilon": 1, "steps": 1, "confidence": 0.99}, "Try an epsilon of 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "params", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    lab: Lab, kind: str, params: dict[str, Any], says: str
) -> None:
    error, names, dirty = lab(f"""
        image, layer = picture()
        image.clean_all()
        try:
            call([layer], "plug-in-deep-dream-{kind}", **{params!r})
            error = "It was not refused."
        except RuntimeError as problem:
            error = str(problem)
        result = error, tree(image), image.is_dirty()
    """)
    assert says in error
    assert names == ["picture"]
    assert not dirty

"""A dream with somebody looking on: what is done to the image and the dream meanwhile.

In a process of the probe's, with somebody instead of a window; `test_window.py` has the windows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gimp_lab import STEP, Lab

#: More steps than any test waits for.
ENDLESS = 1000


@pytest.fixture(autouse=True)
def alone(lab: Lab) -> None:
    """No settings that another test has left."""
    Path(lab.gimp.environment["DEEPDREAM_CONFIG"], "gimp.json").unlink(missing_ok=True)


def test_the_layer_is_there_with_the_first_frame_and_stop_keeps_it(lab: Lab) -> None:
    found = lab(f"""
        image, layer = picture()
        select(image, 20, 24, 50, 30, feather=8)
        untouched = state(layer)
        seen = []

        def does(window):
            seen.append((tree(image), read(image.get_layers()[0])))
            window.stop()

        (new,), error = onlooked([layer], does, steps={ENDLESS})
        result = facts(new) | {{
            "seen": seen, "error": error, "tree": tree(image), "untouched": state(layer) == untouched,
            "source": read(layer), "pixels": read(new),
        }}
    """)
    assert found["error"] == ""
    ((names, first),) = found["seen"]
    assert names == found["tree"] == ["Deep Dream: blocks.2", "picture"]
    top, left, height, width = found["box"]
    assert np.abs(first - found["source"][top : top + height, left : left + width])[..., :3].max() > 0.01
    assert found["untouched"]
    assert found["mask"] is not None


def test_cancel_takes_the_layer_away(lab: Lab) -> None:
    names, same, error = lab(f"""
        image, layer = picture()
        before = shown(image)
        _, error = onlooked([layer], lambda window: window.cancel(), steps={ENDLESS})
        result = tree(image), shown(image) == before, error
    """)
    assert error.startswith("CancelledError")
    assert names == ["picture"]
    assert same


def test_what_is_painted_and_selected_meanwhile_is_not_in_the_dream(lab: Lab) -> None:
    found = lab("""
        image, layer = picture()
        select(image, 20, 24, 50, 30, feather=8)
        source, mask = read(layer), read(image.get_selection(), "Y float", 1)

        def does(window):
            select(image, 0, 0, 10, 10)
            layer.fill(Gimp.FillType.WHITE)

        (new,), error = onlooked([layer], does, steps=30)
        result = facts(new) | {"source": source, "selection": mask, "pixels": read(new), "error": error}
    """)
    assert found["error"] == ""
    top, left, height, width = found["box"]
    here = np.s_[top : top + height, left : left + width]
    assert np.abs(found["mask"] - found["selection"][here]).max() < 1e-6
    # As it was sent, in 8 bit: babl's floats differ from it by a rounding, of which 30 steps make a fifth.
    source = np.rint(found["source"] * 255) / np.float32(255)
    full = lab.dreamt(source, found["selection"], steps=30, edge="full")
    assert np.abs(found["pixels"] - full[here]).max() <= STEP


def test_the_dream_goes_on_without_the_layer_that_it_came_from(lab: Lab) -> None:
    names, error = lab("""
        image, layer = picture()
        _, error = onlooked([layer], lambda window: image.remove_layer(layer), steps=3)
        result = tree(image), error
    """)
    assert error == ""
    assert names == ["Deep Dream: blocks.2"]


def test_a_layer_that_was_given_another_size_meanwhile_is_left_as_it_is(lab: Lab) -> None:
    names, width, error = lab(f"""
        image, layer = picture()
        _, error = onlooked([layer], lambda window: image.get_layers()[0].scale(50, 40, False), steps={ENDLESS})
        result = tree(image), image.get_layers()[0].get_width(), error
    """)
    assert "given another size" in error
    assert names == ["Deep Dream: blocks.2", "picture"]
    assert width == 50


def test_stopping_the_first_of_several_layers_keeps_it_and_leaves_out_the_rest(lab: Lab) -> None:
    names, count, error = lab(f"""
        image = new_image()
        first, second = new_layer(image, name="first"), new_layer(image, seed=2, name="second")
        layers, error = onlooked([first, second], lambda window: window.stop(), steps={ENDLESS})
        result = tree(image), len(layers), error
    """)
    assert error == ""
    assert count == 1
    assert names == ["second", "Deep Dream: blocks.2", "first"]


def test_redreaming_hides_the_dream_before_and_cancelling_shows_it_again(lab: Lab) -> None:
    hidden, shown, names, error = lab(f"""
        image, layer = picture()
        dreamt, ours, hidden = dream(layer), plug_in(), []
        settings = ours.settings.Settings.of(BRIEF | {{"steps": {ENDLESS}}})
        known = ours.settings.Origin(settings, layer.get_tattoo()).write()
        dreamt.attach_parasite(Gimp.Parasite.new("deep-dream", 1, known))

        def does(window):
            hidden.append(not dreamt.get_visible())
            window.cancel()

        _, error = onlooked([dreamt], does, "redream")
        result = hidden, dreamt.get_visible(), tree(image), error
    """)
    assert error.startswith("CancelledError")
    assert hidden == [True]
    assert shown
    assert names == ["Deep Dream: blocks.2", "picture"]


def test_settings_are_remembered_as_soon_as_a_dream_runs(lab: Lab) -> None:
    before, kept, error = lab(f"""
        path = os.environ["DEEPDREAM_CONFIG"] + "/gimp.json"
        image, layer = picture()
        before, kept = os.path.exists(path), []

        def does(window):
            kept.append(json.load(open(path)))
            window.cancel()

        _, error = onlooked([layer], does, steps={ENDLESS}, seed=3, mask_as="alpha")
        result = before, kept, error
    """)
    assert not before
    assert error.startswith("CancelledError")
    assert kept[0]["dream"]["params"]["seed"] == 3
    assert kept[0]["dream"]["mask"] == "alpha"

"""The entries of the menu beside dreams, in GIMP's window."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from dreamwire.networks import NETWORKS
from dreamwire.params import JOBS
from gimp_desk import DIALOG, DREAM, ENDLESS, KEY_OF, LOOKING, RUNNING, TITLES, Desk
from real_gimp import wait_for

#: What a kind of job cannot do without, and what makes its preview quick.
NEEDED: dict[str, dict[str, Any]] = {
    "adversarial": {"classes": "seashore", "confidence": 0.0},
    "fool": {"classes": "lemon", "confidence": 0.0},
    "invert": {"steps": 5},
    "visualise": {"steps": 5},
}
SEEING = TITLES["classify"]
#: Inside GIMP: what a test asks of the selection and of other images.
ASKED = """
def selected():
    return pixels(image.get_selection())

def others():
    return [each for each in Gimp.get_images() if each.get_id() != image.get_id()]
"""


@pytest.fixture
def seen(desk: Desk) -> Desk:
    """The window that says what a network sees, with its answer."""
    desk.gimp.eval(ASKED)
    desk.press(KEY_OF["classify"])
    desk.gimp.window_of(SEEING)
    wait_for(lambda: _bars(desk).std() > 8, "bars")
    return desk


def _bars(desk: Desk) -> Any:
    return desk.screen("seeing", SEEING)[55:190, 425:680]


def choose_first(desk: Desk) -> None:
    """Chooses the first class and waits until the picture shows where it is."""
    window = desk.gimp.window_of(SEEING)
    before = desk.screen("seen", SEEING)[40:280, 15:405]
    desk.gimp.press("Tab", "space", window=window)
    wait_for(
        lambda: np.abs(desk.screen("seen-where", SEEING)[40:280, 15:405] - before).mean() > 5,
        "where it is seen",
        seconds=60,
    )


def test_what_is_seen_can_be_selected_and_that_be_undone(seen: Desk) -> None:
    before = seen.ask("selected()")
    choose_first(seen)
    seen.gimp.press("alt+s", window=seen.gimp.window_of(SEEING))
    seen.gone(SEEING)
    assert seen.ask("selected()") != before
    left, top, right, bottom = seen.ask("Gimp.Selection.bounds(image)[2:]")
    # Within what was selected before.
    assert (left >= 120, top >= 50, right <= 560, bottom <= 340) == (True,) * 4
    assert len(seen.layers) == 1
    seen.press("ctrl+z")
    wait_for(lambda: seen.ask("selected()") == before, "the selection as it was")


def test_where_it_is_seen_becomes_a_layer(seen: Desk) -> None:
    choose_first(seen)
    seen.gimp.press("alt+m", window=seen.gimp.window_of(SEEING))
    seen.dreaming()
    seen.gone("^Looking$")
    seen.gimp.shot("mapped")
    assert seen.layers[0].startswith("Saliency: ")
    seen.press("ctrl+z")
    wait_for(lambda: len(seen.layers) == 1, "the layer's end")


def test_the_window_of_an_image_that_was_closed_selects_nothing_and_says_so(seen: Desk) -> None:
    choose_first(seen)
    seen.gimp.eval("close_picture()")
    window = seen.gimp.window_of(SEEING)
    seen.gimp.press("alt+s", window=window)
    wait_for(lambda: seen.screen("closed", SEEING)[300:, 420:].std() > 5, "a message")
    seen.gimp.press("Escape", window=window)
    seen.gone(SEEING)
    assert not seen.gimp.windows("GIMP Message")


@pytest.mark.parametrize("kind", [job.kind for job in JOBS.values() if job.gives != "report"])
def test_every_kind_of_job_has_a_dialog_that_shows_what_it_does_and_leaves_nothing_behind(
    desk: Desk, kind: str
) -> None:
    desk.remember(kind, **NEEDED.get(kind, {}))
    before = desk.done
    desk.press(KEY_OF.get(kind, DREAM))
    dialog = desk.gimp.window_of(TITLES[kind])
    wait_for(lambda: desk.done > before, "the whole preview", seconds=60)
    desk.gimp.shot(f"dialog-{kind}", dialog)
    desk.gimp.press("Escape", window=dialog)
    desk.gone(TITLES[kind])
    assert len(desk.layers) == 1
    assert not desk.ask("image.is_dirty()")


def test_enlarging_opens_a_new_image_and_cancel_closes_it(desk: Desk) -> None:
    desk.gimp.eval(ASKED)
    desk.remember("enlarge", **ENDLESS)
    desk.press(KEY_OF["enlarge"])
    dialog = desk.gimp.window_of(TITLES["enlarge"])
    desk.gimp.shot("enlarge", dialog)
    desk.gimp.press("Return", window=dialog)
    wait_for(lambda: desk.ask("len(others())") == 1, "the enlarged image", lambda: desk.gimp.words)
    running = desk.gimp.window_of("^Enlarging$")
    desk.gimp.press("alt+c", window=running)
    desk.gone("^Enlarging$")
    wait_for(lambda: desk.ask("len(others())") == 0, "the enlarged image's end", lambda: desk.gimp.words)
    assert desk.shown == desk.before


def test_a_class_is_completed_as_it_is_typed_and_what_was_reached_is_told(desk: Desk) -> None:
    desk.press(KEY_OF["adversarial"])
    dialog = desk.gimp.window_of(TITLES["adversarial"])
    wait_for(lambda: _completed(desk, dialog), "the whole name")
    desk.gimp.click(763, 490, dialog)
    desk.dreaming()
    desk.gone("^Searching$")
    assert desk.layers[0] == "Adversarial: volcano"
    message = desk.gimp.window_of("GIMP Message")
    desk.gimp.shot("told", message)
    desk.gimp.press("Return", window=message)


def _completed(desk: Desk, dialog: str) -> bool:
    """Types the beginning of a class and takes what is offered; whether that makes the settings good."""
    desk.gimp.click(600, 92, dialog)
    desk.gimp.press("ctrl+a")
    desk.gimp.type("volca")
    time.sleep(1)  # the offer comes when nothing was typed for a moment
    desk.gimp.press("Down", "Return")
    desk.gimp.shot("completed", dialog)
    # OK can be pressed as soon as the class is one.
    return bool(desk.screen("completed", TITLES["adversarial"])[475:505, 725:805].max() > 200)


def test_a_layer_is_chosen_by_looking(desk: Desk) -> None:
    desk.press(DREAM)
    dialog = desk.gimp.window_of(DIALOG)
    before = desk.done
    desk.gimp.press("alt+b", window=dialog)
    chooser = desk.gimp.window_of(LOOKING)
    first = desk.screen("looking", LOOKING)
    wait_for(lambda: np.abs(desk.screen("looking", LOOKING) - first).mean() > 2, "thumbnails that dream")
    desk.gimp.eval(ASKED)
    offers = NETWORKS["efficientnet_lite0"].offers
    wait_for(lambda: desk.done >= before + len(offers) and not desk.jobs, "all thumbnails", seconds=60)
    time.sleep(1)  # until the last one is painted
    assert desk.ask("len(displays())") == 1
    # Once: each time opens another image.
    desk.gimp.press("alt+a", window=chooser)
    wait_for(lambda: desk.ask("len(displays())") == 2, "them as the layers of an image")
    names = desk.ask("[each.get_name() for each in others()[0].get_layers()]")
    assert names == list(offers)
    desk.gimp.eval("close_others()")
    desk.gimp.run("xdotool", "windowraise", chooser)  # GIMP's own window may have come before it
    desk.gimp.click(90, 120, chooser)  # the first layer of all
    desk.gone(LOOKING)
    desk.gimp.press("Return", window=dialog)
    desk.dreaming()
    desk.gone(RUNNING)
    assert desk.layers[0] == "Deep Dream: blocks.0"

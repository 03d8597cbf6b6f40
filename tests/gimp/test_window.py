"""The plug-in in GIMP's window, driven by keys and the mouse, as a user does."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dreamwire.client import Done, Image
from dreamwire.params import JOBS
from gimp_desk import (
    ABOUT,
    AGAIN,
    BRIEF,
    DEEPER,
    DIALOG,
    DOCKS,
    DREAM,
    ENDLESS,
    KEYS,
    MAIN,
    NETWORKS,
    REDREAM,
    RUNNING,
    Desk,
)
from real_daemon import Daemon
from real_gimp import Gimp, GimpError, System, wait_for
from weights_server import ROW, published, serve


def test_the_menu_has_every_entry(window: Desk) -> None:
    entries = {}
    for name in KEYS:
        if name.startswith("plug-in"):
            window.gimp.eval(f"procedure = Gimp.get_pdb().lookup_procedure({name!r})")
            entries[name] = window.ask("procedure.get_menu_label(), procedure.get_menu_paths()")
    dreams = ["Dream...", "Dream Again", "Dream Deeper", "Re-dream..."]
    others = [f"{job.label}..." for job in JOBS.values() if job.kind != "dream"]
    labels = [label.replace("_", "") for label, _ in entries.values()]
    assert labels == [*dreams, *others, "Networks...", "About and Diagnostics..."]
    # Each has a key in the open menu, and no two the same.
    keys = [label[label.index("_") + 1].lower() for label, _ in entries.values()]
    assert len(set(keys)) == len(keys)
    assert all(paths == ["<Image>/Filters/Deep Dream"] for _, paths in entries.values())


def test_an_entry_is_found_by_its_name_and_dreams(desk: Desk) -> None:
    desk.press("slash")
    desk.gimp.window_of("Search Actions")
    desk.gimp.type("Dream Again")
    wait_for(lambda: not desk.gimp.press("Return") and len(desk.layers) == 2, "a dreamt layer")
    desk.gone(RUNNING)


def test_ok_makes_a_layer_with_a_mask_and_one_undo_removes_it(desk: Desk) -> None:
    source = desk.ask("pixels(image.get_layers()[0])")
    desk.press(DREAM)
    dialog = desk.gimp.window_of(DIALOG)
    desk.gimp.press("Return", window=dialog)
    desk.dreaming()
    desk.gone(RUNNING)
    desk.gimp.shot("dreamt")
    assert desk.layers[0] == "Deep Dream: blocks.4"
    assert desk.ask("image.get_layers()[0].get_mask() is not None")
    assert desk.ask("pixels(image.get_layers()[1])") == source
    dreamt = desk.shown
    assert dreamt != desk.before
    assert desk.ask("image.is_dirty()")
    desk.press("ctrl+z")
    wait_for(lambda: len(desk.layers) == 1, "the layer's end")
    assert desk.shown == desk.before
    # Nothing is left to be undone: GIMP counts the image as it was when it was opened.
    assert not desk.ask("image.is_dirty()")
    desk.press("ctrl+y")
    desk.dreaming()
    assert desk.shown == dreamt


def test_the_preview_shows_the_dream_and_begins_anew_with_other_settings(desk: Desk) -> None:
    desk.press(DREAM)
    dialog = desk.gimp.window_of(DIALOG)

    def preview(name: str) -> NDArray[np.int16]:
        return desk.screen(name, DIALOG)[110:390, 30:410]

    @contextlib.contextmanager
    def pressed() -> Iterator[None]:
        desk.gimp.run("xdotool", "mousemove", "--window", dialog, "220", "250", "mousedown", "1")
        try:
            yield
        finally:
            desk.gimp.run("xdotool", "mouseup", "1")

    def differ(one: NDArray[np.int16], other: NDArray[np.int16]) -> bool:
        return bool((np.abs(one - other) > 12).any(-1).mean() > 0.02)

    with pressed():
        before = preview("preview-before")
    wait_for(lambda: differ(preview("preview"), before), "a preview")
    first = preview("preview")
    desk.gimp.click(200, 60, dialog)  # the second preset
    wait_for(lambda: differ(preview("preview-other"), first), "another preview")
    other = preview("preview-other")
    with pressed():
        wait_for(lambda: differ(preview("preview-before"), other), "the picture as it is")
    desk.gimp.press("Escape", window=dialog)
    desk.gone(DIALOG)
    wait_for(lambda: not desk.jobs, "the preview's end")
    assert len(desk.layers) == 1
    assert not desk.ask("image.is_dirty()")


def test_cancel_leaves_the_image_as_it_was(desk: Desk) -> None:
    desk.remember(**ENDLESS)
    desk.press(AGAIN)
    desk.dreaming()
    desk.gimp.press("alt+c", window=desk.gimp.window_of(RUNNING))
    desk.gone(RUNNING)
    assert len(desk.layers) == 1
    assert desk.shown == desk.before
    assert not desk.jobs


def test_stop_and_keep_keeps_what_there_is(desk: Desk) -> None:
    desk.remember(**ENDLESS)
    desk.press(AGAIN)
    desk.dreaming()
    desk.gimp.press("alt+s", window=desk.gimp.window_of(RUNNING))
    desk.gone(RUNNING)
    assert desk.layers[0] == "Deep Dream: blocks.4"
    assert desk.shown != desk.before
    assert not desk.jobs
    desk.press("ctrl+z")
    wait_for(lambda: not desk.ask("image.is_dirty()"), "the image as it was")
    assert desk.shown == desk.before


def test_gimps_own_cancel_leaves_a_layer_that_one_undo_removes_and_no_job(desk: Desk) -> None:
    desk.remember(**ENDLESS)
    desk.press(DOCKS)  # without them, the button is in the window's corner
    desk.press(AGAIN)
    desk.dreaming()
    main = desk.gimp.window_of(MAIN)
    geometry = desk.gimp.run("xdotool", "getwindowgeometry", "--shell", main)
    width, height = (int(geometry.partition(f"{side}=")[2].split()[0]) for side in ("WIDTH", "HEIGHT"))
    desk.gimp.click(width - 60, height - 20, main)
    desk.gone(RUNNING)
    desk.press(DOCKS)
    wait_for(lambda: not desk.jobs, "the job's end")
    desk.press("ctrl+z")
    wait_for(lambda: len(desk.layers) == 1, "the image as it was")
    assert not desk.ask("image.is_dirty()")
    assert desk.shown == desk.before


def test_an_image_closed_in_the_middle_of_a_dream_is_no_disaster(desk: Desk) -> None:
    desk.remember(**ENDLESS)
    desk.press(AGAIN)
    desk.dreaming()
    desk.gimp.eval("close_picture()")
    told = desk.gimp.window_of(DIALOG)
    desk.gimp.shot("closed", told)
    desk.gone(RUNNING)
    desk.gimp.press("Escape", window=told)
    wait_for(lambda: not desk.jobs, "the job's end")


def test_undoing_a_dream_that_runs_ends_it_and_redo_shows_what_there_was(desk: Desk) -> None:
    desk.remember(**ENDLESS)
    desk.press(AGAIN)
    desk.dreaming()
    desk.press("ctrl+z")
    wait_for(lambda: len(desk.layers) == 1, "the layer's end")
    desk.gone(RUNNING)
    told = desk.gimp.window_of(DIALOG)
    desk.gimp.shot("undone", told)
    desk.gimp.press("Escape", window=told)
    desk.gone(DIALOG)
    wait_for(lambda: not desk.jobs, "the job's end")
    assert desk.shown == desk.before
    desk.press("ctrl+y")
    desk.dreaming()
    assert desk.shown != desk.before


def test_deeper_and_redream_start_from_the_layer(desk: Desk) -> None:
    desk.press(AGAIN)
    desk.dreaming()
    desk.gone(RUNNING)
    once = desk.shown
    desk.remember(layers="blocks.1")
    desk.press(DEEPER)
    wait_for(lambda: len(desk.layers) == 3, "a layer above the dream", lambda: desk.gimp.words)
    desk.gone(RUNNING)
    assert desk.layers[0] == "Deep Dream: blocks.4 #1"
    assert desk.shown != once
    desk.press(REDREAM)
    desk.gimp.press("Return", window=desk.gimp.window_of(DIALOG))
    wait_for(lambda: len(desk.layers) == 4, "a layer instead of the dream", lambda: desk.gimp.words)
    desk.gone(RUNNING)
    assert desk.ask("[each.get_visible() for each in image.get_layers()]") == [True, False, True, True]


def test_the_filter_is_repeated_without_its_dialog_and_shown_again_with_it(desk: Desk) -> None:
    desk.press(DREAM)
    desk.gimp.press("Return", window=desk.gimp.window_of(DIALOG))
    desk.dreaming()
    desk.gone(RUNNING)
    desk.press("ctrl+f")
    wait_for(lambda: len(desk.layers) == 3, "another layer", lambda: desk.gimp.words)
    desk.gone(RUNNING)
    desk.press("ctrl+shift+f")
    desk.gimp.press("Escape", window=desk.gimp.window_of(DIALOG))
    desk.gone(DIALOG)
    assert len(desk.layers) == 3


def test_networks_and_diagnostics_are_shown(desk: Desk) -> None:
    for key, title in ((NETWORKS, "Deep Dream: Networks"), (ABOUT, "Deep Dream: About and Diagnostics")):
        desk.press(key)
        shown = desk.gimp.window_of(title)
        wait_for(lambda title=title: len(np.unique(desk.screen("window", title))) > 60, "an answer")
        desk.gimp.shot(title.rpartition(" ")[2], shown)
        desk.gimp.press("Escape", window=shown)
        desk.gone(title)


@pytest.fixture
def alone(system: System, make_gimp: Callable[..., Gimp], cloud: Path, place: Daemon) -> Desk:
    """A GIMP that finds no daemon."""
    gimp = make_gimp(system, place, window=True, keys=KEYS)
    picture = gimp.folder / "cloud.png"
    picture.write_bytes(cloud.read_bytes())
    desk = Desk(gimp, picture, place)
    desk.remember(**BRIEF)
    return desk


def test_a_missing_daemon_is_explained_an_installed_one_started_and_outlives_gimp(
    alone: Desk, place: Daemon
) -> None:
    alone.open()
    alone.press(AGAIN)
    told = alone.gimp.window_of(DIALOG)
    alone.gimp.shot("no-daemon", told)
    alone.gimp.press("Escape", window=told)
    alone.gone(DIALOG)
    assert alone.shown == alone.before
    data = place.folder / "data"
    data.mkdir(exist_ok=True)
    # The root has no torch: its daemon is the one of the machine around it.
    command = ["chroot", "/tmp/host", str(Path(sys.executable).with_name("deepdream"))]
    (data / "daemon-command").write_text("\n".join(command))
    alone.press(AGAIN)
    alone.dreaming()
    alone.gone(RUNNING)
    alone.remember(**ENDLESS)
    alone.press(AGAIN)
    wait_for(lambda: len(alone.layers) == 3, "another layer", lambda: alone.gimp.words)
    assert alone.jobs
    with pytest.raises((GimpError, OSError)):
        alone.gimp.eval("""
            leave = Gimp.get_pdb().lookup_procedure("gimp-quit")
            config = leave.create_config()
            config.set_property("force", True)
            leave.run(config)
        """)
    wait_for(lambda: not alone.jobs, "the job's end")
    with place.client() as client:
        client.ping()


def test_a_network_is_fetched_and_its_memory_freed(
    system: System, make_gimp: Callable[..., Gimp], remote: Daemon
) -> None:
    serve(remote, published())
    gimp = make_gimp(system, remote, window=True, keys=KEYS)
    gimp.press(NETWORKS.replace("<Primary>", "ctrl+").replace("<Alt>", "alt+"), window=gimp.window_of(MAIN))
    window = gimp.window_of("Networks")

    def state(name: str) -> Any:
        with remote.client() as client:
            return next(each for each in client.networks() if each["name"] == name)

    def fetched() -> bool:
        gimp.click(570, 80, window)  # the only button to fetch by in the upper part
        return bool(state(ROW.name)["here"])

    assert not state(ROW.name)["here"]
    wait_for(fetched, "the weights")
    gimp.shot("fetched", window)
    with remote.client() as client:
        *_, done = client.submit(
            "dream", {"octaves": 1, "steps": 1}, image=Image(bytes(64 * 64 * 3), (64, 64, 3), "uint8")
        )
        assert isinstance(done, Done)
    wait_for(lambda: state("efficientnet_lite0")["loaded"], "the loaded network")
    gimp.press("alt+f", window=window)
    wait_for(lambda: not state("efficientnet_lite0")["loaded"], "the freed memory")

"""The dialog and its live preview: widgets, timers and daemon are fakes, driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dreamwire.crop import Box
from dreamwire.errors import DreamError
from dreamwire.messages import Array, Done, PreviewIs, Progress
from dreamwire.networks import NETWORKS
from dreamwire.params import PARAMS
from dreamwire.presets import PRESETS
from session import STARTING, Dream
from settings import PERSONAL, Settings, argument, shown

#: The presets of dreams.
DREAMS = [name for name, preset in PRESETS.items() if preset.kind == "dream"]
#: Of a user's own, at none of their defaults.
OWN = {"seed": 5, "strength": 1.5, "quality": "draft", "precision": "float32", "context": "fast", "window": 512}


@dataclass
class FakeSession:
    """Dreams nothing: keeps what is wanted, to be answered by hand."""

    post: object
    tell: Callable[[str], None] = lambda text: None
    dreams: list[Dream] = field(default_factory=list)

    def dream(self, dream: Dream) -> Dream:
        self.dreams.append(dream)
        return dream


@dataclass
class Desk:
    """The dialog, and a user before it."""

    gtk: Any
    dialog: Any
    config: Any
    source: Any

    @property
    def window(self) -> Any:
        return self.gtk.dialogs[-1]

    @property
    def dreams(self) -> list[Dream]:
        """All that were wanted."""
        return self.dialog.session.dreams

    @property
    def dream(self) -> Dream:
        """The only one that somebody waits for."""
        (dream,) = (each for each in self.dreams if each.listener is not None)
        return dream

    @property
    def words(self) -> str:
        """All that is written in it."""
        return "\n".join(each.get_text() for each in self.all("Label") if each.get_label())

    @property
    def shown(self) -> Any:
        """The pixels of the preview."""
        (frame,) = self.all("EventBox")
        return frame.children[0].shown.pixels

    @property
    def pressed(self) -> list[str]:
        """The presets whose buttons are pressed."""
        return [name for name in DREAMS if self.button(name).get_active()]

    @property
    def layers(self) -> Any:
        """Where layers are chosen and typed."""
        (found,) = self.all("ComboBoxText")
        return found

    @property
    def can_dream(self) -> bool:
        return self.window.sensitive[self.gtk.ResponseType.OK]

    def all(self, kind: str) -> list[Any]:
        return [each for each in self.window.inside() if type(each).__name__ == kind]

    def button(self, preset: str) -> Any:
        label = PRESETS[preset].label
        (found,) = (
            each for each in self.all("ToggleButton") if label in [inner.get_label() for inner in each.inside()]
        )
        return found

    @property
    def switch(self) -> Any:
        (found,) = self.all("CheckButton")
        return found

    def change(self, name: str, value: object) -> None:
        self.config.set_property(argument(name), value)

    def ask(self, does: Callable[[], object] = lambda: None, ok: bool = True) -> Settings | None:
        """Runs the dialog, in which the user does something, and then presses OK or Cancel."""

        def user() -> bool:
            does()
            return ok

        self.window.user = user
        chosen: Settings | None = self.dialog.ask()
        return chosen

    def wait(self) -> None:
        """Until what was changed is settled."""
        self.gtk.pass_time(200)


@pytest.fixture
def open_dialog(fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Desk]:
    """Opens the dialog for a picture, with some settings."""
    monkeypatch.setattr(fake.dialog, "Session", FakeSession)

    def open_dialog(
        settings: Settings | None = None, size: tuple[int, int] = (24, 20), selected: Any = None, **options: Any
    ) -> Desk:
        image, layer = fake.inside_gimp.picture(*size, **options)
        if selected:
            fake.inside_gimp.select(image, *selected)
        source, config = fake.canvas.Source(layer), fake.fake_gimp.ProcedureConfig()
        dialog = fake.dialog.JobDialog(None, config, source, settings or Settings.of({}), None)
        return Desk(fake.fake_gtk, dialog, config, source)

    return open_dialog


@pytest.fixture
def desk(open_dialog: Callable[..., Desk]) -> Desk:
    return open_dialog()


def painted(value: int, box: Box, channels: int = 4) -> PreviewIs:
    """A preview of one grey."""
    array = Array("image", 0, "uint8", (*box[2:], channels))
    return PreviewIs(job="1", box=box, array=array, frames=(bytes([value]) * array.nbytes,))


def done(value: int, box: Box) -> Done:
    """The end of a dream, in one grey."""
    array = Array("image", 0, "uint8", (*box[2:], 4))
    return Done(job="1", box=box, outputs=(array,), params={}, info={}, frames=(bytes([value]) * array.nbytes,))


# What is chosen


def test_ok_gives_what_is_chosen_and_cancel_nothing(open_dialog: Callable[..., Desk]) -> None:
    before = Settings.of(OWN | {"octaves": 3, "layers": "blocks.3"}, "alpha")
    assert open_dialog(before).ask() == before
    assert open_dialog(before).ask(ok=False) is None
    desk = open_dialog(before)
    changed = desk.ask(lambda: (desk.change("steps", 7), desk.config.set_property("mask-as", "layer-mask")))
    assert changed == Settings.of(dict(before.params) | {"steps": 7})


@pytest.mark.parametrize("name", DREAMS)
def test_a_preset_sets_all_but_what_is_the_users_own(open_dialog: Callable[..., Desk], name: str) -> None:
    desk = open_dialog(Settings.of(OWN | {"octaves": 7, "colour": 0.9, "channels": "0-2"}))
    assert desk.pressed == []
    chosen = desk.ask(lambda: desk.button(name).click())
    assert chosen is not None
    assert chosen.preset == name
    assert {each: chosen.params[each] for each in OWN} == OWN
    assert set(shown("dream")) & set(PERSONAL) == set(OWN)
    assert desk.pressed == [name]


def test_the_button_of_the_preset_that_the_settings_are_is_pressed(desk: Desk) -> None:
    first, second = DREAMS[:2]
    assert desk.pressed == [first]
    desk.change("seed", 8)
    desk.button(first).click()
    assert desk.pressed == [first], "a preset that is pressed again stays"
    desk.change("octave_scale", 2.9)
    assert desk.pressed == []
    desk.button(second).click()
    assert desk.pressed == [second]
    desk.change("layers", "blocks.99")
    assert desk.pressed == []


def test_a_preset_sets_many_settings_and_begins_one_preview(desk: Desk) -> None:
    desk.button("strokes").click()
    assert len(desk.gtk.timers) == 1
    desk.wait()
    assert len(desk.dreams) == 1


def test_another_network_offers_its_own_layers_and_begins_at_its_default(desk: Desk) -> None:
    desk.change("layers", "blocks.3")
    assert desk.layers.entry.get_text() == "blocks.3"
    desk.change("network", "googlenet")
    network = NETWORKS["googlenet"]
    assert desk.layers.offers == list(network.offers)
    assert desk.layers.entry.get_text() == network.default_layer
    assert desk.ask() == Settings.of({"network": "googlenet"})


def test_layers_are_typed_and_the_default_one_is_kept_as_the_default(desk: Desk) -> None:
    entry = desk.layers.entry
    assert entry.get_text() == NETWORKS["efficientnet_lite0"].default_layer
    entry.set_text(" blocks.2*0.5+blocks.3 ")
    assert desk.ask() == Settings.of({"layers": "blocks.2*0.5+blocks.3"})
    entry.set_text(NETWORKS["efficientnet_lite0"].default_layer)
    assert desk.ask() == Settings.of({})


def test_layers_that_there_are_not_are_told_and_not_dreamt_until_they_are_mended(desk: Desk) -> None:
    def types() -> None:
        desk.wait()
        shown = desk.dream
        desk.layers.entry.set_text("blocks.99")
        assert "no layer 'blocks.99'" in desk.words
        assert not desk.can_dream
        assert shown.listener is None
        desk.wait()
        assert len(desk.dreams) == 1
        desk.layers.entry.set_text("blocks.9")
        assert "no layer" not in desk.words
        assert desk.can_dream
        desk.wait()
        assert desk.dream.params["layers"] == "blocks.9"

    assert desk.ask(types) == Settings.of({"layers": "blocks.9"})


def test_another_seed_is_a_click_away(desk: Desk) -> None:
    (another,) = (each for each in desk.all("Button") if each.get_label() == "_Another")
    chosen = desk.ask(another.click)
    assert chosen is not None
    assert chosen.params["seed"] != 0


def test_sliders_end_at_what_is_usual(desk: Desk) -> None:
    """More can be typed."""
    for name in ("steps", "strength", "step_size"):
        made = desk.window.get_scale_entry(argument(name), 1.0)
        assert made.get_bounds() == (PARAMS[name].minimum, PARAMS[name].usual, True)


# What the preview shows

#: By the size of a picture: the preview's size, how many octaves of 1.4 it is smaller, how many of 4 it dreams.
VIEWS = {
    "a small one as it is": ((24, 20), (24, 20), 0, 4),
    "one that just fits": ((400, 12), (400, 12), 0, 4),
    "a wide one without its finest octave": ((401, 12), (286, 9), 1, 3),
    "a high one without its finest octaves": ((10, 500), (5, 255), 2, 2),
    "a huge one with its coarsest octave alone, in part": ((1200, 10), (400, 4), 3, 1),
}


@pytest.mark.parametrize(("size", "shown", "fewer", "octaves"), VIEWS.values(), ids=VIEWS)
def test_the_preview_is_of_octaves_at_their_own_scale(
    open_dialog: Callable[..., Desk], fake: SimpleNamespace, size: Any, shown: Any, fewer: int, octaves: int
) -> None:
    desk = open_dialog(size=size)
    desk.ask(desk.wait)
    (dream,) = desk.dreams
    height, width, _ = dream.image.shape
    assert (width, height) == shown
    assert dream.params["octaves"] == octaves
    scale = 1.4**-fewer
    wide = round(400 / scale)
    middle = fake.canvas.Place(0, 0, *size).intersect(fake.canvas.Place((size[0] - wide) // 2, 0, wide, size[1]))
    assert dream.image.pixels == desk.source.pixels(middle, scale, "uint8").frame
    assert desk.shown.tobytes() == dream.image.pixels


def test_with_room_to_spare_what_lies_around_the_region_is_shown_and_not_dreamt(
    open_dialog: Callable[..., Desk],
) -> None:
    desk = open_dialog(size=(420, 20), selected=(300, 5, 10, 8))
    desk.ask(desk.wait)
    (dream,) = desk.dreams
    assert dream.image.shape == (20, 315, 4)
    mask = np.frombuffer(dream.mask.pixels, np.float32).reshape(20, 315)
    assert mask[5:13, 195:205].all()
    assert mask.sum() == 80


def test_the_preview_dreams_with_the_settings_quickly_and_blended(desk: Desk) -> None:
    desk.change("seed", 9)
    desk.wait()
    expected = dict(Settings.of({"seed": 9}).params) | {"context": "fast", "edge": "blended"}
    assert desk.dream.params == expected
    assert desk.dream.mask is None
    assert desk.dream.preview is not None


def test_it_is_shown_as_it_grows_and_pressed_it_shows_what_is_there_now(desk: Desk) -> None:
    def looks() -> None:
        desk.wait()
        before = desk.shown.copy()
        desk.dream.event(painted(200, (2, 3, 4, 5)))
        after = before.copy()
        after[2:6, 3:8] = 200
        assert np.array_equal(desk.shown, after)
        (frame,) = desk.all("EventBox")
        frame.emit("button-press-event", None)
        assert np.array_equal(desk.shown, before)
        desk.dream.event(painted(100, (2, 3, 4, 5)))
        assert np.array_equal(desk.shown, before)
        frame.emit("button-release-event", None)
        assert (desk.shown[2:6, 3:8] == 100).all()
        desk.dream.done(done(50, (0, 0, 20, 24)))
        assert (desk.shown == 50).all()

    desk.ask(looks)


def test_a_gray_picture_is_shown_in_gray(open_dialog: Callable[..., Desk]) -> None:
    desk = open_dialog(base="GRAY")

    def looks() -> None:
        desk.wait()
        gray = np.frombuffer(desk.dream.image.pixels, np.uint8).reshape(20, 24, 2)
        assert np.array_equal(desk.shown, gray[..., [0, 0, 0, 1]])
        desk.dream.event(painted(77, (0, 0, 20, 24), 2))
        assert (desk.shown == 77).all()

    desk.ask(looks)


STATES = {
    "Starting the daemon...": lambda desk: desk.dialog.session.tell(STARTING),
    "Waiting...": lambda desk: desk.dream.event(Progress(job="1", state="queued")),
    "Loading the network...": lambda desk: desk.dream.event(Progress(job="1", state="loading")),
    "Octave 2 of 4": lambda desk: desk.dream.event(Progress(job="1", state="dreaming", octave=2, octaves=4)),
    "The daemon is full.": lambda desk: desk.dream.failed(DreamError("queue_full", "The daemon is full.")),
    "Networks... fetches it": lambda desk: desk.dream.failed(DreamError("unknown_network", "It is not here.")),
}


@pytest.mark.parametrize(("words", "happens"), STATES.items(), ids=STATES)
def test_a_line_says_how_it_goes_until_it_is_done(desk: Desk, words: str, happens: Callable[[Desk], None]) -> None:
    def looks() -> None:
        desk.wait()
        assert words not in desk.words
        happens(desk)
        assert words in desk.words
        desk.dream.done(done(50, (0, 0, 20, 24)))
        assert words not in desk.words

    desk.ask(looks)


# When it begins, and when it ends


def test_it_begins_at_once_and_anew_when_nothing_has_changed_for_a_moment(desk: Desk) -> None:
    def changes() -> None:
        desk.gtk.pass_time(0)
        first = desk.dream
        for steps in (3, 4, 5):
            desk.change("steps", steps)
            desk.gtk.pass_time(199)
            assert len(desk.dreams) == 1
        assert first.listener is None
        desk.gtk.pass_time(1)
        assert len(desk.dreams) == 2
        assert desk.dream.params["steps"] == 5
        shown = desk.shown.copy()
        first.event(painted(200, (0, 0, 20, 24)))
        assert np.array_equal(desk.shown, shown), "what was let go is no more heard"

    desk.ask(changes)


def test_switched_off_it_shows_the_picture_and_costs_nothing_until_it_is_switched_on(desk: Desk) -> None:
    def switches() -> None:
        desk.wait()
        before, first = desk.shown.copy(), desk.dream
        first.event(painted(200, (0, 0, 20, 24)))
        first.event(Progress(job="1", state="loading"))
        desk.switch.click()
        assert first.listener is None
        assert np.array_equal(desk.shown, before)
        assert "Loading" not in desk.words
        desk.change("steps", 7)
        assert not desk.gtk.timers
        assert len(desk.dreams) == 1
        desk.switch.click()
        desk.gtk.pass_time(0)
        assert desk.dream.params["steps"] == 7

    desk.ask(switches)


@pytest.mark.parametrize("ok", [True, False], ids=["by OK", "by Cancel"])
def test_it_ends_with_the_dialog(desk: Desk, ok: bool) -> None:
    def leaves() -> None:
        desk.wait()
        assert desk.dream.listener is not None
        desk.change("steps", 7)

    desk.ask(leaves, ok)
    assert all(dream.listener is None for dream in desk.dreams)
    assert not desk.gtk.timers
    assert not desk.window.open


def test_a_closed_image_and_a_deleted_layer_are_told_and_nothing_is_dreamt(desk: Desk) -> None:
    def closes() -> None:
        image = desk.source.image
        image.remove_layer(desk.source.layer)
        desk.wait()
        assert "The layer “picture” was deleted" in desk.words
        image.delete()
        desk.change("steps", 7)
        desk.wait()
        assert "The image of the layer “picture” was closed" in desk.words
        assert not desk.dreams

    desk.ask(closes)

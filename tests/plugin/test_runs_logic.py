"""What becomes of a dream that runs: its daemon is a script, and somebody looks on or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dreamwire.client import JobCancelledError
from dreamwire.errors import DreamError
from dreamwire.messages import Array, Done, PreviewIs
from session import LOST, DaemonLostError, Dream
from settings import Settings

#: Something that happens to a dream: its daemon tells it, or the user does something.
Event = Callable[[Dream], object]

SETTINGS = Settings.of({})
NAME = SETTINGS.title
ZOOM = Settings.of({}, kind="zoom").title


@dataclass
class Onlooker:
    """Stands for the window beside a dream that runs."""

    doing: str
    title: str
    stop: Callable[[], None]
    cancel: Callable[[], None]
    can_stop_now: bool = False
    open: bool = True
    said: list[str] = field(default_factory=list)

    def can_stop(self) -> None:
        self.can_stop_now = True

    def show_progress(self, text: str, fraction: float) -> None:
        self.said.append(text)

    def destroy(self) -> None:
        self.open = False


@dataclass
class Studio:
    """An image with two layers, to dream them by a script."""

    fake: SimpleNamespace
    image: Any
    layers: Sequence[Any]
    windows: list[Onlooker] = field(default_factory=list)
    dreams: list[Dream] = field(default_factory=list)
    session: Any = None

    @property
    def tree(self) -> Any:
        return self.fake.inside_gimp.tree(self.image)

    @property
    def window(self) -> Onlooker:
        return self.windows[-1]

    def film(self, *scripts: Sequence[Event], frames: int = 4, looks_on: bool = True) -> Any:
        """Makes a film of the first layer, a script for each frame; the new ones."""
        return self.run(*scripts, looks_on=looks_on, frames=frames)

    def run(self, *scripts: Sequence[Event], looks_on: bool = True, frames: int = 0) -> Any:
        """Dreams as many layers as there are scripts; the new ones."""
        modes, loop, left = self.fake.fake_gimp.RunMode, self.fake.loop.Loop(), list(scripts)

        def dream(dream: Dream) -> Dream:
            self.dreams.append(dream)
            for event in left.pop(0):
                loop.post(lambda event=event: event(dream))
            return dream

        layers = self.layers[: 1 if frames else len(scripts)]
        make = self.fake.runs.Film if frames else self.fake.runs.Run
        settings = Settings.of({}, kind="zoom", frames=frames) if frames else SETTINGS
        mode = modes.WITH_LAST_VALS if looks_on else modes.NONINTERACTIVE
        call = self.fake.runs.Call("dream", None, mode, self.image, layers, self.fake.fake_gimp.ProcedureConfig())
        sources = [self.fake.canvas.Source(layer) for layer in layers]
        run = make(call, sources, settings, loop)
        self.session = SimpleNamespace(dream=dream, tell=run.say)
        return run.made(self.session).layers


@pytest.fixture
def studio(fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Studio:
    image, first = fake.inside_gimp.picture(6, 5, name="first", at=(2, -1))
    studio = Studio(fake, image, [first, fake.inside_gimp.new_layer(image, name="second")])
    image.undo.clear()

    def window(*arguments: Any) -> Onlooker:
        studio.windows.append(Onlooker(*arguments))
        return studio.window

    monkeypatch.setattr(fake.windows, "RunWindow", window)
    return studio


def frame(dream: Dream) -> None:
    """The daemon shows all of the picture in one grey."""
    array = Array("image", 0, "uint8", dream.image.shape)
    box = (0, 0, *dream.image.shape[:2])
    dream.event(PreviewIs(job="1", box=box, array=array, frames=(grey(array, 100),)))


def done(dream: Dream, **info: Any) -> None:
    """The daemon ends with another."""
    array = Array("image", 0, dream.image.dtype, dream.image.shape)
    box = (0, 0, *dream.image.shape[:2])
    dream.done(Done(job="1", box=box, outputs=(array,), params={}, info=info, frames=(grey(array, 200),)))


def grey(array: Array, value: int) -> bytes:
    """Pixels of one value of 0..255, in the array's own type."""
    kind, one = (np.uint8, value) if array.dtype == "uint8" else (np.float32, value / 255)
    return np.full(array.shape, one, kind).tobytes()


def fails(dream: Dream) -> None:
    """The daemon cannot."""
    dream.failed(DreamError("out_of_memory", "There is no memory left."))


def loses_both(dream: Dream) -> None:
    """The daemon was killed, and so was the one that was started in its place."""
    dream.failed(DaemonLostError())


def ends_as_wished(dream: Dream) -> None:
    """The daemon does what the user wants."""
    assert dream._wish, "nobody wants it to end"
    done(dream) if dream._wish == "stop" else dream.failed(JobCancelledError())


def test_who_looks_on_sees_the_layer_grow_and_undoes_it_in_one_step(studio: Studio) -> None:
    seen = []

    def looks(_: Dream) -> None:
        seen.append((studio.tree, studio.window.can_stop_now))

    (made,) = studio.run([looks, frame, looks, done])
    assert seen == [(["second", "first"], False), (["second", NAME, "first"], True)]
    assert set(studio.fake.inside_gimp.raw(made)) == {200}
    assert len(studio.image.undo) == 1
    assert not studio.window.open


def test_who_looks_on_is_told_what_was_given_up_for_want_of_memory(studio: Studio) -> None:
    studio.run([partial(done, degraded=["the window was reduced to 512 px"])])
    assert studio.fake.fake_gimp.messages == ["Memory was short: the window was reduced to 512 px."]


def test_if_nobody_looks_on_all_layers_come_together_when_all_are_done(studio: Studio) -> None:
    seen = []
    made = studio.run([done], [lambda _: seen.append(studio.tree), done], looks_on=False)
    assert seen == [["second", "first"]]
    assert studio.tree == [f"{NAME} #1", "second", NAME, "first"]
    assert [each.get_name() for each in made] == [NAME, f"{NAME} #1"]
    assert len(studio.image.undo) == 1
    assert [dream.preview for dream in studio.dreams] == [None, None]
    assert not studio.windows


def test_if_nobody_looks_on_and_one_layer_fails_there_is_none(studio: Studio) -> None:
    with pytest.raises(DreamError, match="no memory left"):
        studio.run([done], [fails], looks_on=False)
    assert studio.tree == ["second", "first"]
    assert not studio.image.undo


@pytest.mark.parametrize("before", [[], [frame]], ids=["at once", "later"])
def test_a_dream_that_fails_leaves_no_layer(studio: Studio, before: list[Event]) -> None:
    with pytest.raises(DreamError, match="no memory left"):
        studio.run([*before, fails])
    assert studio.tree == ["second", "first"]
    assert not studio.window.open


def test_a_dream_that_loses_its_daemon_says_so_and_is_painted_anew_in_the_same_layer(studio: Studio) -> None:
    seen = []

    def looks(_: Dream) -> None:
        seen.append(studio.tree)

    (made,) = studio.run([frame, lambda _: studio.session.tell(LOST), looks, frame, looks, done])
    assert LOST in studio.window.said
    assert seen == 2 * [["second", NAME, "first"]]
    assert set(studio.fake.inside_gimp.raw(made)) == {200}
    assert len(studio.image.undo) == 1


@pytest.mark.parametrize("looks_on", [True, False])
def test_a_dream_that_loses_two_daemons_leaves_no_layer(studio: Studio, looks_on: bool) -> None:
    before = [frame] if looks_on else []
    with pytest.raises(DaemonLostError, match="Try again"):
        studio.run([*before, loses_both], looks_on=looks_on)
    assert studio.tree == ["second", "first"]


def test_a_film_that_loses_two_daemons_leaves_no_layer(studio: Studio) -> None:
    with pytest.raises(DaemonLostError):
        studio.film([done], [frame, loses_both])
    assert studio.tree == ["second", "first"]


def test_cancel_removes_the_layer_and_keeps_those_that_are_done(studio: Studio) -> None:
    with pytest.raises(studio.fake.runs.CancelledError):
        studio.run([done], [frame, lambda _: studio.window.cancel(), ends_as_wished])
    assert studio.tree == ["second", NAME, "first"]


def test_stop_keeps_what_there_is_and_begins_no_other_layer(studio: Studio) -> None:
    made = studio.run([frame, lambda _: studio.window.stop(), ends_as_wished], [])
    assert len(made) == len(studio.dreams) == 1
    assert studio.tree == ["second", NAME, "first"]


@pytest.mark.parametrize(
    ("does", "says", "left"),
    [
        (lambda image: image.delete(), "The image was closed", ["second", NAME, "first"]),
        (lambda image: image.remove_layer(image.layers[1]), "was undone or deleted", ["second", "first"]),
        (lambda image: image.layers[1].resize(3, 3, 0, 0), "given another size", ["second", NAME, "first"]),
    ],
    ids=["closes the image", "undoes the layer", "crops it"],
)
def test_what_the_user_does_to_the_layer_stays_and_ends_the_dream(
    studio: Studio, does: Callable[[Any], None], says: str, left: list[str]
) -> None:
    with pytest.raises(studio.fake.canvas.RefusalError, match=says):
        studio.run([frame, lambda _: does(studio.image), frame, ends_as_wished])
    assert studio.tree == left
    assert len(studio.image.undo) <= 2, "nothing more is to be undone"


def test_a_layer_deleted_before_its_turn_is_told_and_the_first_is_kept(studio: Studio) -> None:
    with pytest.raises(studio.fake.canvas.RefusalError, match="layer “second” was deleted"):
        studio.run([lambda _: studio.image.remove_layer(studio.layers[1]), done], [])
    assert studio.tree == [NAME, "first"]


def test_what_goes_wrong_in_the_plug_in_itself_ends_the_dream(studio: Studio) -> None:
    def breaks(_: Dream) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        studio.run([frame, breaks])
    assert studio.tree == ["second", "first"]
    assert not studio.window.open


# Films


def test_a_film_shows_each_frame_in_one_layer_and_puts_all_below_it_at_last(studio: Studio) -> None:
    seen = []
    made = studio.film([frame, done], [frame, lambda _: seen.append(studio.tree), done], [done])
    assert seen == [["second", ZOOM, "first"]]
    assert studio.tree == ["second", ZOOM, f"{ZOOM}, 3", f"{ZOOM}, 2", "first"]
    assert [each.get_name() for each in made] == [ZOOM, f"{ZOOM}, 3", f"{ZOOM}, 2"]
    assert len(studio.image.undo) == 2


def test_each_frame_of_a_film_is_made_of_the_one_before_with_a_seed_of_its_own(studio: Studio) -> None:
    studio.film([done], [done], [done])
    first, *others = [np.frombuffer(dream.image.pixels, np.float32) for dream in studio.dreams]
    assert np.ptp(first) > 0.1
    assert all(np.allclose(each, 200 / 255) for each in others)
    assert [dream.params["seed"] for dream in studio.dreams] == [2, 3, 4]


def test_a_film_that_nobody_looks_at_comes_as_one_step(studio: Studio) -> None:
    studio.film([done], [done], [done], looks_on=False)
    assert studio.tree == ["second", ZOOM, f"{ZOOM}, 3", f"{ZOOM}, 2", "first"]
    assert len(studio.image.undo) == 1


def test_a_film_that_is_stopped_keeps_the_frames_that_there_are(studio: Studio) -> None:
    studio.film([done], [done, lambda _: None], [lambda _: studio.window.stop(), ends_as_wished], frames=9)
    assert studio.tree == ["second", ZOOM, f"{ZOOM}, 3", f"{ZOOM}, 2", "first"]


def test_a_film_that_is_cancelled_or_fails_leaves_nothing(studio: Studio) -> None:
    with pytest.raises(studio.fake.runs.CancelledError):
        studio.film([done], [frame, lambda _: studio.window.cancel(), ends_as_wished])
    with pytest.raises(DreamError, match="no memory left"):
        studio.film([done], [fails], looks_on=False)
    assert studio.tree == ["second", "first"]

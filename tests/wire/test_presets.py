"""Presets: every one can be dreamt, is told from the others by name and picture, and is what its flags are."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from PIL import Image

from dreamwire.errors import DreamError
from dreamwire.params import PARAMS, defaults, validate
from dreamwire.presets import PRESETS, Preset, find_preset

PICTURES = Path(__file__).resolve().parents[2] / "plugin" / "deep-dream" / "pictures"

each = pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)


@each
def test_every_preset_can_be_dreamt_as_it_is(preset: Preset) -> None:
    values = validate("dream", preset.params)
    assert values == defaults("dream") | preset.params
    assert all(type(values[name]) is type(value) for name, value in preset.params.items())


@each
def test_a_preset_says_only_what_is_not_so_anyway(preset: Preset) -> None:
    assert [name for name, value in preset.params.items() if value == PARAMS[name].default] == []


def test_the_first_preset_is_what_one_gets_without_any() -> None:
    assert next(iter(PRESETS.values())).params == {}


@each
def test_a_preset_tells_what_one_will_see(preset: Preset) -> None:
    assert preset == PRESETS[preset.name] == find_preset(preset.name)
    assert preset.name.isidentifier()
    assert preset.label
    assert preset.help.endswith(".")


def test_no_two_presets_are_mistaken_for_each_other() -> None:
    assert len({preset.label.casefold() for preset in PRESETS.values()}) == len(PRESETS)
    for one, other in itertools.combinations(PRESETS.values(), 2):
        assert one.params != other.params


@each
def test_the_flags_shown_are_the_preset(preset: Preset) -> None:
    words = preset.flags.split()
    rows = {row.flag: row for row in PARAMS.values()}
    parsed = {rows[flag].name: rows[flag].parse(text) for flag, text in zip(words[::2], words[1::2], strict=True)}
    assert parsed == preset.params


@each
def test_every_preset_has_its_picture(preset: Preset) -> None:
    with Image.open(PICTURES / f"{preset.name}.jpg") as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (160, 120))


def test_there_are_no_other_pictures_and_they_are_small_together() -> None:
    files = list(PICTURES.iterdir())
    assert {file.name for file in files} == {f"{name}.jpg" for name in PRESETS}
    assert sum(file.stat().st_size for file in files) < 100_000


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("swirl", "There is no preset called 'swirl'; did you mean swirls?"),
        ("Temples", "did you mean temples"),
        ("xyz", "creatures, strokes"),
        ("", "creatures, strokes"),
    ],
)
def test_an_unknown_preset_is_refused_with_the_nearest_or_all(name: str, says: str) -> None:
    with pytest.raises(DreamError, match="There is no preset called") as caught:
        find_preset(name)
    assert caught.value.code == "bad_params"
    assert says in caught.value.message

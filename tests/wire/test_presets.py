"""Presets: every one can be dreamt, is told from the others by name and picture, and is what its flags are."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

import pytest
from PIL import Image

from dreamwire.errors import DreamError
from dreamwire.params import PARAMS, defaults, validate
from dreamwire.presets import (
    FILE,
    PRESETS,
    Preset,
    drop_preset,
    find_preset,
    keep_preset,
    own_presets,
    parse_preset,
    preset_of,
    presets,
)

PICTURES = Path(__file__).resolve().parents[2] / "plugin" / "deep-dream" / "pictures"

each = pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)


@each
def test_every_preset_can_be_dreamt_as_it_is(preset: Preset) -> None:
    values = validate(preset.kind, preset.params)
    assert values == defaults(preset.kind) | preset.params
    assert all(type(values[name]) is type(value) for name, value in preset.params.items())


@each
def test_a_preset_says_only_what_is_not_so_anyway(preset: Preset) -> None:
    usual = defaults(preset.kind)
    assert [name for name, value in preset.params.items() if value == usual[name]] == []


def test_the_first_preset_is_what_one_gets_without_any() -> None:
    for kind in {preset.kind for preset in PRESETS.values()}:
        assert next(row for row in PRESETS.values() if row.kind == kind).params == {}


@each
def test_a_preset_tells_what_one_will_see(preset: Preset) -> None:
    assert preset == PRESETS[preset.name] == find_preset(preset.name)
    assert preset.name.isidentifier()
    assert preset.label
    assert preset.help.endswith(".")


def test_no_two_presets_are_mistaken_for_each_other() -> None:
    assert len({preset.label.casefold() for preset in PRESETS.values()}) == len(PRESETS)
    for one, other in itertools.combinations(PRESETS.values(), 2):
        assert (one.kind, one.params) != (other.kind, other.params)


@each
def test_the_flags_shown_are_the_preset(preset: Preset) -> None:
    words = shlex.split(preset.flags)
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
    assert sum(file.stat().st_size for file in files) < 150_000


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


# The user's own


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they are kept."""
    monkeypatch.setenv("DEEPDREAM_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config" / FILE


WOOL = "Wool = dream --layers blocks.8 --channels 36"
LOUD = "Loud & clear! = dream --channels 'strongest 5' --strength 2.5"


@each
def test_a_preset_is_read_from_its_own_line(preset: Preset) -> None:
    again = parse_preset(preset.line)
    assert (again.label, again.kind, again.params) == (preset.label, preset.kind, preset.params)


@pytest.mark.parametrize(
    ("line", "name", "params"),
    [
        (WOOL, "wool", {"layers": "blocks.8", "channels": "36"}),
        (LOUD, "loud-clear", {"channels": "strongest 5", "strength": 2.5}),
        ("Plain = dream", "plain", {}),
        ("  Wolken über Köln=dream   --seed 3 ", "wolken-über-köln", {"seed": 3}),
    ],
)
def test_a_line_is_a_label_and_what_one_would_type(line: str, name: str, params: dict[str, object]) -> None:
    preset = parse_preset(line)
    assert preset.name == name
    assert preset.params == params


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "is no preset. One is a label"),
        ("Wool", "is no preset"),
        ("= dream", "is no preset"),
        ("Wool =", "is no preset"),
        ("!! = dream", "is no preset"),
        ("Wool = dream --layers", "is no preset"),
        ("Wool = dream --layers 'blocks.8", "is no preset"),
        ("Wool = deram", "There is no job called 'deram'"),
        ("Wool = dream --layer blocks.8", "has no parameter '--layer'; did you mean --layers"),
        ("Wool = dream --steps 0", "steps is 0, but must be"),
        ("Wool = dream --layers blocks.99", "has no layer 'blocks.99'"),
    ],
)
def test_a_line_that_is_none_is_refused_with_what_is_wrong(line: str, says: str) -> None:
    with pytest.raises(DreamError) as caught:
        parse_preset(line)
    assert says in caught.value.message


def test_a_preset_is_kept_used_replaced_and_dropped(file: Path) -> None:
    assert own_presets() == {}
    keep_preset(parse_preset(WOOL))
    keep_preset(parse_preset(LOUD))
    assert file.read_text().splitlines() == [WOOL, LOUD]
    assert list(presets()) == [*PRESETS, "wool", "loud-clear"]
    assert not {"wool", "loud-clear"} - set(presets("dream"))
    assert not {"wool", "loud-clear"} & set(presets("visualise"))
    assert find_preset("wool").label == "Wool"
    assert preset_of("dream", validate("dream", {"layers": "blocks.8", "channels": "36"})) == find_preset("wool")
    keep_preset(parse_preset("Wool = dream --layers blocks.9"))
    assert find_preset("wool").params == {"layers": "blocks.9"}
    drop_preset("wool")
    assert file.read_text().splitlines() == [LOUD]
    with pytest.raises(DreamError, match="did you mean loud-clear"):
        drop_preset("loud-clea")


def test_what_comes_with_the_program_is_not_replaced(file: Path) -> None:
    with pytest.raises(DreamError, match="Swirls comes with the program"):
        keep_preset(parse_preset("Swirls = dream --layers blocks.2"))
    assert not file.exists()


def test_lines_that_cannot_be_read_do_not_matter_and_stay(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("Of a later version = sing --loudly 3\n\n" + WOOL + "\nSwirls = dream --seed 3\n")
    assert list(own_presets()) == ["wool"]
    drop_preset("wool")
    assert file.read_text() == "Of a later version = sing --loudly 3\nSwirls = dream --seed 3\n"
    file.write_bytes(b"\xff\xfe")
    assert own_presets() == {}

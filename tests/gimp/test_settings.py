"""What the plug-in remembers: the settings last used, and those that a dream's layer carries."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamwire.errors import DreamError
from dreamwire.networks import NETWORKS
from dreamwire.params import PARAMS, Param, find_job
from dreamwire.presets import PRESETS
from settings import LAST, MASKS, Origin, Settings, remember, remembered, shown


def values(row: Param) -> st.SearchStrategy[Any]:
    """What may be given for a parameter; layers and channels that every network has."""
    if row.kind == "int":
        return st.integers(int(row.minimum), int(row.maximum))
    if row.kind == "float":
        return st.floats(row.minimum, row.maximum)
    if row.choices is not None:
        return st.sampled_from(list(row.choices))
    return {
        "network": st.sampled_from(list(NETWORKS)),
        "layers": st.just(""),
        "channels": st.just("0-2"),
        "classes": st.just("tabby"),
    }[row.kind]


NAMES = ["params", "mask", "source", "kind", *shown("dream")]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES), inner),
)
settings = st.builds(
    Settings.of,
    st.fixed_dictionaries({name: values(PARAMS[name]) for name in shown("dream")}),
    st.sampled_from(list(MASKS)),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where settings are kept."""
    monkeypatch.setenv("DEEPDREAM_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


# In a layer


@given(settings, st.integers(0, 2**32 - 1), st.text())
def test_what_a_layer_carries_is_read_as_it_was_written(settings: Settings, source: int, weights: str) -> None:
    known = Origin(settings, source, weights)
    assert Origin.read(known.write()) == known


CARRIED = json.loads(Origin(Settings.of({"seed": 5}), 3, "abc").write())
DAMAGED = {
    "nothing": b"",
    "no text": b"\xff\xfe",
    "half of it": json.dumps(CARRIED).encode()[:60],
    "nested without end": b"[" * 100_000,
    "a list": b"[]",
    "no params": json.dumps(CARRIED | {"params": None}).encode(),
    "no source": json.dumps({name: value for name, value in CARRIED.items() if name != "source"}).encode(),
    "an unknown way to keep the mask": json.dumps(CARRIED | {"mask": "glue"}).encode(),
    "an infinite source": json.dumps(CARRIED | {"source": float("inf")}).encode(),
    "a source below 0": json.dumps(CARRIED | {"source": -1}).encode(),
    "a source beyond 32 bit": json.dumps(CARRIED | {"source": 2**32}).encode(),
    "params that are none": json.dumps(CARRIED | {"params": 5}).encode(),
    "a value out of range": json.dumps(CARRIED | {"params": {"steps": 0}}).encode(),
    "a network of a later version": json.dumps(CARRIED | {"params": {"network": "resnet9000"}}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_or_of_a_later_version_is_refused(data: bytes) -> None:
    with pytest.raises(DreamError):
        Origin.read(data)


@given(st.binary() | anything.map(lambda plain: json.dumps(plain).encode()))
def test_no_bytes_do_harm(data: bytes) -> None:
    with contextlib.suppress(DreamError):
        Origin.read(data)


# The settings last used


def test_the_settings_last_used_are_remembered(folder: Path) -> None:
    assert remembered() is None
    for settings in (Settings.of({"seed": 7, "layers": "blocks.3"}, "alpha"), Settings.of({})):
        remember(settings)
        assert remembered() == settings
    assert [file.name for file in folder.iterdir()] == [LAST]
    assert (folder / LAST).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"dream": {"params": 5, "mask": "alpha"}}',
        '{"dream": {"params": {"steps": 0}, "mask": []}}',
    ],
    ids=["empty", "half", "a list", "null", "nested without end", "no params", "out of range"],
)
def test_damaged_settings_are_none(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / LAST).write_text(text)
    assert remembered() is None


def test_a_way_to_keep_the_mask_that_there_is_not_is_the_usual_one(folder: Path) -> None:
    remember(Settings.of({"seed": 7}, "glue"))
    assert remembered() == Settings.of({"seed": 7})


def test_settings_that_cannot_be_kept_are_no_reason_not_to_dream(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    remember(Settings.of({}))
    assert remembered() is None


# What they are called


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_recognised_whatever_its_seed_precision_and_strength(name: str) -> None:
    preset = PRESETS[name]
    own = {"seed": 99, "precision": "float32", "strength": 1.5}
    same = Settings.of(dict(preset.params) | own, kind=preset.kind)
    assert same.preset == name
    assert same.title == f"{find_job(preset.kind).label}: {preset.label}"
    other = Settings.of(dict(preset.params) | {"steps": 299}, kind=preset.kind)
    assert other.preset == ""
    assert preset.label not in other.title


def test_a_title_names_the_layers_and_a_network_that_is_not_the_usual_one() -> None:
    assert Settings.of({"layers": "blocks.2*0.5 + blocks.3"}).title == "Deep Dream: blocks.2*0.5+blocks.3"
    title = Settings.of({"network": "googlenet"}).title
    assert title == f"Deep Dream: {NETWORKS['googlenet'].default_layer} (GoogLeNet)"


def test_the_daemon_blends_only_what_is_kept_in_the_alpha() -> None:
    assert Settings.of({}).sent["edge"] == "full"
    assert Settings.of({}, "alpha").sent["edge"] == "alpha"
    assert Settings.of({"edge": "blended"}).sent["edge"] == "full"

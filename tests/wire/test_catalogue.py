"""What a catalogue shows, and how it remembers what was dreamt before."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dreamwire.catalogue import Cache, Entry, channels, key_of, layers
from dreamwire.client import Image
from dreamwire.errors import DreamError
from dreamwire.networks import NETWORKS
from dreamwire.params import validate

IMAGE = Image(bytes(range(12)), (2, 2, 3), "uint8")
ENTRY = layers({})[3]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_that_a_network_offers_is_shown_and_can_be_dreamt(network: str) -> None:
    entries = layers({"network": network, "octaves": 1})
    assert [entry.name for entry in entries] == list(NETWORKS[network].offers)
    for entry in entries:
        values = validate("dream", entry.params)
        assert (values["network"], values["layers"], values["octaves"]) == (network, entry.name, 1)


def test_channels_are_shown_as_they_are_named() -> None:
    entries = channels({}, "blocks.8", "3,40-41")
    assert [(each.name, each.params["channels"]) for each in entries] == [
        ("blocks.8 3", "3"), ("blocks.8 40", "40"), ("blocks.8 41", "41")
    ]  # fmt: skip


def test_without_names_there_are_the_first_channels_that_a_layer_has() -> None:
    assert len(channels({}, "blocks.8")) == 32
    assert len(channels({}, "blocks.0")) == NETWORKS["efficientnet_lite0"].layers["blocks.0"].channels == 16


@pytest.mark.parametrize(
    ("layer", "which", "message"),
    [
        ("blocks.99", "", "has no layer 'blocks.99'"),
        ("blocks.8", "0-200", "has 0 to 111"),
        ("blocks.8", "strongest 5", "must be numbers and ranges"),
        ("blocks.8", "many", "channels is 'many'"),
    ],
)
def test_what_cannot_be_shown_is_refused(layer: str, which: str, message: str) -> None:
    with pytest.raises(DreamError, match=message):
        channels({}, layer, which)


@pytest.mark.parametrize(
    ("image", "entry"),
    [
        pytest.param(replace(IMAGE, pixels=bytes(12)), ENTRY, id="another picture"),
        pytest.param(replace(IMAGE, shape=(1, 4, 3)), ENTRY, id="another shape"),
        pytest.param(IMAGE, layers({})[4], id="another layer"),
        pytest.param(IMAGE, layers({"seed": 1})[3], id="another seed"),
        pytest.param(IMAGE, layers({"network": "efficientnet_lite1"})[3], id="another network"),
    ],
)
def test_a_thumbnail_is_remembered_by_all_that_it_depends_on(image: Image, entry: Entry) -> None:
    assert key_of(image, entry) != key_of(IMAGE, ENTRY)
    assert key_of(replace(IMAGE, pixels=memoryview(IMAGE.pixels)), layers({})[3]) == key_of(IMAGE, ENTRY)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache" / "catalogue", limit=40)


def test_what_was_put_away_is_found_again_whole_or_not_at_all(cache: Cache) -> None:
    assert cache.get("a", 4) is None
    cache.put("a", b"1234")
    assert cache.get("a", 4) == b"1234"
    assert cache.get("a", 5) is None
    assert [file.name for file in cache.folder.iterdir()] == ["a"]
    assert cache.folder.stat().st_mode & 0o77 == 0


def test_what_was_not_looked_at_for_longest_makes_room(cache: Cache) -> None:
    for age, name in enumerate("dcba"):
        cache.put(name, bytes(10))
        os.utime(cache.folder / name, (1e9 - age, 1e9 - age))
    assert cache.get("a", 10)  # the oldest, until now
    cache.put("e", bytes(10))
    assert sorted(file.name for file in cache.folder.iterdir()) == ["a", "c", "d", "e"]


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "catalogue")
    cache.put("a", b"1234")
    assert cache.get("a", 4) is None

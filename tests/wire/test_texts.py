"""Classes by their names, channels by their rank, and what was reached in words: what is taken, refused, told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamwire.classes import class_name, find_class, search, synonyms
from dreamwire.errors import DreamError
from dreamwire.networks import CLASSES as CLASSES_LAYER
from dreamwire.networks import NETWORKS
from dreamwire.params import JOBS, PARAMS, class_weights, layer_weights, validate, what
from dreamwire.reports import percent, told
from dreamwire.texts import (
    LONGEST,
    MOST,
    ORDERS,
    Ranked,
    format_classes,
    format_weights,
    parse_channels,
    parse_classes,
    parse_layers,
)

CLASSES = range(1000)


def refusal(read: object, text: str) -> str:
    with pytest.raises(DreamError) as caught:
        read(text)  # type: ignore[operator]
    assert caught.value.code == "bad_params"
    return caught.value.message


# Names of classes


def test_every_class_is_found_by_its_own_name_and_by_its_number() -> None:
    assert len(synonyms()) == len(CLASSES)
    for number in CLASSES:
        assert find_class(class_name(number)) == find_class(class_name(number).upper()) == number
        assert find_class(str(number)) == number
    assert len({class_name(number) for number in CLASSES}) == len(CLASSES)


def test_the_classes_stand_in_the_order_of_the_networks_scores() -> None:
    known = {
        0: "tench",
        207: "golden retriever",
        281: "tabby",
        951: "lemon",
        967: "espresso",
        999: "toilet tissue",
    }
    assert {number: class_name(number) for number in known} == known


def test_a_class_is_found_by_any_of_its_names_that_no_other_has() -> None:
    assert find_class("tabby cat") == find_class("  Tabby   CAT ") == find_class("tabby")
    named: dict[str, set[int]] = {}
    for number, names in enumerate(synonyms()):
        for name in names:
            named.setdefault(name.lower(), set()).add(number)
    own = {class_name(number).lower() for number in CLASSES}
    for name, numbers in named.items():
        if len(numbers) == 1:
            assert {find_class(name)} == numbers
        elif name not in own:
            message = refusal(find_class, name)
            assert all(class_name(number) in message for number in numbers)


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("cat", "Egyptian cat"),  # names that have it in them
        ("tabbi", "did you mean tabby"),  # names that are like it
        ("golden retreiver", "golden retriever"),
        ("1000", "`deepdream classes WORD`"),
        ("-1", "`deepdream classes WORD`"),
        ("", "`deepdream classes WORD`"),
        ("xyzzy", "`deepdream classes WORD`"),
    ],
)
def test_an_unknown_class_is_refused_with_those_that_are_meant(name: str, offered: str) -> None:
    message = refusal(find_class, name)
    assert repr(name) in message
    assert offered in message
    assert ".." not in message


def test_classes_are_searched_by_parts_of_their_names_whole_words_first() -> None:
    names = [class_name(number) for number in search("cat")]
    assert {"tabby", "Egyptian cat", "tiger cat", "catamaran"} <= set(names)
    assert names.index("tabby") < names.index("catamaran")
    assert [class_name(number) for number in search("retriever GOLDEN")] == ["golden retriever"]
    assert search("xyzzy") == search("") == search("  ") == []


# Sums of classes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("  ", {}),
        ("tabby", {281: 1.0}),
        ("281", {281: 1.0}),
        ("Tabby + LEMON * 0.5", {281: 1.0, 951: 0.5}),
        ("lemon*-0.5+tabby", {951: -0.5, 281: 1.0}),
        ("golden retriever*2", {207: 2.0}),
        ("black-and-tan coonhound", {165: 1.0}),
        ("Saint Bernard*.5", {247: 0.5}),
        ("jack-o'-lantern", {607: 1.0}),
    ],
)
def test_classes(text: str, expected: dict[int, float]) -> None:
    found = parse_classes(text)
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize(
    "text",
    [
        "+", "tabby+", "+tabby", "tabby++lemon", "tabby,lemon", "tabby*", "tabby*lemon", "*2", "tabby*2*2",
        "tabby*0", "tabby*-0", "tabby*0.0009", "tabby*1001", "tabby*nan", "tabby*inf", "tabby+tabby", "tabby+281",
        "tabby;lemon", "tabby+tabby cat", "+".join(str(number) for number in range(MOST + 1)),
    ],
)  # fmt: skip
def test_what_are_no_classes(text: str) -> None:
    message = refusal(parse_classes, text)
    assert message.startswith(f"classes is {text!r:.80}")
    assert "tabby+lemon*-0.5" in message


def test_one_unknown_class_among_several_is_the_one_that_is_named() -> None:
    assert "'tabbi'" in refusal(parse_classes, "lemon+tabbi*2")


weights = st.integers(1, 10_000).map(lambda n: n / 100) | st.integers(-10_000, -1).map(lambda n: n / 100)


@given(st.dictionaries(st.sampled_from(CLASSES), weights, max_size=MOST))
def test_classes_are_read_as_they_are_written(classes: dict[int, float]) -> None:
    assert parse_classes(format_classes(classes)) == classes


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]*", fullmatch=True), weights, max_size=MOST))
def test_weights_are_read_as_they_are_written(layers: dict[str, float]) -> None:
    assert parse_layers(format_weights(layers)) == layers


@given(st.text() | st.text("tabylemon2810*+-. '", max_size=30))
def test_any_text_for_classes(text: str) -> None:
    try:
        classes = parse_classes(text)
    except DreamError as error:
        assert error.code == "bad_params"  # noqa: PT017 - no error is as good
    else:
        assert set(classes) <= set(CLASSES)
        assert len(classes) <= MOST


# Channels by rank


@pytest.mark.parametrize("order", ORDERS)
def test_channels_by_rank(order: str) -> None:
    assert parse_channels(f" {order}  12 ") == Ranked(order, 12)


@pytest.mark.parametrize(
    "text",
    ["strongest", "5 strongest", "strongest 0", "strongest -1", "strongest 5,3", "strongest 1.5", "Strongest 5",
     "loudest 5", "strongest5", "strongest 100000", "weakest five"],
)  # fmt: skip
def test_what_are_no_channels_by_rank(text: str) -> None:
    message = refusal(parse_channels, text)
    assert message.startswith(f"channels is {text!r}")
    assert "strongest 5" in message
    assert all(order in message for order in ORDERS)


def test_more_channels_by_rank_than_there_are_are_refused() -> None:
    assert validate("dream", {"channels": "weakest 112"})["channels"] == "weakest 112"
    with pytest.raises(DreamError, match=r"blocks\.10 of efficientnet_lite0 has 112\."):
        validate("dream", {"channels": "weakest 113"})


# What a dream looks for


def test_classes_add_to_the_layers_that_are_named_or_to_some_of_the_default_one() -> None:
    alone, both = ({"classes": "tabby"}, {"classes": "tabby*2+lemon*-1", "layers": "blocks.8*0.5"})
    assert layer_weights("dream", validate("dream", alone)) == {"blocks.10": 0.25}
    assert class_weights(validate("dream", alone)) == {281: 1.0}
    assert what("dream", validate("dream", alone)) == "tabby+blocks.10*0.25"
    assert layer_weights("dream", validate("dream", both)) == {"blocks.8": 0.5}
    assert what("dream", validate("dream", both)) == "tabby*2+lemon*-1+blocks.8*0.5"
    assert what("dream", validate("dream", {})) == "blocks.10"


@pytest.mark.parametrize("kind", [kind for kind, job in JOBS.items() if "classes" in job.params])
def test_every_kind_of_job_refuses_a_class_that_there_is_not(kind: str) -> None:
    with pytest.raises(DreamError, match=r"'tabbi'; did you mean tabby"):
        validate(kind, {"classes": "tabbi"})


def test_a_network_without_classes_is_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    known = NETWORKS["efficientnet_lite0"]
    headless = {name: layer for name, layer in known.layers.items() if name != CLASSES_LAYER}
    monkeypatch.setitem(known.__dict__, "layers", headless)
    assert validate("dream", {})
    for kind, params in (
        ("dream", {"classes": "tabby"}), ("classify", {}), ("saliency", {}), ("adversarial", {"classes": "tabby"}),
        ("adversarial", {"classes": "tabby", "network": "googlenet", "against": known.name}),
    ):  # fmt: skip
        with pytest.raises(DreamError, match=r"efficientnet_lite0 tells no classes apart.*another network"):
            validate(kind, params)


def test_classes_without_end_are_refused() -> None:
    assert str(LONGEST) in refusal(PARAMS["classes"].check, "tabby+" * LONGEST)


# Reports


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "less than 0.01 %"), (0.0001, "less than 0.01 %"), (0.0002, "0.02 %"), (0.0099, "0.99 %"),
        (0.01, "1.0 %"), (0.5, "50.0 %"), (0.991, "99.10 %"), (0.9999, "more than 99.99 %"),
        (1.0, "more than 99.99 %"),
    ],
)  # fmt: skip
def test_a_probability_has_as_many_digits_as_say_something(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_report_tells_every_class_before_and_after_and_nothing_where_there_is_nothing() -> None:
    assert told({}) == told({"network": "vgg16", "seconds": {}}) == []
    assert told({"classes": {"tabby": [0.0021, 0.994], "lemon": [0.2, 0.00001]}}) == [
        "To the network the region is tabby with 99.40 %; before, with 0.21 %.",
        "To the network the region is lemon with less than 0.01 %; before, with 20.0 %.",
    ]


def test_a_report_tells_what_is_seen_and_whether_networks_were_fooled() -> None:
    seen = [
        {"number": 281, "name": "tabby", "probability": 0.5},
        {"number": 951, "name": "lemon", "probability": 0.1},
    ]
    assert told({"seen": seen}) == ["The network sees tabby with 50.0 %, lemon with 10.0 %."]
    assert told({"looked_for": seen[:1]}) == ["White is where the network sees tabby with 50.0 %."]
    verdicts = [
        {"network": "one", "before": seen[0], "after": seen[1], "target": [0.0, 0.1]},
        {"network": "two", "before": seen[0], "after": seen[0], "target": [0.0, 0.02]},
    ]
    fooled, other, change = told(
        {"adversarial": {"target": "lemon", "largest": 3.0, "mean": 0.5, "rms": 0.75, "verdicts": verdicts}}
    )
    assert fooled == "To one the region was tabby with 50.0 %; now it is lemon with 10.0 %."
    assert other.endswith("now it is tabby with 50.0 %, so it is not fooled: lemon has 2.0 %.")
    assert change.startswith("No value is changed by more than 3/255")

"""Parameters: what may be given, what is refused and how it is said, and that the docs say the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamwire.errors import DreamError
from dreamwire.networks import NETWORKS
from dreamwire.params import (
    JOBS,
    PARAMS,
    Param,
    Value,
    context_pixels,
    context_share,
    defaults,
    find_job,
    layer_weights,
    validate,
)
from dreamwire.texts import LONGEST, WEIGHTS, parse_channels, parse_layers

NUMBERS = [row for row in PARAMS.values() if row.kind in ("int", "float")]
CHOICES = [row for row in PARAMS.values() if row.kind == "choice"]
TEXTS = [row for row in PARAMS.values() if row.kind not in ("int", "float")]

LITE0 = NETWORKS["efficientnet_lite0"]
CHANNELS = LITE0.layers["blocks.10"].channels


def each(rows: list[Param]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name)


def refused(do: Callable[..., object], *arguments: object) -> DreamError:
    with pytest.raises(DreamError) as caught:
        do(*arguments)
    return caught.value


# The table


@each(list(PARAMS.values()))
def test_every_row_is_whole(row: Param) -> None:
    assert row == PARAMS[row.name]
    assert row.label
    assert row.help.endswith((".", ")"))
    assert (row.kind == "choice") == (row.choices is not None)
    assert (row in NUMBERS) == (math.isfinite(row.minimum) and math.isfinite(row.maximum))


@each(list(PARAMS.values()))
def test_every_default_is_valid(row: Param) -> None:
    value = row.check(row.default)
    assert row.default == value
    assert type(row.default) is type(value)


def test_every_parameter_belongs_to_a_job() -> None:
    assert set(PARAMS) == {name for job in JOBS.values() for name in job.params}


#: What a kind of job cannot do without.
NEEDED = {"adversarial": {"classes": "espresso"}, "fool": {"classes": "espresso"}}


@pytest.mark.parametrize("kind", JOBS)
def test_defaults_are_what_nothing_is_validated_to(kind: str) -> None:
    assert defaults(kind) == validate(kind, NEEDED.get(kind, {})) | dict.fromkeys(NEEDED.get(kind, ()), "")


@pytest.mark.parametrize("network", NETWORKS)
def test_enlarging_asks_a_layer_that_draws_no_things_unless_others_are_named(network: str) -> None:
    (layer,) = layer_weights("enlarge", validate("enlarge", {"network": network}))
    assert NETWORKS[network].layers[layer].field <= 28
    assert layer_weights("enlarge", validate("enlarge", {"layers": "blocks.4"})) == {"blocks.4": 1.0}


def test_what_is_visualised_is_the_class_alone_and_beside_a_dreamt_one_there_is_a_little_of_a_layer() -> None:
    wanted = {"classes": "lemon"}
    assert layer_weights("visualise", validate("visualise", wanted)) == {}
    assert layer_weights("visualise", validate("visualise", {})) == {"blocks.10": 1.0}
    assert layer_weights("dream", validate("dream", wanted)) == {"blocks.10": 0.25}


def test_nothing_is_rebuilt_from_what_a_layer_is_not_to_know() -> None:
    with pytest.raises(DreamError, match="weights above 0") as caught:
        validate("invert", {"layers": "blocks.4+blocks.2*-1"})
    assert caught.value.code == "bad_params"


def test_an_unknown_job_is_refused_with_those_there_are() -> None:
    error = refused(find_job, "deram")
    assert error.code == "bad_params"
    assert "'deram'" in error.message
    assert "dream" in error.message


# Numbers


@each(NUMBERS)
def test_a_number_is_taken_from_its_least_to_its_most(row: Param) -> None:
    kind = int if row.kind == "int" else float
    for given_value in (row.minimum, row.maximum):
        value = row.check(kind(given_value))
        assert given_value == value
        assert type(value) is kind


def test_a_whole_number_is_taken_for_a_fraction() -> None:
    value = PARAMS["strength"].check(2)
    assert value == 2.0
    assert type(value) is float


@each(NUMBERS)
@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, True, False, "5", "", None, b"5", [5], {"x": 5}, 10**400, -(10**400), 1j],
    ids=lambda value: f"{value!r:.20}",
)
def test_what_is_no_number_in_range_is_refused_with_the_range(row: Param, value: object) -> None:
    error = refused(row.check, value)
    assert error.code == "bad_params"
    assert error.message.startswith(f"{row.name} is ")
    assert row.range in error.message


@each(NUMBERS)
def test_a_number_just_out_of_range_is_refused_with_the_range(row: Param) -> None:
    below: float = math.nextafter(row.minimum, -math.inf)
    above: float = math.nextafter(row.maximum, math.inf)
    if row.kind == "int":
        below, above = int(row.minimum) - 1, int(row.maximum) + 1
    for value in (below, above):
        assert row.range in refused(row.check, value).message


def test_a_fraction_is_not_taken_for_a_whole_number() -> None:
    assert "a whole number from 1 to 12" in refused(PARAMS["octaves"].check, 4.0).message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("seed", "0 to 2147483647"),
        ("octave_scale", "1.1 to 3 x"),
        ("step_size", "0.0001 to 0.5"),
        ("jitter", "0 to 512 px"),
        ("context", "exact, fast"),
    ],
)
def test_a_range_is_written_in_full(name: str, expected: str) -> None:
    assert expected == PARAMS[name].range


# Texts


@each(CHOICES)
def test_a_choice_is_one_of_its_words(row: Param) -> None:
    assert row.choices is not None
    for choice, help_text in row.choices.items():
        assert choice == row.check(choice)
        assert help_text
    for wrong in ("", "no such choice", row.name.upper()):
        error = refused(row.check, wrong)
        assert (error.code, repr(wrong) in error.message) == ("bad_params", True)
        assert row.range in error.message


@each(TEXTS)
@pytest.mark.parametrize("value", [None, True, 5, 0.5, math.nan, b"vgg16", [], ["vgg16"], {}], ids=repr)
def test_what_is_no_text_is_refused(row: Param, value: object) -> None:
    error = refused(row.check, value)
    assert error.code == "bad_params"
    assert error.message.startswith(f"{row.name} is ")
    assert row.range in error.message


@each(TEXTS)
def test_text_without_end_is_refused(row: Param) -> None:
    error = refused(row.check, "7," * LONGEST)
    assert error.code == "bad_params"
    assert str(LONGEST) in error.message


def test_an_unknown_network_is_refused_with_the_nearest() -> None:
    error = refused(validate, "dream", {"network": "efficientnet-lite0"})
    assert error.code == "unknown_network"
    assert "efficientnet_lite0" in error.message


# The command line


@each(list(PARAMS.values()))
def test_what_the_command_line_says_is_what_the_wire_says(row: Param) -> None:
    values: list[Value] = [row.default]
    if row in NUMBERS:
        values += [row.check(int(bound) if row.kind == "int" else bound) for bound in (row.minimum, row.maximum)]
    values += row.choices or ()
    for value in values:
        parsed = row.parse(str(value))
        assert value == parsed
        assert type(value) is type(parsed)


@each(NUMBERS)
@pytest.mark.parametrize(
    "text",
    ["", "much", "nan", "inf", "-inf", "1e999", "9" * 5000, "0x10", "4;", "True", "4 5"],
    ids=lambda text: f"{text:.20}",
)
def test_text_that_is_no_number_in_range_is_refused_with_the_range(row: Param, text: str) -> None:
    error = refused(row.parse, text)
    assert error.message.startswith(f"{row.name} is ")
    assert row.range in error.message


@each(list(PARAMS.values()))
def test_a_flag_is_the_name_with_dashes(row: Param) -> None:
    assert "--" + row.name.replace("_", "-") == row.flag


# Layers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("  ", {}),
        ("blocks.10", {"blocks.10": 1.0}),
        ("blocks.8*0.5+blocks.10", {"blocks.8": 0.5, "blocks.10": 1.0}),
        (" blocks.8 * 0.5 + blocks.10 ", {"blocks.8": 0.5, "blocks.10": 1.0}),
        ("inception4c*-1", {"inception4c": -1.0}),
        ("a*+2", {"a": 2.0}),
        ("a*2.", {"a": 2.0}),
        ("a*.5", {"a": 0.5}),
        ("a*1e2", {"a": 100.0}),
        ("a*-1E-1+b", {"a": -0.1, "b": 1.0}),
        ("a*0.001+b*1000", {"a": 0.001, "b": 1000.0}),
        ("_x.y_1.Z", {"_x.y_1.Z": 1.0}),
        ("+".join(f"l{number}" for number in range(16)), {f"l{number}": 1.0 for number in range(16)}),
    ],
)
def test_layers(text: str, expected: Mapping[str, float]) -> None:
    layers = parse_layers(text)
    assert expected == layers
    assert list(expected) == list(layers)


@pytest.mark.parametrize(
    "text",
    [
        "+", "a+", "+a", "a++b", "a b", "a,b", "a*", "a*b", "*2", "2", "2*a", "a*2*2", "a-b", "a*-", "a*--1",
        "a*0", "a*0.0", "a*-0", "a*0.0009", "a*1001", "a*1e39", "a*-1e308", "a*1e999", "a*1e-40", "a*nan", "a*inf",
        "a*0x1", "a*1_0", "a*½", "a+a", "a*2+b+a", "../a", "a/b", ".a", "a\0", "a\n+", "a;b", "a*(1)",
        "+".join(f"l{number}" for number in range(17)),
    ],
)  # fmt: skip
def test_what_are_no_layers(text: str) -> None:
    error = refused(parse_layers, text)
    assert error.code == "bad_params"
    assert error.message.startswith(f"layers is {text!r:.80}")
    assert "blocks.8*0.5+blocks.10" in error.message


layer_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]*", fullmatch=True)
layer_weight = st.floats(*WEIGHTS) | st.floats(-WEIGHTS[1], -WEIGHTS[0])


@given(st.dictionaries(layer_names, layer_weight, max_size=16))
def test_layers_are_read_as_they_are_written(layers: dict[str, float]) -> None:
    assert layers == parse_layers(" + ".join(f"{name}*{weight!r}" for name, weight in layers.items()))


@given(st.text() | st.text("ab.*+-019e _", max_size=30))
def test_any_text_for_layers(text: str) -> None:
    try:
        layers = parse_layers(text)
    except DreamError as error:
        assert error.code == "bad_params"  # noqa: PT017 - no error is as good
    else:
        assert len(layers) <= 16
        assert all(WEIGHTS[0] <= abs(weight) <= WEIGHTS[1] for weight in layers.values())


# Channels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        (" ", ()),
        ("0", (0,)),
        ("3,17,40-42", (3, 17, 40, 41, 42)),
        ("42-42", (42,)),
        ("9,1-3,2-5,3,9", (1, 2, 3, 4, 5, 9)),
        (" 3 , 5 - 7 ", (3, 5, 6, 7)),
        ("007", (7,)),
    ],
)
def test_channels(text: str, expected: tuple[int, ...]) -> None:
    assert expected == parse_channels(text)


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "3,",
        ",3",
        "3,,4",
        "3-",
        "-3",
        "5-3",
        "3-4-5",
        "3 4",
        "a",
        "3.0",
        "0x3",
        "1e2",
        "100000",
        "+3",
        "3;4",
        "½",
    ],
)
def test_what_are_no_channels(text: str) -> None:
    error = refused(parse_channels, text)
    assert error.code == "bad_params"
    assert error.message.startswith(f"channels is {text!r}")
    assert "3,17,40-47" in error.message


@given(st.sets(st.integers(0, 99_999), max_size=50))
def test_channels_are_read_as_they_are_written(channels: set[int]) -> None:
    assert tuple(sorted(channels)) == parse_channels(",".join(map(str, channels)))


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)).map(sorted), max_size=10))
def test_ranges_of_channels_may_overlap(ranges: list[list[int]]) -> None:
    expected = {channel for first, last in ranges for channel in range(first, last + 1)}
    assert tuple(sorted(expected)) == parse_channels(",".join(f"{first}-{last}" for first, last in ranges))


@given(st.text() | st.text("0159,- ", max_size=30))
def test_any_text_for_channels(text: str) -> None:
    try:
        channels = parse_channels(text)
    except DreamError as error:
        assert error.code == "bad_params"  # noqa: PT017 - no error is as good
    else:
        assert list(channels) == sorted(set(channels))


def test_channels_cost_no_more_than_they_are() -> None:
    assert tuple(range(100_000)) == parse_channels(",".join(["0-99999"] * (LONGEST // 8)))


# Jobs


@pytest.mark.parametrize(
    ("given_params", "named"),
    [
        ({"octave": 4}, ["'octave'", "did you mean octaves"]),
        ({"step-size": 0.1}, ["'step-size'", "step_size"]),
        ({"zzz": 1}, ["'zzz'"]),
        ({3: 1}, ["3"]),
        ({"octaves": 13}, ["octaves is 13", "1 to 12"]),
        ({"layers": "blocks.100"}, ["'blocks.100'", "did you mean", "blocks.10", "deepdream layers"]),
        ({"layers": "zzz"}, ["'zzz'", "efficientnet_lite0", "deepdream layers efficientnet_lite0"]),
        ({"layers": "blocks.10+inception4c"}, ["'inception4c'", "efficientnet_lite0"]),
        ({"network": "googlenet", "layers": "inception_4c"}, ["'inception_4c'", "inception4c"]),
        ({"channels": str(CHANNELS)}, [f"up to {CHANNELS}", "blocks.10", f"0 to {CHANNELS - 1}"]),
        ({"channels": "0-99999"}, ["up to 99999", f"0 to {CHANNELS - 1}"]),
        ({"layers": "blocks.10+blocks.0", "channels": "20"}, ["up to 20", "blocks.0", "0 to 15"]),
    ],
    ids=str,
)
def test_a_job_is_refused_with_what_would_be_right(given_params: Mapping[Any, object], named: list[str]) -> None:
    error = refused(validate, "dream", given_params)
    assert error.code == "bad_params"
    for words in named:
        assert words in error.message


def test_a_validated_job_has_every_parameter() -> None:
    values = validate("dream", {"steps": 3, "strength": 2, "channels": f"0,{CHANNELS - 1}"})
    assert list(JOBS["dream"].params) == list(values)
    assert (3, 2.0, f"0,{CHANNELS - 1}") == (values["steps"], values["strength"], values["channels"])
    assert values == validate("dream", values)


def test_layers_left_out_are_the_default() -> None:
    assert layer_weights("dream", validate("dream", {})) == {"blocks.10": 1.0}
    assert layer_weights("dream", validate("dream", {"network": "googlenet"})) == {"inception4c": 1.0}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_every_layer_of_every_network_can_be_dreamt(network: Any) -> None:
    assert network.default_layer in network.layers
    for name, layer in network.layers.items():
        values = validate(
            "dream", {"network": network.name, "layers": name, "channels": f"0-{layer.channels - 1}"}
        )
        assert {name: 1.0} == layer_weights("dream", values)


# Context


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"octaves": 3}, {"octaves": 4}),
        ({"octave_scale": 1.3}, {"octave_scale": 1.4}),
        ({"jitter": 0}, {"jitter": 32}),
        ({"context": "fast"}, {"context": "exact"}),
        ({"layers": "blocks.2"}, {"layers": "blocks.10"}),
        ({"layers": "blocks.10"}, {"layers": "blocks.10+blocks.15"}),
    ],
    ids=str,
)
def test_context_grows_with_what_is_seen(less: Mapping[str, object], more: Mapping[str, object]) -> None:
    assert context_pixels("dream", validate("dream", less)) < context_pixels("dream", validate("dream", more))


@pytest.mark.parametrize("name", ["steps", "seed", "strength", "step_size"])
def test_context_does_not_depend_on_how_a_dream_climbs(name: str) -> None:
    row = PARAMS[name]
    value = row.check(int(row.maximum) if row.kind == "int" else row.maximum)
    assert context_pixels("dream", validate("dream", {})) == context_pixels(
        "dream", validate("dream", {name: value})
    )


def test_context_is_at_least_half_of_what_the_layer_sees() -> None:
    values = validate("dream", {"octaves": 1, "jitter": 0})
    assert context_pixels("dream", values) >= LITE0.layers["blocks.10"].field // 2
    assert (context_share(values), context_share(validate("dream", {"context": "fast"}))) == (1.0, 0.4)

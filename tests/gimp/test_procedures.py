"""The procedures as scripts use them: arguments, refusals, and GIMPs with and without pyzmq and msgpack."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dreamwire.params import find_job
from dreamwire.presets import PRESETS
from gimp_lab import Lab
from real_daemon import Daemon
from real_gimp import Gimp, System


def test_every_parameter_is_an_argument_by_name_and_the_new_layer_is_returned(lab: Lab) -> None:
    arguments, values = lab("""
        procedure = Gimp.get_pdb().lookup_procedure(DREAM)
        result = [
            [each.get_name() for each in rows]
            for rows in (procedure.get_arguments(), procedure.get_return_values())
        ]
    """)
    names = [name.replace("_", "-") for name in find_job("dream").params if name != "edge"]
    assert arguments == ["run-mode", "image", "drawables", "preset", *names, "guide", "mask-as"]
    assert values == ["layer", "report"]


def test_an_unknown_preset_is_refused_with_what_is_like_it(lab: Lab) -> None:
    says = lab("""
        image, layer = picture(24, 20)
        result = refusal(layer, preset="swirl")
    """)
    assert "There is no preset called 'swirl'; did you mean swirls?" in says


def test_script_fu_dreams_with_named_arguments(lab: Lab) -> None:
    error, names, known = lab("""
        image, layer = picture()
        error = scheme(layer, '#:layers "blocks.2" #:octaves 1 #:steps 1 #:seed 5 #:mask-as "alpha"')
        result = error, tree(image), carried(image.get_layers()[0])
    """)
    assert error == ""
    assert names == ["Deep Dream: blocks.2", "picture"]
    assert known["params"]["seed"] == 5
    assert known["mask"] == "alpha"


def test_arguments_that_differ_from_their_defaults_replace_what_a_preset_says(lab: Lab) -> None:
    known = lab("""
        image, layer = picture(24, 20)
        result = carried(call([layer], preset="strokes", octaves=1, steps=1))
    """)
    expected = dict(PRESETS["strokes"].params) | {"octaves": 1, "steps": 1}
    assert known["params"] | expected == known["params"]


REFUSED = {
    "a number out of range": ("#:steps 0", ["value 0 out of range: 1 to 1000"]),
    "an argument that there is not": ("#:stepz 1", ["Invalid argument name: stepz"]),
    "a layer that there is not": ('#:layers "blocks.99"', ["did you mean blocks.9", "`deepdream layers"]),
    "layers that cannot be read": (
        '#:layers "blocks.2+"',
        ["must be at most 16 different layers", "blocks.8*0.5"],
    ),
    "channels that there are not": ('#:layers "blocks.2" #:channels "900"', ["channels go up to 900", "has 0 to"]),
    "a network whose weights are not here": (
        '#:network "googlenet"',
        [
            "The weights of GoogLeNet are not here. `deepdream pull googlenet` fetches them",
            "In GIMP: Filters > Deep Dream > Networks... fetches it.",
        ],
    ),
}


@pytest.mark.parametrize(("arguments", "says"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_argument_is_an_error_that_says_what_would_be_right(
    lab: Lab, arguments: str, says: list[str]
) -> None:
    error, names = lab(f"""
        image, layer = picture()
        result = scheme(layer, {arguments!r}), tree(image)
    """)
    assert all(each in error for each in says), error
    assert names == ["picture"]


def test_errors_leave_no_group_of_undo_open(lab: Lab) -> None:
    """GIMP would close it and complain on its terminal."""
    says, dirty = lab("""
        image, layer = picture()
        image.clean_all()
        select(image, 44, 9, 10, 5)
        image.clean_all()
        result = refusal(layer), image.is_dirty()
    """)
    assert "nothing to dream" in says
    assert not dirty, "a refused dream left something to be undone"
    assert "inconsistent state" not in lab.gimp.words


def test_the_plug_in_says_nothing_on_the_terminal(lab: Lab) -> None:
    before = len(lab.gimp.words)
    lab("image, layer = picture(); dream(layer)")
    # GIMP hangs up on a plug-in that has returned an error before that has ended.
    said = [line for line in lab.gimp.words[before:].splitlines() if line and "gimp_flush()" not in line]
    assert not said


def test_only_what_the_network_looks_at_of_a_large_layer_travels(lab: Lab) -> None:
    """A layer of 24 megapixels, of which a twentieth is selected; bytes, by the settings."""
    found = lab("""
        ours = plug_in()
        image = new_image(6000, 4000)
        layer = Gimp.Layer.new(image, "large", 6000, 4000, Gimp.ImageType.RGB_IMAGE, 100, Gimp.LayerMode.NORMAL)
        image.insert_layer(layer, None, 0)
        select(image, 2400, 1600, 1342, 894)
        source, result = ours.canvas.Source(layer), {}
        for name, params in {"default": {}, "brief": {"layers": "blocks.4", "octaves": 2}}.items():
            place = source.crop(ours.settings.Settings.of(params))
            result[name] = len(source.pixels(place).frame) + len(source.mask(place).frame)
        result["all"] = 6000 * 4000 * 8  # four channels of 8 bit, and a mask of floats
    """)
    assert found["default"] < 0.35 * found["all"]
    assert found["brief"] < 0.1 * found["all"]


# With and without pyzmq and msgpack


@pytest.fixture(scope="module")
def elsewhere(system: System) -> Iterator[Daemon]:
    """A daemon that is not there yet, for one GIMP."""
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    daemon = Daemon(folder)
    yield daemon
    daemon.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def full(system: System, make_gimp: Callable[..., Gimp], elsewhere: Daemon) -> Gimp:
    """A GIMP whose Python has pyzmq and msgpack, and that finds no daemon."""
    return make_gimp(system, elsewhere, bare=False)


#: What a client of this GIMP is made of, and a word of the daemon through it.
CLIENT = """
    client = plug_in().client.Client(start=False)
    client.ping()
    made = type(client._transport).__name__, sys.modules["msgpack"].__file__, "numpy" in sys.modules
    client.close()
    image, layer = picture()
    result = made, facts(dream(layer))["box"]
"""


def test_without_pyzmq_and_msgpack_what_the_plug_in_carries_does(lab: Lab) -> None:
    (transport, msgpack, numpy), box = lab(CLIENT)
    assert transport == "ZmtpDealer"
    assert "deep-dream/carried/msgpack" in msgpack
    assert not numpy
    assert box == [0, 0, 80, 96]


def test_a_daemon_that_is_not_there_is_an_error_that_says_what_to_do_and_with_it_pyzmq_is_used(
    full: Gimp, elsewhere: Daemon
) -> None:
    data = Path(elsewhere.environment["DEEPDREAM_DATA"])
    data.mkdir(parents=True, exist_ok=True)
    ask = "image, layer = picture(); result = refusal(layer), tree(image)"
    try:
        lab = Lab(full)
        says, names = lab(ask)
        assert "The Deep Dream daemon is not installed, or not where it was." in says
        assert "`python3 install/install.py`" in says
        assert names == ["picture"]
        (data / "daemon-command").write_text("/nowhere/deepdream")
        says, names = lab(ask)
        assert "could not be started with /nowhere/deepdream: No such file" in says
        assert names == ["picture"]
    finally:
        (data / "daemon-command").unlink(missing_ok=True)
    elsewhere.start()
    (transport, msgpack, numpy), box = lab(CLIENT)
    assert transport == "PyzmqTransport"
    assert "dist-packages/msgpack" in msgpack
    assert not numpy
    assert box == [0, 0, 80, 96]

"""The new layer: its name, what it knows about itself, and what can be made of it again."""

from __future__ import annotations

import numpy as np
import pytest

from dreamwire.networks import NETWORKS
from gimp_lab import BRIEF, STEP, Lab, linear, moved
from real_gimp import GimpError

AGAIN = "plug-in-deep-dream-again"
DEEPER = "plug-in-deep-dream-deeper"
REDREAM = "plug-in-deep-dream-redream"

#: What is seen and what is read differ by some 1e-5, and their dreams by more, where a unit of the network wakes.
CLOSE = 0.01
#: A dream of a soft selection, saved, closed, and opened again: `dreamt` above `layer`.
REOPENED = (
    "image, layer = picture(precision='FLOAT_NON_LINEAR'); select(image, 20, 24, 50, 30, feather=8);"
    "dream(layer, seed=7); image = reopened(image); Gimp.Selection.none(image); dreamt, layer = image.get_layers()"
)

NAMES = {
    "a preset": ("preset='strokes'", "Deep Dream: Strokes"),
    "a preset with another seed": ("preset='strokes', seed=5", "Deep Dream: Strokes"),
    "layers": ("layers='blocks.1*0.5+blocks.2', octaves=1, steps=1", "Deep Dream: blocks.1*0.5+blocks.2"),
    "a changed preset": ("preset='strokes', octaves=1, steps=1", "Deep Dream: blocks.1"),
    "another network": (
        "network='efficientnet_lite1', layers='blocks.2', octaves=1, steps=1",
        "Deep Dream: blocks.2 (EfficientNet-Lite1)",
    ),
}


@pytest.mark.parametrize(("arguments", "name"), NAMES.values(), ids=NAMES)
def test_the_layer_is_named_after_what_was_dreamt(lab: Lab, arguments: str, name: str) -> None:
    assert lab(f"image, layer = picture(24, 20); result = call([layer], {arguments}).get_name()") == name


def test_settings_seed_network_and_its_hash_are_in_the_file_and_survive_it(lab: Lab) -> None:
    known, source, same = lab(f"""
        {REOPENED}
        result = carried(dreamt), layer.get_tattoo(), dreamt.get_mask() is not None
    """)
    assert known["params"] | BRIEF | {"seed": 7} == known["params"]
    assert known["params"]["network"] == "efficientnet_lite0"
    assert known["weights_sha256"] == NETWORKS["efficientnet_lite0"].weights.sha256
    assert known["source"] == source
    assert same


def test_a_later_dream_of_the_same_settings_is_the_same_dream(lab: Lab) -> None:
    first, second, other = lab("""
        image, layer = picture()
        result = [read(dream(layer, seed=seed)) for seed in (5, 5, 6)]
    """)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_deeper_dreams_what_is_seen_with_the_settings_that_the_layer_carries(lab: Lab) -> None:
    found = lab(f"""
        {REOPENED}
        mask, before, untouched = read(dreamt.get_mask(), "Y float", 1), look(image), (state(layer), state(dreamt))
        new = call([dreamt], "{DEEPER}")
        result = facts(new) | {{
            "region": mask, "before": before, "after": look(image), "tree": tree(image), "carried": carried(new),
            "untouched": (state(layer), state(dreamt)) == untouched, "source": dreamt.get_tattoo(),
        }}
    """)
    assert found["untouched"]
    assert found["tree"][1:] == ["Deep Dream: blocks.2", "picture"]
    box, canvas = tuple(found["box"]), (0, 0, 80, 96)
    assert np.array_equal(found["mask"], found["region"])
    expected = lab.dreamt(found["before"], moved(found["region"], box, canvas), seed=7)
    assert np.abs(found["after"] - expected).max() <= CLOSE
    assert found["carried"]["params"]["seed"] == 7
    assert found["carried"]["source"] == found["source"]


def test_deeper_again_sees_all_that_the_dream_came_from(lab: Lab) -> None:
    """The network looks at what lies around the region in the layer at the very bottom."""
    found = lab(f"""
        {REOPENED}
        call([dreamt], "{DEEPER}")
        before, second = look(image), image.get_layers()[0]
        new = call([second], "{DEEPER}")
        result = facts(new) | {{"before": before, "after": look(image)}}
    """)
    mask = moved(found["mask"], tuple(found["box"]), (0, 0, 80, 96))
    expected = lab.dreamt(found["before"], mask, seed=7)
    assert np.abs(found["after"] - expected).max() <= CLOSE
    whole = moved(found["before"], (0, 0, 80, 96), tuple(found["box"]))
    alone = moved(lab.dreamt(whole, found["mask"], seed=7), tuple(found["box"]), (0, 0, 80, 96))
    inside = mask[..., 0] > 0
    assert np.abs(expected - alone)[inside].max() > 10 * STEP, "what lies around makes no difference here"


def test_deeper_minds_a_selection(lab: Lab) -> None:
    found = lab(f"""
        {REOPENED}
        select(image, 30, 30, 20, 10)
        own = read(dreamt.get_mask(), "Y float", 1)
        result = facts(call([dreamt], "{DEEPER}")) | {{"own": own, "dreamt": facts(dreamt)["box"]}}
    """)
    assert found["box"] == [30, 30, 10, 20]
    assert np.abs(found["mask"] - moved(found["own"], tuple(found["dreamt"]), (30, 30, 10, 20))).max() < 0.003


@pytest.mark.parametrize("procedure", [DEEPER, REDREAM])
def test_a_dream_whose_mask_is_being_edited_stands_for_itself(lab: Lab, procedure: str) -> None:
    found = lab(f"""
        image, layer = picture(24, 20)
        select(image, 4, 4, 10, 10)
        dreamt = dream(layer)
        dreamt.set_edit_mask(True)
        result = facts(call([dreamt.get_mask()], "{procedure}"))
    """)
    assert found["box"] == [4, 4, 10, 10]


def test_redream_begins_at_the_source_in_the_same_region_with_what_is_changed(lab: Lab) -> None:
    found = lab(f"""
        {REOPENED}
        select(image, 0, 0, 10, 10)
        untouched = state(layer)
        new = call([dreamt], "{REDREAM}", seed=9, colour=1.0)
        result = facts(new) | {{
            "pixels": read(new), "source": read(layer), "old": facts(dreamt), "tree": tree(image),
            "carried": carried(new), "untouched": state(layer) == untouched, "tattoo": layer.get_tattoo(),
        }}
    """)
    assert found["untouched"]
    assert found["tree"][1:] == ["Deep Dream: blocks.2", "picture"]
    assert not found["old"]["visible"]
    assert found["box"] == found["old"]["box"]
    assert np.array_equal(found["mask"], found["old"]["mask"])
    box, canvas = tuple(found["box"]), (0, 0, 80, 96)
    full = lab.dreamt(found["source"], moved(found["mask"], box, canvas), seed=9, colour=1.0, edge="full")
    assert np.abs(found["pixels"] - moved(full, canvas, box)).max() <= STEP
    assert found["carried"]["params"] | BRIEF | {"seed": 9, "colour": 1.0} == found["carried"]["params"]
    assert found["carried"]["source"] == found["tattoo"]


def test_redream_of_a_deeper_dream_begins_at_the_dream_below(lab: Lab) -> None:
    found = lab(f"""
        {REOPENED}
        before = look(image)
        second = call([dreamt], "{DEEPER}")
        new = call([second], "{REDREAM}", seed=9)
        result = facts(new) | {{
            "before": before, "after": look(image), "carried": carried(new), "below": dreamt.get_tattoo(),
        }}
    """)
    assert found["carried"]["source"] == found["below"]
    expected = lab.dreamt(found["before"], moved(found["mask"], tuple(found["box"]), (0, 0, 80, 96)), seed=9)
    assert np.abs(found["after"] - expected).max() <= CLOSE


def test_redream_can_keep_the_region_in_the_alpha_and_take_it_from_there(lab: Lab) -> None:
    one, two, masks = lab(f"""
        image, layer = picture(alpha=False)
        select(image, 20, 24, 50, 30, feather=8)
        first = dream(layer)
        second = call([first], "{REDREAM}", mask_as="alpha")
        one = look(image)
        third = call([second], "{REDREAM}")
        result = one, look(image), [each.get_mask() is not None for each in (first, second, third)]
    """)
    assert masks == [True, False, False]
    assert np.abs(one - two).max() <= STEP


REFUSED = {
    "a layer that is no dream": ("image, layer = picture()", "layer", "for any other layer there is Dream..."),
    "two dreams": (
        "image, layer = picture(24, 20); one, two = dream(layer), dream(layer)",
        "one, two",
        "Choose one layer that Deep Dream has made",
    ),
    "a dream whose settings are damaged": (
        "image, layer = picture(); layer.attach_parasite(Gimp.Parasite.new('deep-dream', 1, b'rubbish'))",
        "layer",
        "Choose one layer that Deep Dream has made",
    ),
}


@pytest.mark.parametrize("procedure", [DEEPER, REDREAM])
@pytest.mark.parametrize(("setup", "layers", "says"), REFUSED.values(), ids=REFUSED)
def test_what_carries_no_settings_is_refused(lab: Lab, procedure: str, setup: str, layers: str, says: str) -> None:
    with pytest.raises(GimpError) as caught:
        lab(f"{setup}\ncall([{layers}], '{procedure}')")
    assert says.lower() in str(caught.value).lower()


@pytest.mark.parametrize("change", ["image.remove_layer(layer)", "layer.set_offsets(30, 30)"])
def test_redream_says_that_the_source_is_gone_and_deeper_goes_on(lab: Lab, change: str) -> None:
    says, names, hidden, found = lab(f"""
        image, layer = picture()
        select(image, 20, 24, 50, 30)
        dreamt = dream(layer)
        {change}
        names = tree(image)
        try:
            call([dreamt], "{REDREAM}")
        except RuntimeError as error:
            says = str(error)
        result = says, (names, tree(image)), not dreamt.get_visible(), facts(call([dreamt], "{DEEPER}"))
    """)
    assert "“Deep Dream: blocks.2” was dreamt from is gone, or was moved or cropped" in says
    assert "use Dream Deeper" in says
    assert names[0] == names[1]
    assert not hidden
    assert found["box"] == [24, 20, 30, 50]


@pytest.mark.parametrize("precision", ["U8_NON_LINEAR", "U16_LINEAR"])
def test_the_selection_can_be_kept_in_the_alpha_and_the_picture_is_the_same(lab: Lab, precision: str) -> None:
    found = lab(f"""
        image, layer = picture(precision={precision!r})
        select(image, 20, 24, 50, 30, feather=8)
        masked = dream(layer)
        masked_look = look(image)
        masked.set_visible(False)
        result = watched(layer, mask_as="alpha") | {{"masked": masked_look}}
    """)
    assert found["untouched"]
    assert found["hidden"]
    assert found["mask"] is None
    box = tuple(found["box"])
    alpha = moved(found["selection"] * found["source"][..., 3:], (0, 0, 80, 96), box)
    assert np.abs(found["pixels"][..., 3:] - alpha).max() <= STEP
    assert np.abs(linear(found["masked"]) - linear(found["after"])).max() <= 2 * STEP


def test_dream_again_takes_the_settings_last_used_and_damaged_ones_do_not_matter(lab: Lab) -> None:
    folder = lab.gimp.environment["DEEPDREAM_CONFIG"]
    lab(f"os.makedirs({folder!r}, exist_ok=True)")
    texts = (
        '{"dream": {"params": {"layers": "blocks.2", "octaves": 1, "steps": 1, "seed": 11}, "mask": "alpha"}}',
        '{"dream": {"params": {"layers": "blocks.',
    )
    used, damaged = lab(f"""
        image, layer = picture(24, 20)
        result = []
        for text in {texts!r}:
            with open("{folder}/gimp.json", "w") as file:
                file.write(text)
            result.append(carried(call([layer], "{AGAIN}")))
        os.remove("{folder}/gimp.json")
    """)
    assert used["params"]["layers"] == "blocks.2"
    assert used["params"]["seed"] == 11
    assert used["mask"] == "alpha"
    assert damaged["params"]["layers"] == ""


def test_a_script_has_its_arguments_alone_and_leaves_nothing_behind(lab: Lab) -> None:
    folder = lab.gimp.environment["DEEPDREAM_CONFIG"]
    found, left = lab(f"""
        os.makedirs({folder!r}, exist_ok=True)
        path = "{folder}/gimp.json"
        text = '{{"dream": {{"params": {{"layers": "blocks.1", "seed": 11}}, "mask": "alpha"}}}}'
        with open(path, "w") as file:
            file.write(text)
        image, layer = picture(24, 20)
        found = carried(dream(layer))
        result = found, open(path).read() == text
        os.remove(path)
    """)
    assert found["params"]["layers"] == "blocks.2"
    assert found["params"]["seed"] == 0
    assert found["mask"] == "layer-mask"
    assert left

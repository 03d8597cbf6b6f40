"""Makes the pictures of the docs and the presets, by the commands a user has: `.venv/bin/python docs/pictures.py`.

All of them, or those named: `.venv/bin/python docs/pictures.py presets`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import skimage.data
import skimage.metrics
from numpy.typing import NDArray

from dreamd import codec
from dreamd.sheet import sheet
from dreamwire.presets import PRESETS
from dreamwire.reports import percent

PICTURES = Path(__file__).resolve().parent / "pictures"
#: What the plug-in's dialog shows to choose from.
CHOICES = PICTURES.parents[1] / "plugin" / "deep-dream" / "pictures"
#: What four layers of the embedded network see in a cloud.
LAYERS = ("blocks.4", "blocks.7", "blocks.10", "blocks.13")
#: Classes that the cloud becomes, each with a layer that suits it.
CLASSES = {
    "tabby": "blocks.10*0.5", "castle": "blocks.12*0.5",
    "goldfish": "blocks.10*0.25", "strawberry": "blocks.12*0.5",
}  # fmt: skip
#: Rows and columns of the sample that show the great cloud.
CLOUD = np.s_[70:350, 60:660]
#: Width and height of a smaller sample, in which a preset's forms are larger, and what is shown of it.
SMALL = ("480", "360")
VIEW = np.s_[60:300, 40:360]
#: Parts of photographs that scikit-image brings, each 160 rows of 200 pixels.
PHOTOGRAPHS = {
    "chelsea": np.s_[60:220, 90:290], "coffee": np.s_[100:260, 230:430], "rocket": np.s_[200:360, 230:430],
}  # fmt: skip

#: The face of the cat of `chelsea`.
FACE = np.s_[30:270, 70:400]
#: Classes of which the network is asked what it has in mind, and for which it is fooled.
IDEAS = ("dalmatian", "lemon", "measuring cup", "goldfish", "tree frog", "flamingo", "castle", "teapot")
FOOLED = ("king penguin", "school bus", "baseball", "cheetah")
#: Layers that a picture is rebuilt from, and frames of a sequence.
INVERTED = ("blocks.1", "blocks.3", "blocks.5", "blocks.8", "blocks.10", "blocks.12", "blocks.15")
FRAMES = (1, 2, 5, 10, 20, 40)

Pixels = NDArray[np.uint8]


def main() -> None:
    """Makes the pictures named, or all."""
    for folder in (PICTURES, CHOICES):
        folder.mkdir(exist_ok=True)
    for name in sys.argv[1:] or MAKERS:
        with tempfile.TemporaryDirectory() as place:
            MAKERS[name](Path(place))


def cloud(folder: Path) -> None:
    """The sample, its region, and what is dreamt into it."""
    picture, mask = sample(folder)
    region = np.broadcast_to(_pixels(mask)[..., :1], (*_pixels(mask).shape[:2], 3))
    _save([[_pixels(picture), region, dream(picture, "--mask", mask)]], PICTURES / "cloud.jpg", 2)


def layers(folder: Path) -> None:
    """The same at four layers."""
    picture, mask = sample(folder)
    strips = [dream(picture, "--mask", mask, "--layers", layer)[CLOUD] for layer in LAYERS]
    _save([strips[:2], strips[2:]], PICTURES / "layers.jpg", 1)


def presets(folder: Path) -> None:
    """The whole of a smaller sample with each preset: small pictures for the dialog, and a sheet for the docs."""
    picture, _ = sample(folder, "--size", *SMALL)
    views = []
    for name, preset in PRESETS.items():
        view = command(preset.kind, picture, "--preset", name)[VIEW]
        _save([[view]], CHOICES / f"{name}.jpg", 2)
        if preset.kind == "dream":
            views.append(view)
    _save([views[start : start + 5] for start in range(0, len(views), 5)], PICTURES / "presets.jpg", 1)


def catalogue(folder: Path) -> None:
    """The sheet of a cat's face, as the command writes it."""
    cat = folder / "cat.png"
    codec.write(codec.Picture(skimage.data.chelsea()[20:260, 60:380]), cat)
    out = folder / "sheet.png"
    run("catalogue", cat, "--output", out, "--side", "136")
    _save([[_pixels(out)]], PICTURES / "catalogue.jpg", 1)


def enlarge(folder: Path) -> None:
    """Parts of photographs, what is left of them at a quarter of their size, by Lanczos and with dreamt detail.

    Says what the two are worth: the length of their gradient beside the original's, and their likeness to it.
    """
    rows = []
    print("| photograph | | gradient | PSNR | SSIM |\n|---|---|---|---|---|")
    for name, view in PHOTOGRAPHS.items():
        original = np.ascontiguousarray(getattr(skimage.data, name)()[view])
        small = codec.reduced(codec.Picture(original), max(original.shape[:2]) // 4)
        codec.write(small, folder / "small.png")
        plain, dreamt = (
            command("enlarge", folder / "small.png", "--scale", "4", *strength)
            for strength in (("--strength", "0"), ())
        )
        for how, picture in (("Lanczos", plain), ("`enlarge`", dreamt)):
            ratio = _sharpness(picture) / _sharpness(original)
            psnr = skimage.metrics.peak_signal_noise_ratio(original, picture)
            ssim = skimage.metrics.structural_similarity(original, picture, channel_axis=2)
            print(f"| {name} | {how} | {ratio:.2f} | {psnr:.1f} dB | {ssim:.2f} |")
        rows.append([original, plain, dreamt])
    _save(rows, PICTURES / "enlarge.jpg", 1)


def saliency(folder: Path) -> None:
    """A cat and an espresso, and where the network sees either.

    Says what the cat is taken for when it is made small.
    """
    cat, coffee = skimage.data.chelsea()[:300, :400], skimage.data.coffee()[50:350, 120:520]
    both = folder / "both.png"
    codec.write(codec.Picture(np.concatenate([cat, coffee], axis=1)), both)
    ways = [("cam", "Egyptian cat"), ("cam", "espresso"), ("gradient", "espresso"),
            ("smooth", "Egyptian cat"), ("smooth", "espresso")]  # fmt: skip
    maps = [command("saliency", both, "--method", method, "--classes", name) for method, name in ways]
    first, second, third, *last = [np.repeat(each, 3, axis=2) for each in maps]
    _save([[_pixels(both), first, second], [third, *last]], PICTURES / "saliency.jpg", 2)
    print("| pixels | seen |\n|---|---|")
    for side in (451, 224, 112, 64, 32, 16, 8):
        small = codec.reduced(codec.Picture(skimage.data.chelsea()), side)
        codec.write(small, folder / "small.png")
        seen = info("classify", folder / "small.png", "--top", "3")["seen"]
        height, width = small.size
        print(f"| {width}x{height} | {', '.join(map(_named, seen))} |")


def adversarial(folder: Path) -> None:
    """A cat, the same taken for an espresso, and the difference.

    Says what becomes of it in files, and for other classes.
    """
    cat = folder / "cat.png"
    codec.write(codec.Picture(skimage.data.chelsea()), cat)
    changed, difference = (
        command("adversarial", cat, "--classes", "espresso", "--show", show) for show in ("picture", "difference")
    )
    _save([[each[FACE] for each in (_pixels(cat), changed, difference)]], PICTURES / "adversarial.jpg", 1)
    print("| class | epsilon | confidence | largest | mean | RMS | seen now | by EfficientNet-Lite1 |")
    print("|---|---|---|---|---|---|---|---|")
    out = cat.with_name("out.png")
    for name, epsilon, confidence in (
        ("tabby", "8", "0.5"), ("espresso", "8", "0.5"), ("espresso", "2", "0.5"), ("espresso", "8", "0.99"),
    ):  # fmt: skip
        limits = ("--classes", name, "--epsilon", epsilon, "--confidence", confidence)
        told = info("adversarial", cat, "--output", out, *limits)["adversarial"]
        own, other = (_named(each["after"]) for each in told["verdicts"])
        sizes = f"{told['largest']:g} | {told['mean']:.2f} | {told['rms']:.2f}"
        print(f"| {name} | {epsilon} | {confidence} | {sizes} | {own} | {other} |")
    print("| file of the last | seen |\n|---|---|")
    for suffix, options in ((".png", {}), *((".jpg", {"Q": quality}) for quality in (98, 95, 90, 80))):
        file = out.with_stem("last").with_suffix(suffix)
        pyvips.Image.new_from_file(str(out)).write_to_file(str(file), **options)
        (seen,) = info("classify", file, "--top", "1")["seen"]
        print(f"| {suffix} {options} | {_named(seen)} |")


def visualise(folder: Path) -> None:
    """What the network has in mind of eight classes, of a channel at three sizes, and of a layer.

    Says how probable the classes are to it and to two others.
    """
    out, cells = folder / "out.png", []
    others = ("efficientnet_lite1", "efficientnet_lite2")
    print("| class | Lite0 | Lite1 | Lite2 |\n|---|---|---|---|")
    for name in IDEAS:
        own = info("visualise", "--classes", name, "--output", out)["classes"][name][1]
        cells.append(_pixels(out))
        seen = [
            {
                each["name"]: each["probability"]
                for each in info("classify", out, "--network", network, "--top", "100")["seen"]
            }
            for network in others
        ]
        print(f"| {name} | {' | '.join(percent(each) for each in (own, *(all.get(name, 0.0) for all in seen)))} |")
    _save([cells[:4], cells[4:]], PICTURES / "visualise.jpg", 2)
    for options in (
        ("--classes", "goldfish", "--thing-size", "0.5"), ("--layers", "blocks.8", "--channels", "36"),
        ("--layers", "blocks.10"), ("--classes", "dalmatian", "--robustness", "0"),
    ):  # fmt: skip
        run("visualise", *options, "--output", out)
        cells.append(_pixels(out))
    _save([cells[8:]], PICTURES / "visualise-more.jpg", 2)


def fool(folder: Path) -> None:
    """Pictures that are nothing to people: four encoded by networks, and one directly.

    Says what they are to the network, and to another.
    """
    out, cells = folder / "out.png", []
    print("| class | encoding | Lite0 | Lite1 | seconds |\n|---|---|---|---|---|")
    for name, encoding in (*((name, "cppn") for name in FOOLED), ("king penguin", "direct")):
        told = info("fool", "--classes", name, "--encoding", encoding, "--size", "224x224", "--output", out)
        cells.append(_pixels(out))
        (other,) = told["fool"]["verdicts"]
        own, seconds = percent(told["classes"][name][1]), told["seconds"]["dream"]
        print(f"| {name} | {encoding} | {own} | {_named(other['after'])} | {seconds:.0f} |")
    _save([cells], PICTURES / "fool.jpg", 1)


def _named(seen: Mapping[str, Any]) -> str:
    """A class and how probable it is."""
    return f"{seen['name']} {percent(seen['probability'])}"


def invert(folder: Path) -> None:
    """A cat's face, and what layers know of it. Says how far the codes are from each other."""
    cat = folder / "cat.png"
    codec.write(codec.reduced(codec.Picture(skimage.data.chelsea()[20:260, 60:380]), 224), cat)
    cells = [("the picture", _pixels(cat))]
    print("| layer | normalised error |\n|---|---|")
    for layer in INVERTED:
        told = info("invert", cat, "--output", folder / "out.png", "--layers", layer)
        print(f"| `{layer}` | {percent(told['rebuilt'][layer])} |")
        cells.append((layer, _pixels(folder / "out.png")))
    _save([[sheet(cells, 4)]], PICTURES / "invert.jpg", 1)


def zoom(folder: Path) -> None:
    """Frames of a sequence that falls into the sample."""
    picture, _ = sample(folder, "--size", *SMALL)
    run("zoom", picture, "--output", f"{folder / 'frames'}/", "--frames", str(FRAMES[-1]))
    shown = [codec.convert(_pixels(folder / "frames" / f"frame-{number:04d}.png"), "uint8") for number in FRAMES]
    _save([shown[:3], shown[3:]], PICTURES / "zoom.jpg", 2)


def _sharpness(picture: Pixels) -> float:
    """The mean length of the gradient of the light."""
    return float(np.hypot(*np.gradient(picture.astype(float).mean(2))).mean())


def classes(folder: Path) -> None:
    """The cloud with each of some classes."""
    picture, mask = sample(folder)
    strips = [
        dream(picture, "--mask", mask, "--classes", name, "--layers", layers, "--colour", "0.3")[CLOUD]
        for name, layers in CLASSES.items()
    ]
    _save([strips[:2], strips[2:]], PICTURES / "classes.jpg", 2)


def guide(folder: Path) -> None:
    """A photograph, and what a smaller sample becomes by its guidance, place by place and by its statistics."""
    picture, _ = sample(folder, "--size", *SMALL)
    guide, shown = folder / "guide.png", np.ascontiguousarray(skimage.data.chelsea()[20:260, 60:380])
    codec.write(codec.Picture(shown), guide)
    views = [dream(picture, "--guide", guide, "--guide-match", match)[VIEW] for match in ("similar", "statistics")]
    _save([[shown, *views]], PICTURES / "guide.jpg", 1)


def ranks(folder: Path) -> None:
    """The cloud with the channels that it excites most at the start, and least."""
    picture, mask = sample(folder)
    strips = [
        dream(picture, "--mask", mask, "--layers", "blocks.11", "--channels", f"{order} 5")[CLOUD]
        for order in ("strongest", "weakest")
    ]
    _save([strips], PICTURES / "ranks.jpg", 2)


MAKERS: Mapping[str, Callable[[Path], None]] = {
    "cloud": cloud,
    "layers": layers,
    "presets": presets,
    "catalogue": catalogue,
    "enlarge": enlarge,
    "classes": classes,
    "guide": guide,
    "ranks": ranks,
    "saliency": saliency,
    "adversarial": adversarial,
    "visualise": visualise,
    "fool": fool,
    "invert": invert,
    "zoom": zoom,
}


def sample(folder: Path, *options: str) -> tuple[Path, Path]:
    """Draws the cloud and its mask."""
    picture, mask = folder / "cloud.png", folder / "mask.png"
    subprocess.run([sys.executable, "-m", "dreamd.sample", picture, mask, *options], check=True)
    return picture, mask


def dream(picture: Path, *options: str | Path) -> Pixels:
    """What `deepdream dream` makes of a picture."""
    return command("dream", picture, *options)


def command(name: str, picture: Path, *options: str | Path) -> Pixels:
    """What a command makes of a picture."""
    out = picture.with_name("out.png")
    run(name, picture, "--output", out, *options)
    return _pixels(out)


def run(*arguments: str | Path) -> None:
    """Runs `deepdream`; what it says goes beside what these pictures are worth."""
    subprocess.run([sys.executable, "-m", "dreamd", *arguments], check=True, stdout=sys.stderr)


def info(*arguments: str | Path) -> dict[str, Any]:
    """What `deepdream` tells of its result."""
    done = subprocess.run(
        [sys.executable, "-m", "dreamd", *arguments, "--json"], check=True, stdout=subprocess.PIPE
    )
    answer: dict[str, Any] = json.loads(done.stdout)["info"]
    return answer


def _pixels(path: Path) -> Pixels:
    return codec.read(path).pixels


def _save(rows: Sequence[Sequence[Pixels]], path: Path, reduction: int) -> None:
    """Writes pictures of one size, with a thin white line between them, reduced by a whole number."""
    lines = []
    for row in rows:
        parts = [
            np.pad(_reduced(picture, reduction), ((0, 8), (0, 8), (0, 0)), constant_values=255) for picture in row
        ]
        lines.append(np.concatenate(parts, axis=1))
    sheet = np.concatenate(lines, axis=0)[:-8, :-8]
    # Of less quality than the program's own, which keeps everything: these are for the screen, and travel.
    pyvips.Image.new_from_array(sheet, interpretation="srgb").jpegsave(str(path), Q=88, keep="none")


def _reduced(picture: Pixels, by: int) -> Pixels:
    rows, columns = (side // by for side in picture.shape[:2])
    cells = picture[: rows * by, : columns * by].reshape(rows, by, columns, by, 3)
    return np.round(cells.mean((1, 3))).astype(np.uint8)


if __name__ == "__main__":
    main()

"""`deepdream` as its user meets it: the real command, a real daemon, the real embedded network, small pictures."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dreamd import codec
from dreamwire import __version__
from dreamwire.errors import DreamError
from dreamwire.messages import Error, ErrorIs, NetworksAre
from dreamwire.networks import NETWORKS
from dreamwire.params import JOBS, defaults
from dreamwire.presets import PRESETS
from fake_daemon import fake_daemon, of_version
from real_daemon import Daemon

#: A dream that takes a blink, and one that takes longer than any test.
BRIEF = ("--layers", "blocks.2", "--octaves", "1", "--steps", "1")
ENDLESS = (*BRIEF[:-1], "1000")
HEIGHT, WIDTH = 48, 64
#: Where the mask of the tests is white.
INSIDE = np.s_[12:36, 20:50]
ARTIST = 0x013B
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
#: Generous: no test waits for it, unless something hangs.
SOON = 20.0

Pixels = NDArray[Any]


def noise(channels: int = 3, dtype: str = "uint8", height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Pixels with the extremes of their type among them; floats reach beyond 0..1. Alpha is 0 here and there."""
    unit = np.random.default_rng(channels).random((height, width, channels), np.float32)
    if channels in (2, 4):
        unit[::3, ::5, -1] = 0
    return unit * 3 - 1 if dtype == "float32" else codec.convert(unit, dtype)


def save(path: Path, pixels: Pixels) -> Path:
    """A file with these pixels, a colour profile and EXIF."""
    exif = Image.Exif()
    exif[ARTIST] = "Hamlet"
    metadata = codec.Metadata({"icc-profile-data": PROFILE, "exif-data": exif.tobytes()})
    codec.write(codec.Picture(pixels, metadata), path)
    return path


def load(path: Path) -> Pixels:
    """A file's pixels, read by libvips itself."""
    image = pyvips.Image.new_from_file(str(path))
    return image.numpy().reshape(image.height, image.width, image.bands)


def listing(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its content, hidden ones and those of its folders included."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")
    }


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    """What a failed command said: one line."""
    assert re.fullmatch(r"deepdream: [^\n]+\n", result.stderr), result.stderr
    return result.stderr.removeprefix("deepdream: ").rstrip()


def arguments_in(folder: Path, line: str) -> list[str]:
    """A command line whose {names} are paths in a folder."""
    return [re.sub(r"{(.*?)}", lambda match: str(folder / match[1]), word) for word in line.split()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `in.png`, and `mask.png` of its size, white inside `INSIDE`."""
    save(tmp_path / "in.png", noise())
    mask = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    mask[INSIDE] = 255
    save(tmp_path / "mask.png", mask)
    return tmp_path


# Dreams


@pytest.mark.parametrize(
    ("source", "output", "dtype", "channels"),
    [
        *(("in.png", "out.png", dtype, channels) for dtype in ("uint8", "uint16") for channels in (1, 2, 3, 4)),
        *(("in.tif", "out.tif", dtype, channels) for dtype in codec.FORMATS[".tif"].dtypes for channels in (3, 4)),
        *(("in.webp", "out.webp", "uint8", channels) for channels in (3, 4)),
        ("in.jpg", "out.png", "uint8", 3),
        ("in.png", "out.tiff", "uint16", 4),
    ],
)  # fmt: skip
def test_the_region_alone_changes_and_all_else_is_kept(
    shared_daemon: Daemon, folder: Path, source: str, output: str, dtype: str, channels: int
) -> None:
    save(folder / source, noise(channels, dtype))
    result = shared_daemon.run(
        "dream", str(folder / source), "-o", str(folder / output), "--mask", str(folder / "mask.png"), *BRIEF
    )
    assert (result.returncode, result.stderr) == (0, "")
    before, after = load(folder / source), load(folder / output)
    assert (
        (before.shape, before.dtype) == (after.shape, after.dtype) == ((HEIGHT, WIDTH, channels), np.dtype(dtype))
    )
    colours = channels - (channels in (2, 4))
    changed = (before != after)[..., :colours]
    assert changed[INSIDE].mean() > 0.25
    changed[INSIDE] = False
    assert not changed.any()
    assert np.array_equal(before[..., colours:], after[..., colours:])
    fields = codec.read(folder / output).metadata.fields
    assert b"Hamlet" in bytes(fields["exif-data"])
    if colours == 3:  # the profile is one of colours
        assert fields["icc-profile-data"] == PROFILE
    assert sorted(path.name for path in folder.iterdir()) == sorted({"in.png", "mask.png", source, output})


def test_a_jpeg_becomes_a_jpeg(shared_daemon: Daemon, folder: Path) -> None:
    save(folder / "in.jpg", noise())
    result = shared_daemon.run("dream", str(folder / "in.jpg"), "-o", str(folder / "out.jpg"), *BRIEF)
    assert result.returncode == 0
    with Image.open(folder / "out.jpg") as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (WIDTH, HEIGHT), "RGB")
        assert image.getexif()[ARTIST] == "Hamlet"
        assert image.info["icc_profile"] == PROFILE


def test_what_the_format_cannot_keep_is_said(shared_daemon: Daemon, folder: Path) -> None:
    save(folder / "in.tif", noise(4, "uint16"))
    result = shared_daemon.run("dream", str(folder / "in.tif"), "-o", str(folder / "out.jpg"), *BRIEF)
    assert (result.returncode, result.stdout.count("Note: JPEG")) == (0, 2)


def test_the_pictures_own_alpha_is_the_mask(shared_daemon: Daemon, folder: Path) -> None:
    pixels = noise(4)
    pixels[..., 3] = 0
    pixels[INSIDE][..., 3] = 200
    save(folder / "in.png", pixels)
    result = shared_daemon.run(
        "dream", str(folder / "in.png"), "-o", str(folder / "out.png"), "--mask", "alpha", *BRIEF
    )
    assert result.returncode == 0
    changed = load(folder / "out.png") != pixels
    assert changed[INSIDE].any()
    assert not changed[..., 3].any()
    changed[INSIDE] = False
    assert not changed.any()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(shared_daemon: Daemon, folder: Path) -> None:
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        result = shared_daemon.run(
            "dream", str(folder / "in.png"), "-o", str(folder / f"{name}.png"), "--seed", seed, *BRIEF
        )
        assert result.returncode == 0
    a, b, c = ((folder / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has names in UTF-8 alone")
def test_names_that_are_no_text_are_as_good_as_others(shared_daemon: Daemon, folder: Path) -> None:
    odd = folder / os.fsdecode(b"\xff \n.png")
    odd.write_bytes((folder / "in.png").read_bytes())
    result = shared_daemon.run("dream", str(odd), "-o", str(odd), *BRIEF)
    assert (result.returncode, result.stderr) == (0, "")
    assert not np.array_equal(load(folder / "in.png"), codec.read(odd).pixels)


def test_flags_go_before_the_preset_and_the_preset_before_the_defaults(
    shared_daemon: Daemon, folder: Path
) -> None:
    command = arguments_in(folder, "dream {in.png} -o {out.png} --json --octaves 1 --steps 1 --colour 0.25")
    result = shared_daemon.run(*command, "--preset", "swirls")
    assert (result.returncode, result.stderr) == (0, "")
    given = {"octaves": 1, "steps": 1, "colour": 0.25}
    assert json.loads(result.stdout)["params"] == defaults("dream") | PRESETS["swirls"].params | given

    dreamt = load(folder / "out.png")
    assert shared_daemon.run(*command, *PRESETS["swirls"].flags.split(), "--colour", "0.25").returncode == 0
    assert np.array_equal(load(folder / "out.png"), dreamt)


def test_frames_on_the_way_are_whole_pictures_and_the_last_is_the_dream(
    shared_daemon: Daemon, folder: Path
) -> None:
    command = arguments_in(
        folder, "dream {in.png} -o {out.png} --mask {mask.png} --layers blocks.2 --octaves 2 --steps 3"
    )
    result = shared_daemon.run(*command, "--preview-dir", str(folder / "frames"), "--json")
    assert (result.returncode, result.stderr) == (0, "")
    frames = sorted((folder / "frames").iterdir())
    assert [frame.name for frame in frames] == [f"frame-{number:04d}.png" for number in range(1, len(frames) + 1)]
    assert json.loads(result.stdout)["frames"] == len(frames) >= 2
    source = load(folder / "in.png")
    for frame in frames:
        changed = load(frame) != source
        assert changed.any()
        changed[INSIDE] = False
        assert not changed.any()
    assert np.array_equal(load(frames[-1]), load(folder / "out.png"))

    before = listing(folder)
    again = shared_daemon.run(*command, "--preview-dir", str(folder / "frames"))
    assert again.returncode == 1
    assert "frames of another dream" in one_line(again)
    assert listing(folder) == before


def test_a_program_can_read_what_was_dreamt(shared_daemon: Daemon, folder: Path) -> None:
    command = arguments_in(folder, "dream {in.png} -o {out.png} --mask {mask.png} --seed 5 --json")
    result = shared_daemon.run(*command, *BRIEF)
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert {name: type(value).__name__ for name, value in told.items()} == {
        "output": "str", "box": "list", "share": "float", "params": "dict", "info": "dict", "seconds": "dict",
        "notes": "list", "frames": "int",
    }  # fmt: skip
    assert told["output"] == str(folder / "out.png")
    assert told["box"] == [12, 20, 24, 30]
    assert told["share"] == pytest.approx(24 * 30 / (HEIGHT * WIDTH), abs=1e-4)
    assert set(told["params"]) == set(JOBS["dream"].params)
    assert {"seed": 5, "layers": "blocks.2", "octaves": 1}.items() <= told["params"].items()
    assert told["info"]["network"] == "efficientnet_lite0"
    assert {"read", "connect", "daemon", "write", "load", "dream"} <= set(told["seconds"])


# Bad input


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `in.png`, and what else people hand to programs."""
    folder = tmp_path_factory.mktemp("broken")
    save(folder / "in.png", noise())
    whole = save(folder / "whole.png", noise()).read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    whole = save(folder / "whole.jpg", noise()).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "words.png").write_text("a picture")
    save(folder / "small.png", noise(1, height=10))
    save(folder / "black.png", np.zeros((HEIGHT, WIDTH, 1), np.uint8))
    save(folder / "clear.png", noise(4) * np.array([1, 1, 1, 0], np.uint8))
    (folder / "frames").mkdir()
    (folder / "frames" / "frame-0007.png").touch()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (folder / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    return folder


BAD = {
    "no such picture": ("dream {gone.png} -o {out.png}", 1, "no such file"),
    "a folder": ("dream {frames} -o {out.png}", 1, "folder"),
    "an empty file": ("dream {empty.png} -o {out.png}", 1, "empty"),
    "no picture": ("dream {words.png} -o {out.png}", 1, "no image of a known format"),
    "a cut png": ("dream {cut.png} -o {out.png}", 1, "damaged or incomplete"),
    "a cut jpeg": ("dream {cut.jpg} -o {out.png}", 1, "damaged or incomplete"),
    "a huge picture": ("dream {huge.png} -o {out.png}", 1, "megapixels"),
    "a clear picture": ("dream {clear.png} -o {out.png}", 1, "nothing to dream"),
    "no such mask": ("dream {in.png} -o {out.png} --mask {gone.png}", 1, "no such file"),
    "a mask of another size": ("dream {in.png} -o {out.png} --mask {small.png}", 1, "64×10"),
    "an empty mask": ("dream {in.png} -o {out.png} --mask {black.png}", 1, "mask is empty"),
    "no alpha": ("dream {in.png} -o {out.png} --mask alpha", 1, "no alpha"),
    "no such network": ("dream {in.png} -o {out.png} --network googlnet", 1, "did you mean googlenet"),
    "weights to be pulled": ("dream {in.png} -o {out.png} --network googlenet", 1, "`deepdream pull googlenet`"),
    "no such layer": ("dream {in.png} -o {out.png} --layers blocks.99", 2, "`deepdream layers "),
    "layers that are none": ("dream {in.png} -o {out.png} --layers blocks.2*0", 2, "layers"),
    "no such channel": ("dream {in.png} -o {out.png} --layers blocks.2 --channels 99", 2, "0 to 23"),
    "no such parameter": ("dream {in.png} -o {out.png} --octave 3", 2, "did you mean --octaves"),
    "no such preset": ("dream {in.png} -o {out.png} --preset swirl", 2, "did you mean swirls"),
    "too many octaves": ("dream {in.png} -o {out.png} --octaves 99", 2, "1 to 12"),
    "half an octave": ("dream {in.png} -o {out.png} --octaves 0.5", 2, "a whole number from 1 to 12"),
    "not a number": ("dream {in.png} -o {out.png} --strength nan", 2, "a number from 0 to 4"),
    "an endless number": ("dream {in.png} -o {out.png} --strength inf", 2, "a number from 0 to 4"),
    "a negative seed": ("dream {in.png} -o {out.png} --seed -1", 2, "0 to 2147483647"),
    "a seed in words": ("dream {in.png} -o {out.png} --seed seven", 2, "a whole number"),
    "no such choice": ("dream {in.png} -o {out.png} --smoothing much", 2, "laplacian, plain"),
    "an unknown suffix": ("dream {in.png} -o {out.bmp}", 1, ".png, .jpg, .jpeg, .tif, .tiff, .webp"),
    "no suffix": ("dream {in.png} -o {out}", 1, "no suffix"),
    "no such folder": ("dream {in.png} -o {gone/out.png}", 1, "no folder"),
    "no place for files": ("dream {in.png} -o /proc/out.png --octaves 1 --steps 1", 1, "cannot be written"),
    "a folder as output": ("dream {in.png} -o {frames}", 1, "frames"),
    "no output": ("dream {in.png}", 2, "-o/--output"),
    "two pictures": ("dream {in.png} {in.png} -o {out.png}", 2, "in.png"),
    "no room for frames": ("dream {in.png} -o {out.png} --preview-dir {gone/frames}", 1, "cannot be made"),
    "old frames": ("dream {in.png} -o {out.png} --preview-dir {frames}", 1, "frames of another dream"),
    "frames of nothing": ("dream {clear.png} -o {out.png} --preview-dir {new}", 1, "nothing to dream"),
    "an endpoint that is none": ("dream {in.png} -o {out.png} --endpoint nonsense", 3, "ipc:///PATH or tcp://HOST"),
    "no such command": ("dreem", 2, "'dream'"),
    "too much": ("status now", 2, "'now'"),
    "layers of nothing": ("layers nix", 1, "`deepdream networks`"),
    "pulling nothing": ("pull nix", 1, "`deepdream networks`"),
    "weights that are not there": ("pull googlenet --weights {gone.pth}", 1, "googlenet-1378be20.pth"),
    "weights that are none": ("pull googlenet --weights {in.png}", 1, "is not the published"),
    "no such device": ("serve --device gpu", 2, "'gpu' is not auto, cpu, cuda"),
    "little memory": ("serve --memory 0", 2, "less than 1"),
    "an odd idleness": ("serve --idle nan", 2, "--idle"),
    "preloading nothing": ("serve --preload nix", 1, "`deepdream networks`"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "status", "says"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(
    shared_daemon: Daemon, broken: Path, line: str, status: int, says: str
) -> None:
    before = listing(broken)
    result = shared_daemon.run(*arguments_in(broken, line), "--json")
    assert result.returncode == status
    message = one_line(result)
    assert says in message
    error = json.loads(result.stdout)["error"]
    assert error == {"code": error["code"], "message": message}
    assert listing(broken) == before


def test_without_json_a_failure_is_nothing_on_standard_output(shared_daemon: Daemon) -> None:
    result = shared_daemon.run("layers", "nix")
    assert (result.returncode, result.stdout) == (1, "")


def test_a_full_disk(shared_daemon: Daemon, folder: Path) -> None:
    (folder / "out.png").write_bytes(b"as it was")
    before = listing(folder)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    result = call(
        shared_daemon, "dream", folder / "in.png", "-o", folder / "out.png", *BRIEF,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard)),
    )  # fmt: skip
    assert result.returncode == 1
    assert "Free 0.0 MB or use another folder" in one_line(result)
    assert listing(folder) == before


def test_a_picture_beyond_the_daemons_limit(place: Daemon, folder: Path) -> None:
    place.options = ("--megapixels", "1", "--preload", "")
    place.start()
    save(folder / "large.png", np.zeros((1100, 1000, 3), np.uint8))
    before = listing(folder)
    result = place.run("dream", str(folder / "large.png"), "-o", str(folder / "out.png"))
    assert result.returncode == 1
    assert "--megapixels" in one_line(result)
    assert listing(folder) == before


def call(daemon: Daemon, *arguments: str | Path, **popen: Any) -> subprocess.CompletedProcess[str]:
    """As `Daemon.run`, with settings of the process. It writes no bytecode, which could be what fails."""
    process = start(daemon, *arguments, **popen)
    output, errors = process.communicate(timeout=SOON)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start(daemon: Daemon, *arguments: str | Path, **popen: Any) -> subprocess.Popen[str]:
    """`deepdream` in the background, its words to be read."""
    settings: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | popen
    return subprocess.Popen(
        [sys.executable, "-m", "dreamd", *map(str, arguments)],
        env=os.environ | daemon.environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        **settings,
    )


# Interruptions


@contextlib.contextmanager
def endless(daemon: Daemon, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A dream that goes on and on, from the moment when it does."""
    # Whoever has started the tests may have told them to ignore Ctrl-C.
    process = start(
        daemon, "dream", folder / "in.png", "-o", folder / "out.png", *ENDLESS, *arguments,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        wait_until(lambda: dreams(daemon))
        yield process
    finally:
        process.kill()
        process.communicate()


def jobs(daemon: Daemon) -> dict[str, str]:
    """The state of each job that the daemon knows, by its id."""
    with daemon.client() as client:
        return {job["job"]: job["state"] for job in client.status()["jobs"]}


def dreams(daemon: Daemon) -> bool:
    """Whether a job is under way; those that others have left behind have ended."""
    with daemon.client() as client:
        return any(job["state"] == "running" and job["fraction"] > 0 for job in client.status()["jobs"])


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_cancels_the_dream_and_leaves_nothing(shared_daemon: Daemon, folder: Path) -> None:
    before, others = listing(folder), jobs(shared_daemon)
    with endless(shared_daemon, folder, "--json") as process:
        told = shared_daemon.run("status").stdout
        assert re.search(r"job +\w{8} dream, running, \d+%, for deepdream", told)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=SOON)
    assert process.returncode == 130
    assert errors == "deepdream: Cancelled; no picture was written.\n"
    assert json.loads(output)["error"]["code"] == "interrupted"
    assert listing(folder) == before
    assert jobs(shared_daemon) == others
    assert "cancelled after" in shared_daemon.log


def test_a_second_ctrl_c_leaves_at_once_even_if_the_daemon_hangs(shared_daemon: Daemon, folder: Path) -> None:
    before, others = listing(folder), jobs(shared_daemon)
    assert shared_daemon.process
    with endless(shared_daemon, folder) as process:
        shared_daemon.process.send_signal(signal.SIGSTOP)
        try:
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=SOON)
        finally:
            shared_daemon.process.send_signal(signal.SIGCONT)
    assert process.returncode == 130
    assert listing(folder) == before
    wait_until(lambda: {"cancelled"} >= {state for job, state in jobs(shared_daemon).items() if job not in others})


def test_a_bar_shows_octave_and_time_left_on_a_terminal(shared_daemon: Daemon, folder: Path) -> None:
    terminal, theirs = pty.openpty()
    line = "dream {in.png} -o {out.png} --layers blocks.2 --octaves 2 --steps 40"
    process = start(shared_daemon, *arguments_in(folder, line), stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # what Linux says at the end
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    process.communicate(timeout=SOON)
    lines = shown.decode().split("\r")
    assert any(
        re.match(r"Dreaming \[#*-*\] +\d+% octave 2 of 2, step \d+ of 40, \d+ s left", line) for line in lines
    )
    assert max(map(len, lines)) <= 79 + len("\033[K")
    assert lines[-1] == "\033[K"  # nothing of it is left


def test_a_dream_whose_daemons_die_one_after_the_other_says_so_and_leaves_nothing(
    daemon: Daemon, folder: Path
) -> None:
    before = listing(folder)
    with endless(daemon, folder) as process:
        daemon.kill()
        wait_until(daemon.answers)
        wait_until(lambda: dreams(daemon))
        daemon.kill()
        _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 3
    told, started, broke = errors.splitlines()
    assert told == "The daemon ended in the middle of this. It is begun anew."
    assert started == "Starting the daemon..."
    assert broke.startswith("deepdream: The connection to the daemon broke")
    assert listing(folder) == before


# The daemon comes and goes


def test_a_command_starts_the_daemon_and_says_so_and_stop_ends_it(place: Daemon) -> None:
    missing = place.run("status")
    assert missing.returncode == 3
    assert "`deepdream serve`" in one_line(missing)
    first, second = place.run("networks"), place.run("networks")
    assert (first.returncode, first.stderr) == (0, "Starting the daemon...\n")
    assert (second.returncode, second.stderr) == (0, "")
    process = psutil.Process(json.loads(place.run("status", "--json").stdout)["pid"])
    ended = place.run("stop")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "The daemon has ended.\n", "")
    process.wait(5)
    assert not place.socket.exists()
    again = place.run("stop")
    assert (again.returncode, again.stdout) == (0, "No daemon was running.\n")


def test_two_commands_at_once_start_one_daemon(place: Daemon) -> None:
    processes = [start(place, "networks") for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=SOON)
        assert process.returncode == 0
        assert "efficientnet_lite0" in output
    wait_until(lambda: len(place._mine()) == 1)  # the other one finds that it is not needed
    assert place.run("status").returncode == 0


def test_pulling_without_a_network_says_what_to_do(place: Daemon) -> None:
    place.environment["DEEPDREAM_WEIGHTS_URL"] = "http://127.0.0.1:9"
    place.options = ("--preload", "")
    place.start()
    result = place.run("pull", "googlenet")
    assert result.returncode == 1
    assert "`deepdream pull googlenet --weights FILE`" in one_line(result)
    here = place.run("pull", "efficientnet_lite0", "--json")
    assert (here.returncode, json.loads(here.stdout)) == (0, {"network": "efficientnet_lite0"})


def test_a_daemon_of_another_protocol_is_said(place: Daemon, folder: Path) -> None:
    refusal = ErrorIs(error=Error("version", "The daemon speaks version 9. Install the same version of both."))
    before = listing(folder)
    with fake_daemon(place.folder, lambda message: refusal) as endpoint:
        for line in ("networks", "status", "stop", "pull googlenet", "dream {in.png} -o {out.png}"):
            result = place.run(*arguments_in(folder, line), "--endpoint", endpoint)
            assert (result.returncode, one_line(result)) == (1, refusal.error.message)
    assert listing(folder) == before


def test_a_daemon_of_another_version_is_noted(place: Daemon) -> None:
    with fake_daemon(place.folder, of_version("9.9", lambda message: NetworksAre(networks=()))) as endpoint:
        result = place.run("networks", "--json", "--endpoint", endpoint)
    assert (result.returncode, json.loads(result.stdout)) == (0, [])
    assert result.stderr.startswith(f"Note: the daemon is of version 9.9, this command of {__version__}.")


# What the commands show


HEAVY = {"torch", "numpy", "pyvips", "torchvision"}


@pytest.mark.parametrize(
    ("line", "spared"),
    [
        *(
            (line, HEAVY | {"zmq", "msgpack"})
            for line in ("--version", "--help", "dream --help", "layers", "params", "presets")
        ),
        *((line, HEAVY) for line in ("status", "networks", "pull efficientnet_lite0", "stop --endpoint ipc:///x")),
    ],
)
def test_commands_that_do_not_dream_load_nothing_heavy(shared_daemon: Daemon, line: str, spared: set[str]) -> None:
    result = shared_daemon.run(*line.split(), PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    imported = set(re.findall(r"\| +(\S+)$", result.stderr, re.MULTILINE))
    assert "dreamd.cli" in imported
    assert imported & spared == set()


@pytest.mark.parametrize(
    "line",
    [
        *("", "--help", "params", "presets", "networks", "layers densenet121", "status"),
        *(
            f"{name} --help"
            for name in ("dream", "presets", "networks", "layers", "pull", "params", "serve", "doctor")
        ),
    ],
)
def test_text_fits_a_terminal(shared_daemon: Daemon, line: str) -> None:
    result = shared_daemon.run(*line.split(), COLUMNS="80")
    assert (result.returncode, result.stderr) == (0, "")
    too_long = [each for each in result.stdout.splitlines() if len(each) > 80]
    assert [each for each in too_long if len(each.split()) > 3] == []  # a path is not broken


def test_help_has_every_parameter_with_range_and_default(shared_daemon: Daemon) -> None:
    text = " ".join(shared_daemon.run("dream", "--help", COLUMNS="80").stdout.split())
    for row in JOBS["dream"].params.values():
        assert f"{row.flag} " in text
        assert row.help in text
        if row.kind in ("int", "float"):
            assert f"({row.range}; default {row.default})" in text
        for choice, meaning in (row.choices or {}).items():
            assert f"`{choice}`: {meaning}" in text


def test_columns_stand_below_each_other(shared_daemon: Daemon) -> None:
    heading, *rows = shared_daemon.run("layers", "densenet121").stdout.splitlines()
    assert len(rows) == len(NETWORKS["densenet121"].layers)
    for column in ("sees", "every", "channels"):
        end = heading.index(column) + len(column)
        assert all(row[end - 1] != " " and row[end : end + 1] in ("", " ") for row in rows)


def test_programs_get_plain_stable_keys(shared_daemon: Daemon) -> None:
    def keys(*line: str) -> set[str]:
        rows = json.loads(shared_daemon.run(*line, "--json").stdout)
        assert all(set(row) == set(rows[0]) for row in rows)
        return set(rows[0])

    assert keys("networks") == {"name", "label", "help", "here", "loaded", "megabytes", "default_layer"}
    assert keys("presets") == {"name", "label", "help", "params", "kind", "line"}
    assert keys("classes") == {"number", "name", "names"}
    assert keys("layers") == {
        "name", "default", "field", "before", "after", "stride", "channels", "lost", "whole",
    }  # fmt: skip
    assert keys("params") == {
        "name", "kind", "default", "label", "help", "minimum", "maximum", "usual", "unit", "choices", "advanced",
        "flag", "range",
    }  # fmt: skip


def test_a_reader_that_has_had_enough_is_no_error(shared_daemon: Daemon) -> None:
    process = start(shared_daemon, "params")
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(SOON) == 0
    process.stderr.close()


def test_the_version(shared_daemon: Daemon) -> None:
    assert shared_daemon.run("--version").stdout == f"deepdream {__version__}\n"


def test_a_fault_of_the_command_itself_is_told_to_programs_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dreamd import cli, commands  # noqa: PLC0415

    def fail(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(commands, "table", fail)
    assert cli.main(["params", "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["error"]["code"] == "internal"
    assert "Traceback" in told.err
    assert "ZeroDivisionError('oh')" in told.err.splitlines()[-1]


def test_every_error_of_the_daemon_has_an_exit_code() -> None:
    from dreamd.cli import explain  # noqa: PLC0415

    assert explain(DreamError("bad_params", "no"))[0] == 2
    assert explain(DreamError("out_of_memory", "no"))[0] == 1
    assert explain(ConnectionResetError("The peer has closed the connection."))[::2] == (
        3, "The connection to the daemon broke: The peer has closed the connection. Try again; `deepdream doctor`"
        " says more.",
    )  # fmt: skip
    assert explain(PermissionError(13, "Permission denied", "/x"))[2].startswith("/x: Permission denied. `")
    for error in (OSError("There is no room."), OSError(5, "There is no room.", "/x"), TimeoutError("No room.")):
        assert ".." not in explain(error)[2]

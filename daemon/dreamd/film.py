"""Frames of one size as a film: a GIF by Pillow, a video by ffmpeg if that is installed."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from dreamwire.errors import DreamError

from . import codec

#: What writes frames as a film into a file, at so many frames a second.
Develop = Callable[[Sequence[Path], Path, int], None]


@dataclass(frozen=True)
class Film:
    """What a sequence becomes: frames in `folder`, which are then `develop`ed into `path` if it is a film."""

    path: Path
    folder: Path
    develop: Develop | None = None


def film_of(name: str) -> Film:
    """The film that an output's name asks for: a folder, or by its suffix one of `FILMS`.

    Raises `DreamError` bad_input for what cannot be made here.
    """
    path = Path(name)
    suffix = path.suffix.lower()
    if name.endswith(("/", os.sep)) or path.is_dir() or not suffix:
        return Film(path, path)
    if suffix not in FILMS:
        raise DreamError(
            "bad_input",
            f"{path} cannot be written: {suffix} is no film. Name a folder, or use {', '.join(FILMS)}.",
        )
    if suffix in CODECS and shutil.which("ffmpeg") is None:
        raise DreamError(
            "bad_input",
            f"{path} would be made by ffmpeg, which is not installed. Install the package ffmpeg (apt, dnf, brew"
            " and winget have it), or name a .gif or a folder, which need nothing.",
        )
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise DreamError(
            "bad_input", f"{path} cannot be written: its folder is missing or write-protected. Name another."
        )
    return Film(path, path.with_name(f"{path.name}.frames"), FILMS[suffix])


def _gif(files: Sequence[Path], path: Path, rate: int) -> None:
    frames = _palettes(files)
    # A GIF counts in hundredths of a second.
    next(frames).save(
        path, "GIF", save_all=True, append_images=frames, duration=round(100 / rate) * 10, loop=0, disposal=1
    )


def _palettes(files: Sequence[Path]) -> Iterator[Image.Image]:
    """Each frame in 256 colours of its own, dithered."""
    for file in files:
        pixels = codec.convert(codec.read(file).pixels, "uint8")
        gray = pixels.shape[2] < 3
        picture = Image.fromarray(pixels[..., 0] if gray else pixels[..., :3]).convert("RGB")
        yield picture.quantize(palette=picture.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)


#: How ffmpeg encodes each kind of video: constant quality, and colours that every player knows.
CODECS: Mapping[str, tuple[str, ...]] = {
    ".mp4": ("-c:v", "libx264", "-crf", "16", "-preset", "slow", "-movflags", "+faststart", "-f", "mp4"),
    ".webm": ("-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-f", "webm"),
}


def _video(encoder: Sequence[str], files: Sequence[Path], path: Path, rate: int) -> None:
    # Half the resolution for colours wants sides that are even.
    size = "pad=ceil(iw/2)*2:ceil(ih/2)*2,scale=out_color_matrix=bt709"
    command = [
        *("ffmpeg", "-loglevel", "error", "-nostdin", "-y", "-framerate", str(rate)),
        *("-i", "frame-%04d.png", "-frames:v", str(len(files))),
        *("-vf", size, "-pix_fmt", "yuv420p", "-colorspace", "bt709", *encoder, str(path.absolute())),
    ]
    result = subprocess.run(command, cwd=files[0].parent, capture_output=True, text=True, check=False)
    if result.returncode:
        said = (result.stderr.strip().splitlines() or ["it did not say why"])[-1]
        raise DreamError(
            "bad_input",
            f"ffmpeg could not make the video: {said}. The frames are kept in {files[0].parent}; name a .gif, or"
            " another kind of video.",
        )


def _into(develop: Develop) -> Develop:
    """The same, but the file appears whole or not at all."""

    def whole(files: Sequence[Path], path: Path, rate: int) -> None:
        part = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            develop(files, part, rate)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    return whole


#: What makes a film of each suffix.
FILMS: Mapping[str, Develop] = {
    ".gif": _into(_gif),
    **{suffix: _into(partial(_video, encoder)) for suffix, encoder in CODECS.items()},
}

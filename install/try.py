"""`./install/try [IMAGE] [--mask MASK]`: from a bare machine to a dream."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import project

#: Where the drawn cloudscape is kept for the next time.
SAMPLE = project.VENV.folder / "sample"


def main() -> int:
    """Installs what is missing, dreams, and says what was done and what to do next."""
    parser = argparse.ArgumentParser(prog="./install/try", description="Install what is missing, dream a picture.")
    parser.add_argument(
        "image", nargs="?", metavar="IMAGE", help="the picture; without one, a cloudscape is drawn"
    )
    parser.add_argument("--mask", metavar="MASK", help="the region: a picture of the same size, white inside")
    arguments = parser.parse_args()
    if arguments.mask and not arguments.image:
        parser.error("--mask needs the IMAGE that it belongs to")
    installing = project.ready()
    started = time.monotonic()
    image, mask = arguments.image, arguments.mask
    if image is None:
        image, mask = SAMPLE / "cloud.png", SAMPLE / "cloud-mask.png"
        SAMPLE.mkdir(exist_ok=True)
        if not (image.is_file() and mask.is_file()):
            project.run([project.VENV.python, "-m", "dreamd.sample", image, mask], "Drawing a cloud")
    drawing = time.monotonic() - started
    command = ["dream", image, *(["--mask", mask] if mask else []), "-o", "dream.png"]
    result = subprocess.run(
        [project.VENV.python, "-m", "dreamd", *command, "--json"], stdout=subprocess.PIPE, check=False
    )
    if result.returncode:
        return result.returncode
    report = json.loads(result.stdout)
    seconds = report["seconds"]
    parts = {
        "installing": installing,
        "drawing the sample": drawing,
        "starting the daemon": seconds["connect"],
        "loading the network": seconds["daemon"] - seconds["dream"],
        "dreaming": seconds["dream"],
        "reading and writing": seconds["read"] + seconds["write"],
    }
    deepdream = project.VENV.program("deepdream")
    print(
        f"Dreamt {report['share']:.0%} of {image} with {report['info']['objective']} of"
        f" {report['info']['network']}."
    )
    print("\n".join(f"  {what:<20} {taken:6.1f} s" for what, taken in parts.items() if taken >= 0.05))
    print(
        f"""
Look at {Path("dream.png").resolve()}

What next:
  ./install/try PHOTO.jpg
      a picture of your own
  {deepdream} dream PHOTO.jpg -o OUT.png --layers blocks.4
      blocks.4 is painterly, blocks.7 swirls, blocks.10 animals, blocks.13 corals
  {deepdream} dream --help
      everything that can be set
  {deepdream} stop
      end the daemon, which keeps the network loaded for the next dream"""
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How probable a dream makes a class: `.venv/bin/python docs/classes.py`, the table of `docs/objectives.md`.

Every fiftieth of the 1000 classes, so that none is picked, is dreamt into the sample's cloud with the default
settings; or those that are named, as in `docs/classes.py tabby lemon`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from dreamwire.classes import class_name, find_class
from dreamwire.reports import percent


def main() -> None:
    """Prints the table, line by line as the dreams are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", nargs="*", type=find_class, default=range(0, 1000, 50), metavar="CLASS")
    parser.add_argument("--size", nargs=2, default=("768", "512"), metavar=("WIDTH", "HEIGHT"))
    arguments = parser.parse_args()
    print("| class | before | after |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        picture, mask = Path(place, "cloud.png"), Path(place, "mask.png")
        run("dreamd.sample", picture, mask, "--size", *arguments.size)
        for name in map(class_name, arguments.classes):
            out = Path(place, "out.png")
            told = run("dreamd", "dream", picture, "-o", out, "--mask", mask, "--classes", name, "--json")
            before, after = json.loads(told)["info"]["classes"][name]
            print(f"| {name} | {percent(before)} | {percent(after)} |", flush=True)


def run(module: str, *arguments: str | Path) -> str:
    """What a command of the program writes."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


if __name__ == "__main__":
    main()

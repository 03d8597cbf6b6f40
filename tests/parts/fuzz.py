"""Coverage-guided fuzzing by atheris: `python tests/parts/fuzz.py TARGET FOLDER [arguments of libFuzzer]`.

TARGET is one of those below, or a module with a `check_data`.
What is new in coverage is written into the folder; tests/faults/corpus has a folder for each target to begin with.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

#: What is fuzzed: the module whose `check_data` is given anything, and others whose branches count too.
TARGETS: Mapping[str, tuple[str, ...]] = {
    "messages": ("rubbish", "dreamwire", "msgpack"),
    "images": ("damaged_images", "dreamd.codec", "dreamd.exif"),
}
#: msgpack in pure Python, whose branches can be seen.
ENVIRONMENT = {"MSGPACK_PUREPYTHON": "1"}


def main(target: str, *arguments: str) -> None:
    """Fuzzes until it is told to stop by its arguments; what is raised ends it, with the data in a file."""
    import atheris  # noqa: PLC0415 - not to be had for every Python

    modules = TARGETS.get(target, (target,))
    with atheris.instrument_imports(include=list(modules)):
        check = importlib.import_module(modules[0]).check_data
    atheris.Setup([sys.argv[0], *arguments], check)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ.update(ENVIRONMENT)
    main(*sys.argv[1:])

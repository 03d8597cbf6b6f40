"""`./install/test [pytest arguments]`: linters, types, and every test."""

from __future__ import annotations

import os
import subprocess
import sys

import project

CHECKS = (
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["mypy"],
)


def main() -> int:
    """Runs every check; the first that fails ends it, with its exit code."""
    project.ready("test")
    # On a machine that others use too, threads that wait by spinning make everything several times slower.
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | dict(os.environ)
    commands = [[project.PYTHON, "-m", *check] for check in CHECKS] if len(sys.argv) == 1 else []
    commands.append([project.PYTHON, "-m", "pytest", *sys.argv[1:]])
    for command in commands:
        print("$", " ".join(map(str, command[2:])), flush=True)
        status = subprocess.run(command, cwd=project.ROOT, env=environment, check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())

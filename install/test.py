"""`./install/test [pytest arguments]`: linters, types, and every test."""

from __future__ import annotations

import os
import subprocess
import sys

import gimp_roots
import project

#: Where this is set, in CI, tests that need a GIMP fail without one instead of being skipped.
REQUIRE_GIMP = "DEEPDREAM_REQUIRE_GIMP"
CHECKS = (
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["mypy"],
)


def main() -> int:
    """Runs every check; the first that fails ends it, with its exit code."""
    project.ready("test")
    no_gimp = _ready_gimp()
    if no_gimp:
        print(no_gimp, file=sys.stderr)
    # On a machine that others use too, threads that wait by spinning make everything several times slower.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"} | dict(os.environ)
    if os.environ.get("CI"):
        environment.setdefault(REQUIRE_GIMP, "1")
    commands = [[project.VENV.python, "-m", *check] for check in CHECKS] if len(sys.argv) == 1 else []
    # Two at a time, as GIMPs mostly wait; a part, in one process, where one can stop in a debugger.
    commands.append([project.VENV.python, "-m", "pytest", *(sys.argv[1:] or ["-n", "2", "--dist", "loadgroup"])])
    for command in commands:
        print("$", " ".join(map(str, command[2:])), flush=True)
        status = subprocess.run(command, cwd=project.ROOT, env=environment, check=False).returncode
        if status:
            return status
    return 0


def _ready_gimp() -> str:
    """Sees that there are GIMPs to test in; why not, if there are none. A GIMP of the system's own serves, too."""
    try:
        return gimp_roots.ready()
    except SystemExit as failure:  # without a connection, say, all other tests can run
        return str(failure)


if __name__ == "__main__":
    sys.exit(main())

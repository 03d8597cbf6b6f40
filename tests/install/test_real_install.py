"""One real installation in an empty home: a venv by pip, GIMPs that were never started, a dream, the way back."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import real_gimp
from user_home import Home

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform == "win32", reason="programs of POSIX shells"),
]
GIMPS = [system for system in real_gimp.systems() if system.root is not None]
without_gimp = pytest.mark.skipif(not GIMPS, reason="no GIMP in a root; ./install/test makes them")


@dataclass
class Installed:
    """A home after the installation, what that said, and what was there before."""

    home: Home
    said: str
    before: Mapping[str, str]


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    folder = Path(tempfile.mkdtemp(prefix="dd-"))
    home = Home(folder)
    caches = {"PIP_CACHE_DIR": "pip", "UV_CACHE_DIR": "uv"}  # that this is not fetched again for every test run
    home.environment |= {name: str(Path.home() / ".cache" / cache) for name, cache in caches.items()}
    uv = shutil.which("uv")
    home.program("uv", f'exec {uv} "$@"' if uv else "echo 'no connection' >&2; exit 2")
    before = home.tree()
    for system in GIMPS:
        command = shlex.join(system.command(["gimp-console"], [folder]))
        home.program(f"gimp-console-{system.name.removeprefix('gimp-')}", f'exec {command} "$@"')
    try:
        yield Installed(home, home.install(timeout=800), before)
    finally:  # a gigabyte
        home.end()
        shutil.rmtree(folder, ignore_errors=True)


def test_it_says_which_torch_and_where_the_daemon_is(installed: Installed) -> None:
    home, said = installed.home, installed.said
    assert said.startswith(("Chosen: torch for ", "GIMP 3."))
    assert f"The daemon is in {home.data}/venv: torch 2." in said
    if "no connection" in said:
        assert "uv could not: no connection\nTrying again with pip" in said
    assert not (home.data / "cache").exists()


@without_gimp
def test_gimps_own_python_can_use_what_is_carried(installed: Installed) -> None:
    for system in GIMPS:
        release = system.name.removeprefix("gimp-")
        plugin = installed.home.plugin(release)
        code = f"import sys; sys.path[:0] = [{str(plugin)!r}]; sys.path.append({str(plugin / 'carried')!r})\n"
        code += "import dreamwire.client, msgpack; print('uses', msgpack.Packer.__module__, msgpack.__file__)"
        batch = ["-i", "-d", "-f", "--quit", "--batch-interpreter", "python-fu-eval", "-b", code]
        said = installed.home.run([str(installed.home.programs / f"gimp-console-{release}"), *batch]).stdout
        assert f"uses msgpack.fallback {plugin}" in said


@without_gimp
def test_every_gimp_lists_the_procedure(installed: Installed) -> None:
    for system in GIMPS:
        release = system.name.removeprefix("gimp-")
        program = installed.home.programs / f"gimp-console-{release}"
        assert f"({program}) has no folder yet; it is started once to make one." in installed.said
        assert f"({program}) lists plug-in-deep-dream." in installed.said
        assert (installed.home.config / release / "gimprc").is_file()  # which only GIMP itself makes


def test_the_daemon_that_was_written_down_dreams_and_finds_all_in_order(installed: Installed) -> None:
    home = installed.home
    examined = home.run([*home.command, "doctor", "--json"], timeout=240)
    assert examined.returncode == 0, examined.stdout
    checks = {check["name"]: check for check in json.loads(examined.stdout[examined.stdout.index("[") :])}
    assert checks["program"]["found"] == home.command[0]
    assert "blocks.10 of efficientnet_lite0" in checks["network"]["found"]
    for system in GIMPS:
        name = f"GIMP {system.name.removeprefix('gimp-')}"
        assert checks[name]["found"] == str(home.plugin(name.removeprefix("GIMP ")))


def test_a_second_run_has_nothing_to_install(installed: Installed) -> None:
    said = installed.home.install(timeout=240)
    assert "done in" not in said
    assert "ended" not in said


def test_afterwards_nothing_is_left(installed: Installed) -> None:
    home = installed.home
    said = home.install("--uninstall", timeout=240)
    assert "The running daemon was ended." in said
    # What GIMP has made by itself is not ours to remove.
    theirs = (".config", ".cache", ".local/share/gegl-0.4")
    left = {name: what for name, what in home.tree().items() if not name.startswith(theirs)}
    assert {
        name: what for name, what in left.items() if name not in (".local", ".local/share")
    } == installed.before
    assert not [name for name in home.tree() if "deep-dream" in name]
    assert list((home.folder / "run").iterdir()) == []

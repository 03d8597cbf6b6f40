"""`install.py` puts the plug-in into every GIMP and the daemon beside it, says what it does, and harms nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import install
import machine
import plugin_folder
import project
from dreamd import gimps
from dreamd.gimps import Place
from user_home import PACKAGES, Home

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs of POSIX shells")


@pytest.fixture
def home(short_path: Path) -> Iterator[Home]:
    """A home with the daemon in it, and GIMP 3.0, which has been started before."""
    home = Home(short_path).with_daemon()
    (home.config / "3.0").mkdir(parents=True)
    yield home
    home.end()


# Where it goes


def test_every_gimp_of_the_user_gets_the_plugin(home: Home) -> None:
    for folder in (".config/GIMP/3.2", ".config/GIMP/2.10", ".var/app/org.gimp.GIMP/config/GIMP/3.0"):
        (home.path / folder).mkdir(parents=True)
    (home.path / "snap/gimp/512/.config/GIMP/3.0").mkdir(parents=True)
    (home.path / "snap/gimp/current").symlink_to("512")
    said = home.install()
    found = {str(path.parent.relative_to(home.path)) for path in home.path.rglob("deep-dream.py")}
    assert found == {
        ".config/GIMP/3.0/plug-ins/deep-dream",
        ".config/GIMP/3.2/plug-ins/deep-dream",
        ".var/app/org.gimp.GIMP/config/GIMP/3.0/plug-ins/deep-dream",
        "snap/gimp/512/.config/GIMP/3.0/plug-ins/deep-dream",
    }
    assert "GIMP 3.0 (flatpak): the plug-in 0.1.0 is copied" in said
    assert "Filters > Deep Dream > Dream..." in said
    assert f"'{home.command[0]}' serve --endpoint tcp://127.0.0.1:47615" in said  # for the sandboxes


def test_the_plugin_is_whole_and_nothing_else(home: Home) -> None:
    home.install()
    source = {
        path.relative_to(plugin_folder.SOURCE)
        for path in plugin_folder.SOURCE.rglob("*")
        if "__pycache__" not in path.parts
    }
    copied = {path.relative_to(home.plugin()) for path in home.plugin().rglob("*")}
    carried = {path for path in copied if path.parts[0] == "carried"}
    assert copied - carried == source | {Path("INSTALLED"), Path("LICENSE")}
    assert {path.suffix for path in carried} == {"", ".py"}  # nothing compiled
    assert Path("carried/msgpack/COPYING") in carried
    assert os.access(home.plugin() / "deep-dream.py", os.X_OK)


def test_what_is_carried_does_where_gimp_has_no_msgpack(home: Home) -> None:
    home.install()
    code = (
        "import sys; sys.path.append(sys.argv[1] + '/carried'); sys.path.append(sys.argv[1]);"
        "import msgpack, dreamwire.messages as m; hello = m.Hello(versions=(1,), client='x');"
        "assert m.decode(m.encode(hello)) == hello; print(msgpack.Packer.__module__, msgpack.__file__)"
    )
    said = subprocess.run(
        [sys.executable, "-S", "-c", code, str(home.plugin())], capture_output=True, text=True, check=True
    ).stdout
    assert said.split(maxsplit=1)[0] == "msgpack.fallback"
    assert str(home.plugin()) in said


def test_clients_find_the_daemon_by_what_is_written_down(home: Home) -> None:
    (home.path / "snap/gimp/common").mkdir(parents=True)
    home.install()
    assert home.command == [str(home.data / "venv/bin/deepdream")]
    for_the_snap = home.path / "snap/gimp/common/deep-dream/daemon-command"
    assert for_the_snap.read_text().splitlines() == home.command
    assert home.run([*home.command, "--version"]).stdout == "deepdream 0.1.0\n"


def test_a_folder_can_be_named_and_is_the_only_one(home: Home) -> None:
    other = home.folder / "portable"
    other.mkdir()
    home.install("--gimp-dir", str(other))
    assert (other / "plug-ins/deep-dream/deep-dream.py").is_file()
    assert not home.plugin().exists()


@pytest.mark.parametrize(
    ("variable", "folder"), [("XDG_CONFIG_HOME", "xdg/GIMP/3.0"), ("GIMP3_DIRECTORY", "xdg")], ids=["xdg", "gimp"]
)
def test_the_variables_that_gimp_minds_are_minded(home: Home, variable: str, folder: str) -> None:
    (home.folder / folder).mkdir(parents=True)
    home.install(**{variable: str(home.folder / "xdg")})
    assert (home.folder / folder / "plug-ins/deep-dream/deep-dream.py").is_file()


@pytest.mark.parametrize(
    ("platform", "folder"),
    [("darwin", "Library/Application Support/GIMP"), ("win32", "AppData/Roaming/GIMP")],
)
def test_each_platform_has_its_places(
    home: Home, platform: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home.path))
    monkeypatch.delenv("GIMP3_DIRECTORY", raising=False)
    monkeypatch.setenv("APPDATA", str(home.path / "AppData" / "Roaming"))
    monkeypatch.setattr(sys, "platform", platform)
    for release in ("2.10", "3.0", "3.2", "3.x"):
        (home.path / folder / release).mkdir(parents=True)
    assert [place.folder for place in gimps.places()] == [home.path / folder / each for each in ("3.0", "3.2")]


def test_a_gimp_that_was_never_started_is_started_to_make_its_folder(home: Home) -> None:
    home.gimp("3.2.4", name="gimp-console-3.2")
    said = home.install()
    assert "GIMP 3.2.4 (" in said
    assert "has no folder yet" in said
    assert (home.plugin("3.2") / "deep-dream.py").is_file()
    assert (home.plugin("3.0") / "deep-dream.py").is_file()


def test_without_a_gimp_it_says_what_it_looked_for_and_the_daemon_is_there(home: Home) -> None:
    shutil.rmtree(home.config)
    said = home.install()
    for words in (f"{home.config}/3.*", "org.gimp.GIMP", "snap/gimp", "--gimp-dir", "are installed all the same"):
        assert words in said
    assert "Filters >" not in said
    assert home.run([*home.command, "--version"]).returncode == 0


def test_a_gimp_that_is_too_old_is_named(home: Home) -> None:
    shutil.rmtree(home.config)
    home.gimp("2.10.36", name="gimp")
    said = home.install()
    assert "There is GIMP 2.10.36" in said
    assert "needs GIMP 3" in said


# What GIMP says


def test_a_gimp_that_lists_the_procedure_is_named(home: Home) -> None:
    home.gimp("3.0.4")
    assert f"GIMP 3.0.4 ({home.programs}/gimp-console) lists plug-in-deep-dream." in home.install()


def test_a_gimp_that_does_not_list_it_is_a_failure_with_its_reason(home: Home) -> None:
    trace = f'Traceback:\n  File "{home.plugin()}/deep-dream.py", line 1\nImportError: no gi\n'
    home.gimp("3.0.4", f"{trace}deep-dream-is-missing")
    said = home.install(status=1)
    assert "does not list plug-in-deep-dream. ImportError: no gi" in said


@pytest.mark.parametrize("says", ["", "cannot open display"])
def test_a_gimp_that_cannot_be_asked_is_told_of_and_no_more(home: Home, says: str) -> None:
    home.gimp("3.0.4", says)
    assert (
        f"could not be asked whether it lists plug-in-deep-dream. It says: {says or 'nothing'}" in home.install()
    )


def test_what_is_no_gimp_is_passed_by(home: Home) -> None:
    home.program("gimp", "exit 127")
    home.program("gimp-console-3.0", "echo hello")
    assert "no program of it was found" in home.install()


# Again


def test_an_upgrade_leaves_nothing_of_the_older_version(home: Home) -> None:
    home.install()
    older = home.plugin()
    (older / "gone.py").touch()
    (older / "dreamwire" / "gone.py").touch()
    os.utime(older / "deep-dream.py", (0, 0))
    neighbour = older.with_name("mine")
    neighbour.mkdir()
    home.install()
    assert not list(older.rglob("gone.py"))
    # GIMP asks only a plug-in that looks new which arguments it takes.
    assert (older / "deep-dream.py").stat().st_mtime > (plugin_folder.SOURCE / "deep-dream.py").stat().st_mtime - 1
    assert sorted(path.name for path in older.parent.iterdir()) == ["deep-dream", "mine"]


def test_a_daemon_that_is_up_to_date_goes_on(home: Home) -> None:
    home.install()
    before = json.loads(home.run([*home.command, "doctor", "--json"]).stdout.partition("\n")[2])
    home.install()
    status = json.loads(home.run([*home.command, "status", "--json"]).stdout)
    (daemon,) = [check["found"] for check in before if check["name"] == "daemon"]
    assert f"process {status['pid']}," in daemon


def test_a_daemon_of_another_installation_is_ended(home: Home) -> None:
    home.install()
    older = home.data / "older"
    shutil.copy(home.command[0], older)
    (home.data / "daemon-command").write_text(f"{older}\n")
    home.run([*home.command, "networks"])
    assert "The running daemon was ended." in home.install()
    assert home.run([*home.command, "status"]).returncode == 3
    assert home.command == [str(home.data / "venv/bin/deepdream")]


def test_whoever_works_on_it_can_link_it(home: Home) -> None:
    said = home.install("--link", timeout=600)
    assert "is linked to" in said
    assert not home.plugin().is_symlink()
    for name in ("deep-dream.py", "dreamwire"):
        assert (home.plugin() / name).readlink() == plugin_folder.SOURCE / name
    assert not (home.plugin() / "carried").is_symlink()
    assert home.command == [str(project.VENV.program("deepdream"))]
    home.install()
    assert not (home.plugin() / "deep-dream.py").is_symlink()
    assert (plugin_folder.SOURCE / "deep-dream.py").is_file()


# What goes wrong


def test_a_plugin_of_somebody_elses_is_left_and_the_others_get_ours(home: Home) -> None:
    (home.config / "3.2").mkdir()
    theirs = home.plugin()
    theirs.mkdir(parents=True)
    (theirs / "deep-dream.py").write_text("theirs")
    said = home.install(status=1)
    assert f"GIMP 3.0: {theirs} was not made by this installer" in said
    assert (theirs / "deep-dream.py").read_text() == "theirs"
    assert (home.plugin("3.2") / "INSTALLED").is_file()


def test_a_link_of_the_users_is_left(home: Home) -> None:
    home.plugin().parent.mkdir()
    home.plugin().symlink_to(plugin_folder.SOURCE)
    assert "was not made by this installer" in home.install(status=1)
    assert home.plugin().readlink() == plugin_folder.SOURCE


def test_a_folder_that_cannot_be_written_is_told_of_and_the_others_get_it(home: Home) -> None:
    (home.config / "3.2").mkdir()
    home.plugin().parent.write_text("no folder")
    said = home.install(status=1)
    assert "GIMP 3.0:" in said
    assert "cannot be written" in said
    assert (home.plugin("3.2") / "deep-dream.py").is_file()


@pytest.mark.parametrize("broken", ["copytree", "copy"])
def test_a_copy_that_is_interrupted_leaves_the_older_one(
    home: Home, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(home.config / "3.0")
    plugin_folder.put(place, PACKAGES)
    (place.plugin / "older").touch()
    before = home.tree()

    def interrupt(source: Path, target: Path, **_: object) -> None:
        Path(target).mkdir(exist_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, broken, interrupt)
        with pytest.raises(KeyboardInterrupt):
            plugin_folder.put(place, PACKAGES)
    rest = {name for name in home.tree() if ".deep-dream.new" in name}
    assert {name: what for name, what in home.tree().items() if name not in rest} == before
    plugin_folder.put(place, PACKAGES)
    assert not (place.plugin / "older").exists()
    assert [path.name for path in place.plugin.parent.iterdir()] == ["deep-dream"]


def test_a_break_between_the_two_renames_loses_nothing(home: Home) -> None:
    place = Place(home.config / "3.0")
    plugin_folder.put(place, PACKAGES)
    place.plugin.rename(place.plugin.with_name(".deep-dream.old"))
    plugin_folder.put(place, PACKAGES)
    assert [path.name for path in place.plugin.parent.iterdir()] == ["deep-dream"]


@pytest.mark.parametrize(
    ("arguments", "extra", "says"),
    [
        (["--gimp-dir", "/gone"], {}, "there is no folder /gone"),
        (["--gimp-dir", "/x/plug-ins"], {}, "name the one that it is in"),
        ([], {"SUDO_USER": "zoe"}, "without sudo"),
        (["--lnik"], {}, "unrecognized arguments: --lnik"),
    ],
)
def test_wrong_usage_is_told_at_once(home: Home, arguments: list[str], extra: dict[str, str], says: str) -> None:
    before = home.tree()
    assert says in home.install(*arguments, status=2, **extra)
    assert home.tree() == before


# Which torch


def test_the_card_chooses_the_build_of_torch(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home.programs))
    monkeypatch.setattr(machine, "KFD", home.folder / "kfd")
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", home.folder / "nvidia")
    assert str(machine.choose()).startswith("torch for the processor, because there is neither an NVIDIA card")
    (home.folder / "kfd" / "1").mkdir(parents=True)
    (home.folder / "kfd" / "1" / "gpu_id").write_text("3212\n")
    assert "an AMD card, but no ROCm; install that" in str(machine.choose())
    home.program("rocminfo", "")
    assert machine.choose().name == "ROCm"
    (home.folder / "nvidia").touch()
    assert str(machine.choose()) == "torch for CUDA, because the driver of NVIDIA is loaded."
    home.program("nvidia-smi", "echo 'NVIDIA GeForce RTX 3060, 580.65.06'")
    assert "names the card NVIDIA GeForce RTX 3060, driver 580.65.06" in str(machine.choose())
    home.program("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    assert "the driver of NVIDIA is loaded" in str(machine.choose())


def test_a_mac_gets_metal_or_a_clear_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(machine.platform, "machine", lambda: "arm64")
    assert "Apple silicon" in str(machine.choose())
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    with pytest.raises(SystemExit, match="Macs with Intel"):
        machine.choose()


def test_a_card_that_torch_cannot_use_is_told_of(home: Home) -> None:
    home.program("nvidia-smi", "echo 'NVIDIA GeForce GTX 480, 390.157'")
    shutil.rmtree(home.data)
    home.with_daemon("CUDA")
    said = home.install(status=1)
    assert "torch for CUDA, because nvidia-smi names the card NVIDIA GeForce GTX 480, driver 390.157." in said
    assert "this torch finds no card that it can use" in said
    assert home.plugin().is_dir()


def test_too_small_a_disk_is_told_before_anything_is_fetched(home: Home) -> None:
    machine.require_room(home.data / "not" / "yet", 0)
    with pytest.raises(SystemExit, match=r"needs about 1000000 GB .* Make room there, or .* DEEPDREAM_DATA"):
        machine.require_room(home.data, 1_000_000)


def test_uv_is_told_which_torch_and_after_it_has_failed_pip_does_it(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = home.folder / "calls"
    venv = project.Venv(home.folder / "venv", home.folder / "log", "cpu")
    record = f'echo "$(basename $0)" "$@" >> {calls}'
    make = f"mkdir -p {venv.folder}/bin && cp {home.programs}/python {home.programs}/pip {venv.folder}/bin"
    home.program("python", record)
    home.program("pip", record)
    home.program("uv", f'{record}; if [ "$1" = venv ]; then {make}; fi')
    monkeypatch.setenv("PATH", str(home.programs))

    def called() -> list[str]:
        lines = calls.read_text().splitlines()
        calls.unlink()
        return lines

    venv.install(["thing"])
    install_it = (
        f"uv pip install --python {venv.python} --torch-backend cpu --reinstall-package {project.NAME} thing"
    )
    assert [called()[0].split()[:2], venv.python.is_file()] == [["uv", "venv"], True]
    venv.install(["thing"])
    assert called() == [install_it]
    home.program("uv", f"{record}; echo no connection; exit 2")
    venv.install(["thing"])
    by_pip = "python -m pip install --no-input --disable-pip-version-check thing"
    assert called() == [install_it, by_pip]
    assert "uv could not: no connection\nTrying again with pip" in capsys.readouterr().err
    venv.install(["thing"])
    assert called() == [by_pip]


def test_a_daemon_that_does_not_work_is_told_of(home: Home) -> None:
    python = home.data / "venv/bin/python"
    python.write_text("#!/bin/sh\necho 'ImportError: no torch' >&2; exit 1\n")
    said = home.install(status=1)
    assert "ImportError: no torch" in said
    assert f"Remove {python.parents[1]}, and run this again." in said


def test_fingerprints_change_with_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = machine.Build("the processor", "cpu", "", 0)
    before = install.fingerprints(build)
    assert install.fingerprints(build) == before
    assert install.fingerprints(machine.Build("CUDA", "auto", "", 0))[0] != before[0]
    monkeypatch.setattr(install, "ROOT", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(project.ROOT / name, tmp_path)
    assert install.fingerprints(build)[1] != before[1]

"""`install.py --uninstall` takes away what was installed, all of it and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from user_home import Home

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs of POSIX shells")


@pytest.fixture
def home(short_path: Path) -> Iterator[Home]:
    """The home of somebody who has other things, too."""
    home = Home(short_path)
    for name in (
        ".config/GIMP/3.0/plug-ins/mine/mine.py",
        ".config/GIMP/3.0/gimprc",
        ".config/other/settings",
        "Pictures/cat.jpg",
        "snap/gimp/common/.cache/fonts",
    ):
        (home.path / name).parent.mkdir(parents=True, exist_ok=True)
        (home.path / name).write_text(name)
    yield home
    home.end()


def test_the_home_is_as_it_was_before(home: Home) -> None:
    before = home.tree()
    home.with_daemon().install()
    home.run([*home.command, "doctor"])
    (home.data / "weights").mkdir()
    (home.data / "weights" / "googlenet.pth").write_bytes(bytes(2_000_000))
    (home.path / ".config/deep-dream").mkdir()
    (home.path / ".config/deep-dream/gimp.json").write_text("{}")
    said = home.install("--uninstall")
    assert "The running daemon was ended." in said
    assert f"Removed {home.data} (2." in said
    assert "Deep Dream is uninstalled; 2." in said
    # The test itself has made these, for its daemon.
    assert home.tree() == before | {".local": "True", ".local/share": "True"}
    assert list((home.folder / "run").iterdir()) == []


def test_folders_that_were_made_go_unless_they_are_used(home: Home) -> None:
    home.with_daemon()
    other = home.folder / "portable"
    other.mkdir()
    home.install("--gimp-dir", str(other))
    home.install("--uninstall")
    assert list(other.iterdir()) == []
    home.with_daemon().install("--gimp-dir", str(other))
    (other / "plug-ins" / "mine").mkdir()
    home.install("--uninstall")
    assert [path.name for path in other.rglob("*")] == ["plug-ins", "mine"]


def test_what_gimp_has_kept_of_it_goes_too(home: Home) -> None:
    home.with_daemon().install()
    settings = home.config / "3.0" / "plug-in-settings"
    settings.mkdir()
    for name in ("plug-in-deep-dream.last", "plug-in-other.last"):
        (settings / name).touch()
    home.install("--uninstall")
    assert [path.name for path in settings.iterdir()] == ["plug-in-other.last"]


def test_a_plugin_of_somebody_elses_is_left_and_told_of(home: Home) -> None:
    home.plugin().mkdir(parents=True)
    (home.plugin() / "deep-dream.py").write_text("theirs")
    assert f"{home.plugin()} is left: it was not made by this installer." in home.install("--uninstall", status=1)
    assert (home.plugin() / "deep-dream.py").read_text() == "theirs"


def test_links_are_not_followed(home: Home) -> None:
    far = home.folder / "far"
    for name in ("weights", "plugin", "state"):
        (far / name).mkdir(parents=True)
        (far / name / "precious").touch()
    home.with_daemon().install()
    (home.data / "weights").symlink_to(far / "weights")
    (home.plugin() / "plugin").symlink_to(far / "plugin")
    (home.path / ".local/state").mkdir(exist_ok=True)
    (home.path / ".local/state/deep-dream").symlink_to(far / "state")
    said = home.install("--uninstall", status=1)
    assert f".local/state/deep-dream is a link, so only that is removed; {far / 'state'} is left." in said
    assert len(list(far.rglob("precious"))) == 3
    assert not home.data.exists()
    assert not (home.path / ".local/state/deep-dream").is_symlink()


def test_in_a_folder_of_the_users_own_choice_only_ours_goes(home: Home) -> None:
    mine = home.folder / "disk"
    places = {f"DEEPDREAM_{name}": str(mine / name.lower()) for name in ("DATA", "LOGS", "CONFIG", "RUNTIME")}
    home.environment |= places
    for place in places.values():
        Path(place).mkdir(parents=True, mode=0o700)
        (Path(place) / "diary.txt").touch()
    home.with_daemon(data=mine / "data").install()
    home.run([*(mine / "data/daemon-command").read_text().splitlines(), "doctor"])
    said = home.install("--uninstall", status=1)
    assert {str(path.relative_to(mine)) for path in mine.rglob("*") if path.is_file()} == {
        f"{name}/diary.txt" for name in ("data", "logs", "config", "runtime")
    }
    assert f"{mine / 'data'} is left: there is something in it that is not ours." in said


def test_where_nothing_is_installed_nothing_is_done(home: Home) -> None:
    before = home.tree()
    assert "Nothing of Deep Dream is installed" in home.install("--uninstall")
    assert home.tree() == before


def test_a_damaged_installation_goes_too(home: Home) -> None:
    home.with_daemon().install()
    (home.data / "venv/bin/deepdream").unlink()
    (home.data / "installed.json").write_text("{")
    assert "could not be ended" in home.install("--uninstall", status=1)
    assert not home.data.exists()
    assert not home.plugin().exists()

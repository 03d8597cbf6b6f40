"""Folders lie where each platform keeps them, and what the daemon listens in is the user's alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dreamwire import paths
from dreamwire.private import secure_dir

as_root = pytest.mark.skipif(
    sys.platform == "win32" or os.getuid() != 0, reason="needs root to make another's folder"
)

TEMPORARY = paths._temporary


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and nothing said by the environment."""
    for name in list(os.environ):
        if name.startswith(("XDG_", "DEEPDREAM_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "AppData" / "Local"))
    # The real one belongs to the user's own daemon.
    monkeypatch.setattr(paths, "_temporary", lambda: tmp_path / "tmp")
    return tmp_path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets sockets have the long names of test folders."""
    monkeypatch.setattr(paths, "SOCKET_PATH_LIMIT", 1000)


FOLDERS = [
    ("linux", paths.data_dir, ".local/share/deep-dream"),
    ("linux", paths.weights_dir, ".local/share/deep-dream/weights"),
    ("linux", paths.log_dir, ".local/state/deep-dream"),
    ("linux", paths.config_dir, ".config/deep-dream"),
    ("linux", paths.cache_dir, ".cache/deep-dream"),
    ("darwin", paths.data_dir, "Library/Application Support/deep-dream"),
    ("darwin", paths.log_dir, "Library/Logs/deep-dream"),
    ("darwin", paths.config_dir, "Library/Application Support/deep-dream/config"),
    ("darwin", paths.cache_dir, "Library/Caches/deep-dream"),
    ("win32", paths.data_dir, "AppData/Local/deep-dream"),
    ("win32", paths.log_dir, "AppData/Local/deep-dream/logs"),
    ("win32", paths.config_dir, "AppData/Local/deep-dream/config"),
    ("win32", paths.cache_dir, "AppData/Local/deep-dream/cache"),
    ("win32", paths.runtime_dir, "AppData/Local/deep-dream/run"),
]


class TestFolders:
    @pytest.mark.parametrize(
        ("platform", "folder", "expected"), FOLDERS, ids=[f"{row[0]}-{row[1].__name__}" for row in FOLDERS]
    )
    def test_each_platform_has_its_places(
        self, platform: str, folder: Callable[[], Path], expected: str, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "platform", platform)
        assert folder() == home / expected

    @pytest.mark.parametrize(
        ("variable", "folder"),
        [
            ("XDG_DATA_HOME", paths.data_dir),
            ("XDG_STATE_HOME", paths.log_dir),
            ("XDG_CONFIG_HOME", paths.config_dir),
            ("XDG_CACHE_HOME", paths.cache_dir),
        ],
    )
    def test_linux_follows_xdg_and_ignores_relative_names_as_it_asks(
        self, variable: str, folder: Callable[[], Path], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        otherwise = folder()
        monkeypatch.setenv(variable, str(home / "xdg"))
        assert folder() == home / "xdg" / "deep-dream"
        for ignored in ("", "relative/name"):
            monkeypatch.setenv(variable, ignored)
            assert folder() == otherwise

    @pytest.mark.parametrize(
        ("variable", "folder"),
        [
            ("DEEPDREAM_DATA", paths.data_dir),
            ("DEEPDREAM_LOGS", paths.log_dir),
            ("DEEPDREAM_CONFIG", paths.config_dir),
            ("DEEPDREAM_CACHE", paths.cache_dir),
            ("DEEPDREAM_RUNTIME", paths.runtime_dir),
        ],
    )
    @pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
    @pytest.mark.usefixtures("short")
    def test_our_own_variable_overrides_everywhere(
        self, platform: str, variable: str, folder: Callable[[], Path], home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv(variable, "~/mine")
        assert folder() == home / "mine"

    def test_asking_makes_nothing(self, home: Path) -> None:
        for folder in (paths.data_dir, paths.weights_dir, paths.log_dir, paths.config_dir, paths.cache_dir):
            folder()
        assert list(home.iterdir()) == []

    def test_the_module_brings_in_nothing_heavy(self) -> None:
        program = "import dreamwire.paths, sys; print(*sorted(set(sys.modules) - set(sys.stdlib_module_names)))"
        run = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True,
                             env={"PYTHONPATH": str(Path(paths.__file__).parent.parent)})  # fmt: skip
        added = {name for name in run.stdout.split() if "." not in name and name != "__main__"}
        assert added == {"dreamwire"}


@pytest.mark.skipif(sys.platform == "win32", reason="folders of POSIX")
class TestRuntimeDir:
    @pytest.mark.usefixtures("short")
    def test_it_lies_in_the_users_runtime_folder(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (home / "run").mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
        folder = paths.runtime_dir()
        assert folder == home / "run" / "deep-dream"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    @pytest.mark.usefixtures("short")
    def test_without_one_it_is_a_private_folder(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "absent"))
        folder = paths.runtime_dir()
        assert folder == home / "tmp"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    @as_root
    @pytest.mark.usefixtures("short")
    def test_the_runtime_folder_of_another_user_is_left_alone(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (home / "run").mkdir()
        os.chown(home / "run", 12345, 12345)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
        assert paths.runtime_dir() == home / "tmp"
        assert list((home / "run").iterdir()) == []

    def test_a_name_too_long_for_a_socket_gives_way_and_says_so(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DEEPDREAM_RUNTIME", str(home / ("x" * 107)))
        with pytest.warns(UserWarning, match=r"room for 10\d: .*tmp is used instead. Set DEEPDREAM_RUNTIME"):
            assert paths.runtime_dir() == home / "tmp"

    def test_the_private_folder_is_never_bare_tmp(self) -> None:
        assert TEMPORARY() == Path(f"/tmp/deep-dream-{os.getuid()}")


@pytest.mark.skipif(sys.platform == "win32", reason="folders of POSIX")
class TestSecureDir:
    def test_it_is_made_with_its_parents_and_may_be_there_already(self, home: Path) -> None:
        for _ in range(2):
            folder = secure_dir(home / "a" / "b")
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_one_of_ours_that_others_may_enter_is_closed(self, home: Path) -> None:
        folder = home / "open"
        folder.mkdir()
        folder.chmod(0o777)
        secure_dir(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    @pytest.mark.parametrize("there", [True, False])
    def test_a_link_is_refused_and_not_followed(self, there: bool, home: Path) -> None:
        if there:
            (home / "target").mkdir(mode=0o755)
        (home / "link").symlink_to(home / "target")
        with pytest.raises(PermissionError, match=r"link is a symbolic link, so it is not used: .* Remove it, or"):
            secure_dir(home / "link")
        assert (home / "target").exists() == there
        assert not there or stat.S_IMODE((home / "target").stat().st_mode) == 0o755

    def test_a_file_is_refused(self, home: Path) -> None:
        (home / "file").touch()
        with pytest.raises(PermissionError, match="is not a folder"):
            secure_dir(home / "file")

    def test_a_folder_that_cannot_be_made_is_refused(self, home: Path) -> None:
        (home / "file").touch()
        with pytest.raises(PermissionError, match=r"file/run cannot be made: Not a directory\. Mend"):
            secure_dir(home / "file" / "run")

    @as_root
    def test_the_folder_of_another_user_is_refused(self, home: Path) -> None:
        (home / "theirs").mkdir(mode=0o700)
        os.chown(home / "theirs", 12345, 12345)
        with pytest.raises(PermissionError, match=r"belongs to another user \(12345\).*DEEPDREAM_RUNTIME"):
            secure_dir(home / "theirs")

    def test_a_folder_that_cannot_be_closed_is_refused(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (home / "fat").mkdir()
        (home / "fat").chmod(0o777)
        monkeypatch.setattr(Path, "chmod", lambda *_: None)  # as on a disk that keeps no modes
        with pytest.raises(PermissionError, match="open to others and cannot be closed"):
            secure_dir(home / "fat")


class TestEndpoint:
    def test_the_environment_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DEEPDREAM_ENDPOINT", "tcp://127.0.0.1:5")
        assert paths.default_endpoint() == "tcp://127.0.0.1:5"

    @pytest.mark.skipif(sys.platform == "win32", reason="sockets of POSIX")
    @pytest.mark.usefixtures("short")
    def test_it_is_a_socket_in_the_runtime_folder(self, home: Path) -> None:
        assert paths.default_endpoint() == f"ipc://{home / 'tmp' / 'daemon.sock'}"

    def test_on_windows_it_is_a_loopback_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "win32")
        assert paths.default_endpoint() == "tcp://127.0.0.1:47615"

    @pytest.mark.parametrize(
        ("endpoint", "name"),
        [("tcp://127.0.0.1:47615", "token-127.0.0.1-47615"), ("tcp://[::1]:7", "token-___1_-7")],
    )
    @pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
    def test_a_tcp_endpoint_has_its_token_where_every_client_looks(
        self, platform: str, endpoint: str, name: str, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "platform", platform)
        assert paths.token_paths(endpoint) == [paths.data_dir() / "run" / name]
        monkeypatch.setenv("DEEPDREAM_RUNTIME", str(home / "mine"))
        assert paths.token_paths(endpoint) == [home / "mine" / name]

    @pytest.mark.parametrize(
        "endpoint", ["ipc:///run/daemon.sock", "tcp://../../x:1", "tcp://host", "tcp://a/b:1"]
    )
    def test_nothing_else_has_a_token(self, endpoint: str) -> None:
        with pytest.raises(ValueError, match="has no token"):
            paths.token_paths(endpoint)

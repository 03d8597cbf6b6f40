"""A GIMP in a flatpak or a snap cannot start the daemon, but finds one, and tells how to start it."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamwire import launch, paths
from dreamwire.client import Client
from dreamwire.errors import DreamError, UnreachableError
from fake_daemon import fake_daemon, of_protocol

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes of Linux")


@pytest.fixture(autouse=True)
def home(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and nothing said by the environment."""
    for name in list(os.environ):
        if name.startswith(("XDG_", "DEEPDREAM_", "SNAP")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(short_path))
    return short_path


@pytest.fixture
def flatpak(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As inside GIMP's flatpak."""
    (home / "flatpak-info").touch()
    monkeypatch.setattr(paths, "FLATPAK_INFO", home / "flatpak-info")
    for variable, folder in {"CONFIG": "config", "DATA": "data", "STATE": ".local/state"}.items():
        monkeypatch.setenv(f"XDG_{variable}_HOME", str(home / ".var/app/org.gimp.GIMP" / folder))


def snap(home: Path) -> dict[str, str]:
    """The variables inside GIMP's snap."""
    folder = home / "snap" / "gimp"
    (folder / "common").mkdir(parents=True, exist_ok=True)
    return {
        "SNAP": "/snap/gimp/5",
        "SNAP_NAME": "gimp",
        "SNAP_USER_COMMON": str(folder / "common"),
        "XDG_CONFIG_HOME": str(folder / "5" / ".config"),
        "XDG_DATA_HOME": str(folder / "5" / ".local" / "share"),
    }


def installed(home: Path) -> str:
    """Says where the daemon is, as the installer does; the command in a shell."""
    command = [sys.executable, "-m", "dreamd"]
    for folder in paths.client_dirs():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / launch.COMMAND_FILE).write_text("\n".join(command) + "\n")
    return shlex.join(command)


@pytest.mark.usefixtures("flatpak")
def test_a_flatpak_looks_into_the_folders_of_the_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.sandbox() == "flatpak"
    assert paths.default_endpoint() == "tcp://127.0.0.1:47615"
    assert paths.data_dir() == home / ".local/share/deep-dream"
    assert paths.log_dir() == home / ".local/state/deep-dream"
    monkeypatch.setenv("HOST_XDG_DATA_HOME", str(home / "data"))
    assert paths.data_dir() == home / "data" / "deep-dream"


def test_a_snap_looks_into_the_one_folder_that_it_shares(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = paths.data_dir()
    for name, value in snap(home).items():
        monkeypatch.setenv(name, value)
    assert paths.sandbox() == "snap"
    assert paths.default_endpoint() == "tcp://127.0.0.1:47615"
    assert paths.data_dir() == home / "snap/gimp/common/deep-dream" != outside
    assert paths.config_dir() == paths.data_dir() / "config"


def test_a_terminal_that_is_a_snap_is_no_sandbox_of_gimp(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (snap(home) | {"SNAP_NAME": "code"}).items():
        monkeypatch.setenv(name, value)
    assert paths.sandbox() == ""


@pytest.mark.usefixtures("flatpak")
def test_a_sandbox_says_what_to_type_and_the_daemon_that_this_starts_is_found(home: Path) -> None:
    command = installed(home)
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError, match=r"because it is a flatpak\. Start it in a terminal") as caught:
        Client(endpoint)
    assert caught.value.command == f"{command} serve --endpoint {endpoint}"
    assert f"`{caught.value.command}`" in str(caught.value)
    with running(caught.value.command):
        connected(endpoint).close()


def test_a_snap_and_the_host_reach_the_same_daemon(home: Path) -> None:
    inside = snap(home)
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    token = paths.token_paths(endpoint)
    assert [file.parents[1] for file in token] == [paths.data_dir(), home / "snap/gimp/common/deep-dream"]
    with running(f"{installed(home)} serve --endpoint {endpoint}"):
        connected(endpoint).close()
        assert [file.stat().st_mode & 0o777 for file in token] == [0o600] * 2
        code = "import sys; from dreamwire.client import Client; print(Client(sys.argv[1]).welcome.daemon)"
        reached = subprocess.run(
            [sys.executable, "-c", code, endpoint],
            env=os.environ | inside, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert reached.returncode == 0, reached.stderr
    assert not any(file.exists() for file in token)


@pytest.mark.usefixtures("flatpak")
def test_where_no_daemon_is_installed_the_command_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/app/bin/python3")
    monkeypatch.setenv("PATH", "/app/bin")
    with pytest.raises(UnreachableError, match="is not installed") as caught:
        Client(f"tcp://127.0.0.1:{free_port()}")
    assert caught.value.command == "python3 install/install.py"


def test_a_daemon_that_cannot_be_run_is_to_be_installed_again(home: Path) -> None:
    installed(home)
    (paths.data_dir() / launch.COMMAND_FILE).write_text("/gone/deepdream\n")
    with pytest.raises(UnreachableError, match="/gone/deepdream: No such file") as caught:
        Client(f"ipc://{home}/d.sock")
    assert caught.value.command == "python3 install/install.py"


def test_a_daemon_that_was_not_to_be_started_has_its_command(home: Path) -> None:
    command = installed(home)
    with pytest.raises(UnreachableError) as caught:
        Client(f"ipc://{home}/d.sock", start=False)
    assert caught.value.command == f"{command} serve --endpoint ipc://{home}/d.sock"


def test_a_daemon_of_another_version_is_to_be_stopped(home: Path) -> None:
    command = installed(home)
    with fake_daemon(home, of_protocol(9)) as endpoint, pytest.raises(DreamError) as caught:
        Client(endpoint)
    assert caught.value.command == f"{command} stop --endpoint {endpoint}"


def test_the_python_of_a_bundled_gimp_does_not_reach_the_daemon(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(home)
    for name in launch.FOREIGN:
        monkeypatch.setenv(name, "/app/lib/python3")
    endpoint = f"ipc://{home}/d.sock"
    with Client(endpoint) as client:
        client.shutdown()
        client.wait_until_gone()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: str) -> Iterator[None]:
    """Runs a command in a shell of the host, until the end of the block."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    with subprocess.Popen(["sh", "-c", f"exec {command}"], env=outside) as process:
        try:
            yield
        finally:
            process.terminate()


def connected(endpoint: str) -> Client:
    deadline = time.monotonic() + 20
    while True:
        try:
            return Client(endpoint, start=False)
        except (UnreachableError, DreamError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)

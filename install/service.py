"""The daemon as a service that the system starts for this user; none of them needs an administrator.

systemd listens in the daemon's place, and starts it when somebody connects; launchd and Windows' Task Scheduler
start it when the user logs in. A `Manager` knows the files and the commands of each.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Union
from xml.etree import ElementTree

import plugin_folder
from dreamd import gimps
from dreamwire import paths
from project import Venv

NOTE = "Made by install/install.py --service, removed by its --uninstall."
#: What may have been set to say where things are; a service has to be told.
VARIABLES = (
    *("DEEPDREAM_DATA", "DEEPDREAM_LOGS", "DEEPDREAM_CONFIG", "DEEPDREAM_CACHE", "DEEPDREAM_RUNTIME"),
    *("XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"),
)

Command = Sequence[str]


class RefusedError(Exception):
    """The system would not have the service; the message says why, and what to do."""


class Manager:
    """What starts programs for a user: `name`; `when` it does so; `advice` for when it refuses."""

    name = when = advice = ""

    def places(self) -> list[Path]:
        """Every file that a service of ours may be made of."""
        raise NotImplementedError

    def files(self, venv: Venv, *, sandboxed: bool) -> Mapping[Path, bytes]:
        """Those that it is made of, and what is in them; `sandboxed` if there is a GIMP that needs TCP."""
        raise NotImplementedError

    def start(self, files: Sequence[Path]) -> Sequence[Command]:
        """Commands by which the system reads the files, and starts the service, now and at every login."""
        raise NotImplementedError

    def stop(self) -> Sequence[Command]:
        """Commands that end it for now."""
        raise NotImplementedError

    def forget(self) -> Sequence[Command]:
        """Commands after which it is not started any more."""
        return self.stop()

    def reread(self) -> Sequence[Command]:
        """Commands for after its files have gone."""
        return ()


# systemd

#: The names of the units: for all clients, and for those in a flatpak or a snap, which come over TCP.
USUAL, SANDBOX = "deep-dream", "deep-dream-sandbox"
SOCKET = """\
# {note}
[Unit]
Description=Deep Dream daemon, to be started when somebody connects

[Socket]
ListenStream={listen}
SocketMode=0600
DirectoryMode=0700

[Install]
WantedBy=sockets.target
"""
SERVICE = """\
# {note}
[Unit]
Description=Deep Dream daemon
Requires={name}.socket

[Service]
ExecStart={program} serve
{environment}# It ends its workers itself, and goes on when the system has ended one for want of memory.
KillMode=mixed
OOMPolicy=continue
NoNewPrivileges=yes
UMask=0077
"""


class Systemd(Manager):
    name, when = "systemd", "it is started whenever somebody connects to it"
    advice = "systemd has to run for this user. Log in as the user, not by su or sudo, and run this again."

    def places(self) -> list[Path]:
        given = Path(os.environ.get("XDG_CONFIG_HOME") or ".")
        folder = (given if given.is_absolute() else Path.home() / ".config") / "systemd" / "user"
        return [folder / f"{name}.{kind}" for name in (USUAL, SANDBOX) for kind in ("socket", "service")]

    def files(self, venv: Venv, *, sandboxed: bool) -> Mapping[Path, bytes]:
        listens = {USUAL: _listen(), SANDBOX: paths.LOOPBACK_ENDPOINT.removeprefix("tcp://")}
        facts = {
            "note": NOTE,
            "program": _word(venv.program("deepdream")).replace("$", "$$"),
            "environment": "".join(f"Environment={_word('='.join(each))}\n" for each in _environment()),
        }
        wanted = [path for path in self.places() if sandboxed or path.stem == USUAL]
        forms = {".socket": SOCKET, ".service": SERVICE}
        return {
            path: forms[path.suffix].format(name=path.stem, listen=listens[path.stem], **facts).encode()
            for path in wanted
        }

    def start(self, files: Sequence[Path]) -> Sequence[Command]:
        sockets = [path.name for path in files if path.suffix == ".socket"]
        return [*self.reread(), self._tell("enable", "--now", *sockets)]

    def stop(self) -> Sequence[Command]:
        return [self._tell("stop", *(path.name for path in self.places()))]

    def forget(self) -> Sequence[Command]:
        return [self._tell("disable", "--now", *(path.name for path in self.places() if path.is_file()))]

    def reread(self) -> Sequence[Command]:
        return [self._tell("daemon-reload")]

    def _tell(self, *words: str) -> Command:
        return ["systemctl", "--user", *words]


def _listen() -> str:
    """Where clients of this user look; systemd itself knows best where the usual place is."""
    endpoint = os.environ.get("DEEPDREAM_ENDPOINT", "")
    if not endpoint and os.environ.get("DEEPDREAM_RUNTIME"):
        endpoint = f"ipc://{paths.runtime_place() / paths.SOCKET}"
    return endpoint.rpartition("://")[2].replace("%", "%%") or f"%t/{paths.APP}/{paths.SOCKET}"


def _word(text: object) -> str:
    """A word of a unit, quoted as systemd.syntax(7) and systemd.unit(5) have it."""
    quoted = str(text)
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%")):
        quoted = quoted.replace(character, escaped)
    return f'"{quoted}"'


# launchd

LABEL = "deep-dream-gimp.daemon"


class Launchd(Manager):
    name, when = "launchd", "it is started when you log in"
    advice = "Run this again in a terminal on this user's desktop."

    def places(self) -> list[Path]:
        return [Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"]

    def files(self, venv: Venv, *, sandboxed: bool) -> Mapping[Path, bytes]:
        agent = {
            "Label": LABEL,
            "ProgramArguments": [str(venv.program("deepdream")), "serve"],
            "EnvironmentVariables": dict(_environment()),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},  # after `deepdream stop` it stays ended
            "Umask": 0o077,
        }
        return dict.fromkeys(self.places(), plistlib.dumps(agent))

    def start(self, files: Sequence[Path]) -> Sequence[Command]:
        return [["launchctl", "bootstrap", self._domain, str(path)] for path in files]

    def stop(self) -> Sequence[Command]:
        return [["launchctl", "bootout", f"{self._domain}/{LABEL}"]]

    @property
    def _domain(self) -> str:
        return f"gui/{os.getuid()}"


# Windows

TASK = "Deep Dream daemon"
#: An element by its name: its text, or the elements in it.
Elements = Mapping[str, Union[str, "Elements"]]


class TaskScheduler(Manager):
    name, when = "the Task Scheduler", "it is started when you log in"
    advice = "Perhaps tasks of users are forbidden here; clients start the daemon all the same."

    def places(self) -> list[Path]:
        return [paths.data_dir() / "service.xml"]

    def files(self, venv: Venv, *, sandboxed: bool) -> Mapping[Path, bytes]:
        user = f"{os.environ.get('USERDOMAIN', '.')}\\{getpass.getuser()}"
        elements: Elements = {
            "RegistrationInfo": {"Description": f"Deep dreams for GIMP. {NOTE}"},
            # Of nobody's logins but one's own may one be told without being an administrator.
            "Triggers": {"LogonTrigger": {"UserId": user}},
            "Principals": {
                "Principal": {"UserId": user, "LogonType": "InteractiveToken", "RunLevel": "LeastPrivilege"}
            },
            "Settings": {
                "MultipleInstancesPolicy": "IgnoreNew",
                "DisallowStartIfOnBatteries": "false",
                "StopIfGoingOnBatteries": "false",
                "ExecutionTimeLimit": "PT0S",  # else it is ended after three days
                "Priority": "5",  # else it is slower than other programs
                "RestartOnFailure": {"Interval": "PT1M", "Count": "3"},
            },
            # python itself would have a window, open all the time.
            "Actions": {"Exec": {"Command": str(venv.program("pythonw")), "Arguments": "-m dreamd serve"}},
        }
        root = _element("Task", elements)
        root.attrib = {"version": "1.2", "xmlns": "http://schemas.microsoft.com/windows/2004/02/mit/task"}
        return dict.fromkeys(self.places(), ElementTree.tostring(root, encoding="utf-16"))  # it reads no other

    def start(self, files: Sequence[Path]) -> Sequence[Command]:
        return [
            *(["schtasks", "/Create", "/TN", TASK, "/XML", str(path), "/F"] for path in files),
            ["schtasks", "/Run", "/TN", TASK],
        ]

    def stop(self) -> Sequence[Command]:
        return [["schtasks", "/End", "/TN", TASK]]

    def forget(self) -> Sequence[Command]:
        return [*self.stop(), ["schtasks", "/Delete", "/TN", TASK, "/F"]]


def _element(name: str, content: str | Elements) -> ElementTree.Element:
    element = ElementTree.Element(name)
    if isinstance(content, str):
        element.text = content
    else:
        element.extend(_element(child, inside) for child, inside in content.items())
    return element


# All of them


def manager() -> Manager | None:
    """What starts programs for users on this system; None if it is nothing that we know."""
    if sys.platform == "darwin":
        return Launchd()
    if sys.platform == "win32":
        return TaskScheduler()
    return Systemd() if shutil.which("systemctl") else None


def is_installed() -> bool:
    found = manager()
    return found is not None and any(path.is_file() for path in found.places())


def listens() -> bool:
    """Whether there is a service that starts the daemon for a GIMP in a sandbox."""
    found = manager()
    return found is not None and any(path.is_file() for path in found.places() if path.stem == SANDBOX)


def put(venv: Venv, *, sandboxed: bool) -> str:
    """Makes the service, or makes it anew, and starts it; what was done. Raises `RefusedError`."""
    found = manager()
    if found is None:
        raise RefusedError(
            "There is no systemd here, the only manager of services on Linux that this installer knows. Clients"
            f" start the daemon all the same; or have `{venv.program('deepdream')} serve` run when you log in."
        )
    there = is_installed()
    files = found.files(venv, sandboxed=sandboxed)
    try:
        for path, content in files.items():
            gimps.write_record(made=plugin_folder.make_folder(path.parent))
            path.write_bytes(content)
        _try_all(found.stop())
        for command in found.start(list(files)):
            _tell(command)
    except (OSError, RefusedError) as error:
        if not there:
            for path in files:
                path.unlink(missing_ok=True)
        raise RefusedError(f"The daemon is no service of {found.name}. {error} {found.advice}") from error
    return f"The daemon is a service of {found.name} now: {found.when}."


def stop() -> None:
    """Has the service end, and stay ended until it is `put` again; does nothing where there is none."""
    found = manager()
    if found is not None and is_installed():
        _try_all(found.stop())


@contextlib.contextmanager
def forgotten() -> Iterator[list[Path]]:
    """Has the system forget the service; its files are to be removed inside."""
    found = manager()
    if found is None or not is_installed():
        yield []
        return
    _try_all(found.forget())
    yield [path for path in found.places() if path.is_file()]
    _try_all(found.reread())


def _environment() -> Iterator[tuple[str, str]]:
    return ((name, os.environ[name]) for name in VARIABLES if os.environ.get(name))


def _tell(command: Command) -> None:
    """Runs a command of the system's. Raises `RefusedError` with what it says."""
    line = " ".join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusedError(f"`{line}` cannot be run: {error}.") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:].rstrip(".")
        raise RefusedError(f"`{line}` says: {said or 'nothing'}.")


def _try_all(commands: Sequence[Command]) -> None:
    """Runs commands whatever comes of them: what they are to end may have ended."""
    for command in commands:
        with contextlib.suppress(RefusedError):
            _tell(command)

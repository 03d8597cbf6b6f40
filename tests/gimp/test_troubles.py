"""What windows say when there is no daemon that the plug-in may use, or no image any more; GIMP goes on."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fake_daemon import fake_daemon, of_protocol
from gimp_desk import AGAIN, DIALOG, DREAM, RUNNING, Desk
from real_gimp import wait_for

#: In the dialog of Dream...: the preview, and what is said beside its switch.
PICTURE, SAID = np.s_[150:430, 30:420], np.s_[440:480, 120:430]
#: Inside GIMP: what is selected, or on the clipboard, in whatever window.
CLIPBOARD = """
import gi
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gtk

Gtk.init([])

def clipboard(name):
    return Gtk.Clipboard.get(Gdk.Atom.intern(name, False)).wait_for_text()
"""


@pytest.fixture
def troubled(desk: Desk) -> Iterator[Desk]:
    """A GIMP whose clipboard can be read; no trouble is a fault of the plug-in's own."""
    desk.gimp.eval(CLIPBOARD)
    before = len(desk.gimp.words)
    yield desk
    assert "Traceback" not in desk.gimp.words[before:]


@contextlib.contextmanager
def surroundings(desk: Desk, **variables: str) -> Iterator[None]:
    """What plug-ins that start meanwhile find in their environment; the empty text takes a variable away."""
    folder = Path(desk.gimp.eval("import site; result = site.getusersitepackages()"))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "surroundings.pth"  # Python runs such a line when it starts
    given = {name: value for name, value in variables.items() if value}
    gone = [f"os.environ.pop({name!r}, None)" for name, value in variables.items() if not value]
    file.write_text("; ".join(["import os", f"os.environ.update({given!r})", *gone]))
    try:
        yield
    finally:
        file.unlink()


def drawn(desk: Desk, part: tuple[slice, slice]) -> bool:
    """Whether there is anything in a part of the dialog."""
    return bool(np.ptp(desk.screen("dialog", DIALOG)[part]) > 60)


def accept(desk: Desk, dialog: str) -> None:
    """OK, and the message that comes instead of a dream."""
    desk.gimp.press("alt+o", window=dialog)
    wait_for(lambda: desk.gimp.windows(DIALOG) not in ([], [dialog]), "a message")


def told(desk: Desk, name: str) -> str:
    """The message in the window that is there now, which three clicks select."""
    window = desk.gimp.window_of(DIALOG)
    desk.gimp.shot(name, window)

    def selected() -> str:
        desk.gimp.run("xdotool", "mousemove", "--window", window, "40", "20", *["click", "1"] * 3)
        return str(desk.ask("clipboard('PRIMARY')") or "")

    return str(wait_for(selected, "a message"))


def copied(desk: Desk) -> str:
    """What the window's button copies."""
    desk.gimp.press("alt+o", window=desk.gimp.window_of(DIALOG))
    return str(wait_for(lambda: desk.ask("clipboard('CLIPBOARD')"), "a command"))


def dismiss(desk: Desk) -> None:
    """Closes the message: the image is as before."""
    desk.gimp.press("Escape", window=desk.gimp.window_of(DIALOG))
    desk.gone(DIALOG)
    desk.gone(RUNNING)
    assert desk.shown == desk.before
    assert not desk.ask("image.is_dirty()")


def test_a_daemon_of_another_version_is_to_be_stopped(troubled: Desk) -> None:
    with (
        fake_daemon(troubled.gimp.folder, of_protocol(9)) as endpoint,
        surroundings(troubled, DEEPDREAM_ENDPOINT=endpoint),
    ):
        troubled.press(AGAIN)
        message = told(troubled, "another-version")
        assert "speaks version 9 of the protocol, gimp" in message
        assert "Install the same version of both, then run `deepdream stop`" in message
        assert copied(troubled) == f"deepdream stop --endpoint {endpoint}"
        dismiss(troubled)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used(troubled: Desk) -> None:
    theirs = troubled.gimp.folder / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 12345, 12345)
    with surroundings(troubled, DEEPDREAM_ENDPOINT="", DEEPDREAM_RUNTIME=str(theirs)):
        troubled.press(DREAM)
        dialog = troubled.gimp.window_of(DIALOG)
        wait_for(lambda: drawn(troubled, SAID), "a word beside the preview")
        troubled.gimp.shot("another-user-preview", dialog)
        accept(troubled, dialog)
        message = told(troubled, "another-user")
        assert f"{theirs} belongs to another user (12345), so it is not used: they could read" in message
        assert "name another folder (DEEPDREAM_RUNTIME" in message
        dismiss(troubled)


def test_a_gimp_in_a_sandbox_has_the_command_copied_that_starts_the_daemon(troubled: Desk) -> None:
    home = troubled.gimp.folder
    common = home / "snap" / "gimp" / "common"
    (common / "deep-dream").mkdir(parents=True)
    (common / "deep-dream" / "daemon-command").write_text("\n".join([sys.executable, "-m", "dreamd"]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    snap = {"SNAP_NAME": "gimp", "SNAP_USER_COMMON": str(common)}
    places = {"DEEPDREAM_ENDPOINT": endpoint, "DEEPDREAM_DATA": "", "DEEPDREAM_RUNTIME": ""}
    with surroundings(troubled, **snap, **places):
        troubled.press(AGAIN)
        message = told(troubled, "sandbox")
        assert "this GIMP may not start one, because it is a snap" in message
        command = copied(troubled)
        assert command == f"{sys.executable} -m dreamd serve --endpoint {endpoint}"
        dismiss(troubled)
        terminal = {
            name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "DEEPDREAM_"))
        }
        with subprocess.Popen(["sh", "-c", f"exec {command}"], env=terminal | {"HOME": str(home)}) as daemon:
            try:
                wait_for(lambda: list(common.glob("deep-dream/run/token-*")), "the daemon")
                troubled.press(AGAIN)
                troubled.dreaming()
                troubled.gone(RUNNING)
            finally:
                daemon.terminate()


def test_an_image_closed_behind_the_dialog_is_told_there_and_after_ok(troubled: Desk) -> None:
    troubled.press(DREAM)
    dialog = troubled.gimp.window_of(DIALOG)
    wait_for(lambda: drawn(troubled, PICTURE), "the preview")
    troubled.gimp.eval("close_picture()")
    wait_for(lambda: not troubled.jobs and not drawn(troubled, SAID), "the preview's end")
    troubled.gimp.click(200, 60, dialog)  # the second preset
    wait_for(lambda: drawn(troubled, SAID), "a word beside the preview")
    troubled.gimp.shot("closed-preset", dialog)
    accept(troubled, dialog)
    assert "was closed before it was dreamt. Open it again" in told(troubled, "closed-ok")
    troubled.gimp.press("Escape", window=troubled.gimp.window_of(DIALOG))
    troubled.gone(DIALOG)
    assert not troubled.jobs
    troubled.open()
    troubled.press(AGAIN)
    troubled.dreaming()
    troubled.gone(RUNNING)

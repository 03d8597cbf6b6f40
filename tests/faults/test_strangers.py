"""Other users of the machine get nothing: no connection, no file, no place that the daemon or a client would use.

What they may do is write where everybody may, and be there first: links, pipes and files that wait for us.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import strangers
from dreamd import weights
from dreamwire.client import Client
from dreamwire.errors import UnreachableError
from dreamwire.networks import find_network
from dreamwire.private import require_ours, secure_dir, secure_file
from real_daemon import Daemon
from strangers import NOBODY, as_root, open_to_all
from weights_server import ROW, Server, published, serve

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="users and modes of POSIX")

PRECIOUS = b"what I have written\n"


@pytest.fixture
def precious(short_path: Path) -> Iterator[Path]:
    """A file of the user's that must be afterwards what it was before."""
    file = short_path / "precious"
    file.write_bytes(PRECIOUS)
    file.chmod(0o644)
    yield file
    assert file.read_bytes() == PRECIOUS
    assert stat.S_IMODE(file.lstat().st_mode) == 0o644


@pytest.fixture
def careless() -> Iterator[None]:
    """A user who lets others read and write whatever is made."""
    mask = os.umask(0)
    yield
    os.umask(mask)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# What they can reach


LOOK = """
reached = []
for path in arguments:
    mode = json.loads(path)
    try:
        if mode[1] == "socket":
            socket.socket(socket.AF_UNIX).connect(mode[0])
        elif mode[1] == "folder":
            os.listdir(mode[0])
        else:
            open(mode[0], "rb").read()
    except OSError:
        continue
    reached.append(mode[0])
print(json.dumps(reached))
"""


def reached(folder: Path) -> set[str]:
    """Whatever is below a folder that somebody else can read or connect to, by its name there."""
    found = []
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        kind = "socket" if stat.S_ISSOCK(mode) else "folder" if stat.S_ISDIR(mode) else "file"
        found.append(json.dumps((str(path), kind)))
    assert found
    return {str(Path(path).relative_to(folder)) for path in json.loads(strangers.run(LOOK, *found))}


@as_root
@pytest.mark.usefixtures("careless")
def test_another_user_can_read_nothing_of_ours_however_careless_we_are(remote: Daemon, server: Server) -> None:
    serve(remote, published())
    picture = remote.folder / "in.png"
    assert remote.run("visualise", "--size", "32x32", "--layers", "blocks.1", "-o", str(picture)).returncode == 0
    assert remote.run("pull", ROW.name).returncode == 0
    assert remote.run("catalogue", str(picture), "-o", str(remote.folder / "sheet.png"), "--side", "32",
                      "--channels-of", "blocks.1", "--channels", "0").returncode == 0  # fmt: skip
    assert remote.run("presets", "--add", "Mine = dream --layers blocks.4").returncode == 0
    port = f"tcp://127.0.0.1:{free_port()}"
    assert remote.run("networks", "--endpoint", port).returncode == 0  # starts a second daemon, with a token
    try:
        remote.folder.chmod(0o755)
        ours = {path.name for path in remote.folder.rglob("*")}
        assert {"d.sock", "d.sock.lock", "daemon.log", "daemon.out", ROW.weights.file} <= ours
        assert any(name.startswith("token-") for name in ours)
        assert any(len(name) == 64 for name in ours)  # a thumbnail
        private = ("data", "logs", "config", "cache", "runtime")
        assert {path for path in reached(remote.folder) if path.split("/")[0] in private} == set()
        # Nor would they if all the folders were open: each file is closed by itself.
        for name in private:
            (remote.folder / name).chmod(0o755)
        assert {path for path in reached(remote.folder) if path.split("/")[0] in private} <= set(private)
    finally:
        remote.run("stop", "--endpoint", port)


@as_root
@pytest.mark.parametrize("prefer", ["pyzmq", "builtin"])
def test_another_user_can_not_connect_and_is_told_so(shared_daemon: Daemon, prefer: str) -> None:
    program = f"""
os.environ["DEEPDREAM_TRANSPORT"] = {prefer!r}
try:
    client.Client(arguments[0], start=False)
except client.UnreachableError as error:
    print(error)
"""
    assert "This user may not use the daemon" in strangers.run(program, shared_daemon.endpoint)


# Who waits for us in our place


IMPOSTOR = """
seen = []
with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
    router.linger = 1000
    router.bind(arguments[0])
    if arguments[0].startswith("ipc"):
        os.chmod(arguments[0].removeprefix("ipc://"), 0o777)
    print("ready", flush=True)
    while router.poll(20_000):
        who, *frames = router.recv_multipart()
        message = messages.decode(frames)
        print(message.type, getattr(message, "token", ""), flush=True)
        welcome = messages.Welcome(version=1, daemon="0.1.0", instance="x", capabilities=("dream",), limits={},
                                   request=message.request)
        router.send_multipart([who, *messages.encode(welcome)])
"""


@as_root
def test_who_takes_the_port_of_a_dead_daemon_gets_no_picture(
    place: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DEEPDREAM_ENDPOINT", endpoint)
    runtime = secure_dir(Path(place.environment["DEEPDREAM_RUNTIME"]))
    with strangers.running(IMPOSTOR, endpoint) as impostor:
        with pytest.raises(UnreachableError, match="cannot prove that it is your daemon"):
            Client(start=False)  # no token has ever been made
        (runtime / f"token-127.0.0.1-{endpoint.rpartition(':')[2]}").write_text("old\nproof\n")
        with pytest.raises(UnreachableError, match="cannot prove that it is your daemon"):
            Client(start=False)  # a daemon was killed and has left its token
        assert impostor.stdout is not None
        impostor.terminate()
        assert impostor.stdout.read().split("\n") == ["hello ", "hello old", ""]


@as_root
def test_a_port_that_somebody_else_has_taken_is_said_in_a_line(place: Daemon) -> None:
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    with strangers.running(IMPOSTOR, endpoint):
        done = place.run("serve", "--endpoint", endpoint)
    assert done.returncode == 1
    assert done.stderr.startswith(f"deepdream: The daemon cannot start. At {endpoint} nobody can listen (Address")
    assert len(done.stderr.splitlines()) == 1
    assert not list(Path(place.environment["DEEPDREAM_RUNTIME"]).glob("token-*[0-9]"))


@as_root
def test_a_socket_of_somebody_else_is_not_spoken_to(short_path: Path) -> None:
    short_path.chmod(0o1777)
    endpoint = f"ipc://{short_path / 'd.sock'}"
    with strangers.running(IMPOSTOR, endpoint) as impostor:
        with pytest.raises(UnreachableError, match=rf"belongs to another user \({NOBODY}\).*Nothing was sent"):
            Client(endpoint)
        impostor.terminate()
        assert impostor.stdout is not None
        assert impostor.stdout.read() == ""


def test_a_socket_that_anybody_could_replace_is_not_spoken_to(daemon: Daemon) -> None:
    daemon.folder.chmod(0o777)
    with pytest.raises(UnreachableError, match="may be written in by everybody"):
        daemon.client()
    daemon.folder.chmod(0o1777)
    daemon.client().close()


@as_root
@pytest.mark.parametrize("whose", ["theirs", "everybody's"])
def test_a_command_that_somebody_else_may_have_written_is_not_run(place: Daemon, whose: str) -> None:
    data = Path(place.environment["DEEPDREAM_DATA"])
    data.mkdir()
    program = place.folder / "program"
    program.write_text(f"#!/bin/sh\ntouch {place.folder}/was-run\n")
    program.chmod(0o755)
    (data / "daemon-command").write_text(f"{program}\n")
    if whose == "theirs":
        os.chown(data / "daemon-command", NOBODY, NOBODY)
    else:
        open_to_all(data)
    done = place.run("networks")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 2  # that a daemon is started, and why it is not
    assert "so it is not used" in done.stderr or "is not used, because" in done.stderr
    assert "install/install.py" in done.stderr
    assert not (place.folder / "was-run").exists()


# What waits for us in the place of our files


def link(place: Path, precious: Path) -> None:
    place.symlink_to(precious)


def second_name(place: Path, precious: Path) -> None:
    place.hardlink_to(precious)


def theirs(place: Path, precious: Path) -> None:
    place.write_text("theirs")
    os.chown(place, NOBODY, NOBODY)


def pipe(place: Path, precious: Path) -> None:
    os.mkfifo(place)


def folder(place: Path, precious: Path) -> None:
    place.mkdir()


def file(place: Path, precious: Path) -> None:
    place.write_bytes(PRECIOUS)


Trap = Callable[[Path, Path], None]


def unchanged(place: Path) -> tuple[object, ...]:
    found = place.lstat()
    return found.st_mode, found.st_uid, found.st_size, found.st_ino


@pytest.mark.parametrize("trap", [link, second_name, pipe, folder, file])
def test_a_socket_takes_the_place_of_nothing_but_a_dead_socket(place: Daemon, precious: Path, trap: Trap) -> None:
    secure_dir(place.socket.parent)
    trap(place.socket, precious)
    before = unchanged(place.socket)
    done = place.run("serve")
    assert done.returncode == 1
    assert f"{place.socket} is there already and is no socket, so it is left as it is." in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert unchanged(place.socket) == before


@as_root
@pytest.mark.parametrize("trap", [link, second_name, theirs, pipe])
def test_a_lock_that_may_be_held_by_somebody_else_is_refused(place: Daemon, precious: Path, trap: Trap) -> None:
    lock = secure_dir(place.socket.parent) / "d.sock.lock"
    trap(lock, precious)
    before = unchanged(lock)
    done = place.run("serve")
    assert done.returncode == 1
    assert f"{lock} " in done.stderr
    assert "somebody may have put it there. Remove it." in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert unchanged(lock) == before


@as_root
@pytest.mark.parametrize("trap", [link, second_name, theirs, pipe])
def test_a_log_is_written_nowhere_else_and_the_daemon_serves(place: Daemon, precious: Path, trap: Trap) -> None:
    log = secure_dir(place.folder / "logs") / "daemon.log"
    trap(log, precious)
    before = unchanged(log)
    place.start()
    assert unchanged(log) == before


@as_root
@pytest.mark.parametrize("trap", [link, second_name, theirs, pipe])
def test_the_words_of_a_daemon_that_is_started_go_nowhere_else_and_it_serves(
    place: Daemon, precious: Path, trap: Trap
) -> None:
    words = secure_dir(place.folder / "logs") / "daemon.out"
    trap(words, precious)
    before = unchanged(words)
    done = place.run("networks")
    assert done.returncode == 0, done.stderr
    assert unchanged(words) == before


def test_a_log_may_be_a_device_which_stays_as_it_is(place: Daemon) -> None:
    before = stat.S_IMODE(Path(os.devnull).stat().st_mode)
    place.options = ("--log", os.devnull)
    place.start()
    assert stat.S_IMODE(Path(os.devnull).stat().st_mode) == before


@as_root
@pytest.mark.parametrize("trap", [link, second_name, theirs, pipe, folder])
@pytest.mark.parametrize("suffix", [".lock", ".part"])
def test_a_pull_writes_to_no_file_that_was_put_there(
    remote: Daemon, precious: Path, suffix: str, trap: Trap
) -> None:
    serve(remote, published())
    there = secure_dir(remote.folder / "data" / "weights") / f"{ROW.weights.file}{suffix}"
    trap(there, precious)
    (there.parent / f"{ROW.weights.file}.part.tag").write_text('"tag"')  # as if a pull had been broken off
    done = remote.run("pull", ROW.name)
    target = remote.folder / "data" / "weights" / ROW.weights.file
    if done.returncode == 0:  # what was no file of ours was thrown away, and all of it was fetched
        assert target.read_bytes() == published()
        assert stat.S_IMODE(target.lstat().st_mode) == 0o600
        assert target.lstat().st_nlink == 1
        assert target.lstat().st_uid == os.getuid()
    else:
        assert str(there) in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not target.exists()


@as_root
@pytest.mark.parametrize("trap", [link, second_name, theirs, pipe])
def test_a_copy_of_weights_writes_to_no_file_that_was_put_there(
    tmp_path: Path, precious: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPDREAM_DATA", str(tmp_path / "data"))
    source = tmp_path / ROW.weights.file
    source.write_bytes(published())
    trap(secure_dir(tmp_path / "data" / "weights") / f"{ROW.weights.file}.new", precious)
    target = weights.adopt(find_network(ROW.name), source)
    assert target.read_bytes() == published()
    assert stat.S_IMODE(target.lstat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == [ROW.weights.file]


@pytest.mark.parametrize("trap", [link, second_name, pipe])
def test_a_file_that_is_refused_is_not_emptied_first(tmp_path: Path, precious: Path, trap: Trap) -> None:
    trap(tmp_path / "there", precious)
    with (
        pytest.raises(PermissionError, match="so it is not written"),
        open(tmp_path / "there", "w", opener=secure_file),
    ):
        pass


# Folders that are not safe, or lie where nothing is


def everybodys(short_path: Path) -> Path:
    """A folder in one that everybody may write in, without the sticky bit."""
    return open_to_all(short_path / "shared") / "ours"


def in_theirs(short_path: Path) -> Path:
    """A folder in one of somebody else's."""
    (short_path / "theirs").mkdir(mode=0o755)
    os.chown(short_path / "theirs", NOBODY, NOBODY)
    return short_path / "theirs" / "ours"


def theirs_already(short_path: Path) -> Path:
    """Not ours at all."""
    (short_path / "ours").mkdir(mode=0o700)
    os.chown(short_path / "ours", NOBODY, NOBODY)
    return short_path / "ours"


def by_a_link_of_theirs(short_path: Path) -> Path:
    """By way of a link that somebody else can lead elsewhere."""
    (short_path / "real").mkdir()
    (short_path / "link").symlink_to("real")
    os.lchown(short_path / "link", NOBODY, NOBODY)
    return short_path / "link" / "ours"


def by_a_link_through_everybodys(short_path: Path) -> Path:
    """By way of a link of ours to one that anybody can replace."""
    (short_path / "real").mkdir()
    (open_to_all(short_path / "shared") / "second").symlink_to(short_path / "real")
    (short_path / "first").symlink_to(short_path / "shared" / "second")
    return short_path / "first" / "ours"


def a_link(short_path: Path) -> Path:
    (short_path / "real").mkdir()
    (short_path / "link").symlink_to(short_path / "real")
    return short_path / "link"


UNSAFE = [everybodys, in_theirs, theirs_already, by_a_link_of_theirs, by_a_link_through_everybodys, a_link]


@as_root
@pytest.mark.parametrize("unsafe", UNSAFE)
def test_a_folder_that_is_not_safe_is_used_for_nothing(
    place: Daemon, server: Server, unsafe: Callable[[Path], Path]
) -> None:
    """Neither for the socket, by daemon and client, nor for the token, nor for weights."""
    ours = unsafe(place.folder)
    before = set(place.folder.rglob("*"))
    runtime = {"DEEPDREAM_RUNTIME": str(ours), "DEEPDREAM_ENDPOINT": ""}
    (place.folder / "served" / ROW.weights.file).write_bytes(published())
    shadow = place.folder / "shadow"
    (shadow / ROW.weights.package).mkdir(parents=True)
    (shadow / ROW.weights.package / "__init__.py").touch()
    data = {"DEEPDREAM_DATA": str(ours / "data"), "PYTHONPATH": str(shadow)}
    for line, environment in (
        ("serve", runtime),
        ("status", runtime),
        (f"serve --endpoint ipc://{ours}/d.sock", {}),
        (f"serve --endpoint tcp://127.0.0.1:{free_port()}", runtime),
        # Above the weights a link of the user's own is safe.
        *([(f"pull {ROW.name} --weights {place.folder / 'served'}", data)] * (unsafe is not a_link)),
    ):
        done = place.run(*line.split(), **environment)
        assert done.returncode in (1, 3), line
        assert len(done.stderr.splitlines()) == 1, line
        assert "so it is not used" in done.stderr or "is not used, because" in done.stderr, done.stderr
        assert "name another folder" in done.stderr, line
    made = {path for path in place.folder.rglob("*") if not path.is_relative_to(shadow)} - before
    assert made == {place.folder / "served" / ROW.weights.file}


def test_a_sticky_folder_and_links_of_our_own_are_safe(short_path: Path) -> None:
    open_to_all(short_path / "tmp").chmod(0o1777)
    (short_path / "link").symlink_to("tmp")
    assert secure_dir(short_path / "link" / "a" / "b").is_dir()
    modes = [
        stat.S_IMODE(path.stat().st_mode) for path in (short_path / "tmp" / "a", short_path / "tmp" / "a" / "b")
    ]
    assert modes == [0o700, 0o700]


def test_links_in_a_circle_are_no_folder(short_path: Path) -> None:
    (short_path / "one").symlink_to("other")
    (short_path / "other").symlink_to("one")
    with pytest.raises(PermissionError, match="cannot be made: Too many levels of symbolic links"):
        secure_dir(short_path / "one" / "ours")


@as_root
@pytest.mark.skipif(sys.platform != "linux", reason="namespaces of users are Linux's")
def test_in_a_sandbox_the_systems_own_folders_are_nobodys_and_safe(short_path: Path) -> None:
    """As in a flatpak or a rootless container, where root is not shown."""
    short_path.chmod(0o755)
    (short_path / "theirs").mkdir()
    os.chown(short_path / "theirs", NOBODY, NOBODY)
    program = """
from dreamwire.private import secure_dir
libc = ctypes.CDLL(None, use_errno=True)
NEWUSER, SET_DUMPABLE = 0x10000000, 4
libc.prctl(SET_DUMPABLE, 1, 0, 0, 0)
if libc.unshare(NEWUSER):
    print("no:", os.strerror(ctypes.get_errno()))
    sys.exit()
Path("/proc/self/uid_map").write_text(f"1000 {arguments[1]} 1")
print(os.getuid(), os.stat("/").st_uid, secure_dir(Path(arguments[0]) / "ours"))
"""
    said = strangers.run(program, short_path / "theirs", NOBODY)
    if said.startswith("no:"):
        pytest.skip(f"this system lets users make no namespaces: {said[4:].strip()}")
    assert said.split() == ["1000", str(NOBODY), str(short_path / "theirs" / "ours")]


# Races


SWAP = """
place, precious = arguments
print("ready", flush=True)
while True:
    for make in (lambda: os.symlink(precious, place), lambda: os.mkdir(place, 0o777)):
        try:
            make()
        except OSError:
            pass
        for away in (os.rmdir, os.unlink):
            try:
                away(place)
            except OSError:
                pass
"""


def rounds(outcomes: dict[str, int]) -> Iterator[int]:
    """As many as it takes until there has been each outcome, and not few."""
    deadline = time.monotonic() + 120
    for number in itertools.count():
        if number >= 1000 and all(outcomes.values()):
            return
        assert time.monotonic() < deadline, outcomes
        yield number


@as_root
def test_who_is_quick_with_links_and_folders_can_lead_us_nowhere(short_path: Path) -> None:
    """Either the folder is ours and private, or it is refused; what the links lead to stays as it is."""
    precious = short_path / "precious"
    precious.mkdir(mode=0o755)
    shared = open_to_all(short_path / "shared")
    shared.chmod(0o1777)
    short_path.chmod(0o755)
    place = shared / "ours"
    outcomes = {"ours": 0, "refused": 0}
    with strangers.running(SWAP, place, precious):
        for _ in rounds(outcomes):
            try:
                secure_dir(place)
            except PermissionError:
                outcomes["refused"] += 1
            else:
                found = place.lstat()
                assert stat.S_ISDIR(found.st_mode)
                assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.getuid(), 0o700)
                outcomes["ours"] += 1
                place.rmdir()
    assert stat.S_IMODE(precious.lstat().st_mode) == 0o755
    assert list(precious.iterdir()) == []


PLANT = """
place, precious = arguments
print("ready", flush=True)
while True:
    try:
        os.symlink(precious, place)
        os.unlink(place)
    except OSError:
        pass
"""


@as_root
def test_who_is_quick_with_links_can_have_us_write_nowhere(short_path: Path) -> None:
    """A log in /tmp, say: it is written to our own file, or not at all."""
    precious = short_path / "precious"
    precious.write_bytes(PRECIOUS)
    precious.chmod(0o666)
    shared = open_to_all(short_path / "shared")
    shared.chmod(0o1777)
    short_path.chmod(0o755)
    log = shared / "daemon.log"
    outcomes = {"ours": 0, "refused": 0}
    with strangers.running(PLANT, log, precious):
        for _ in rounds(outcomes):
            try:
                with open(log, "w", opener=secure_file) as stream:
                    stream.write("ours")
            except PermissionError:
                outcomes["refused"] += 1
            else:
                outcomes["ours"] += 1
                assert log.lstat().st_uid == os.getuid()
                log.unlink()
    assert precious.read_bytes() == PRECIOUS


def test_what_is_ours_or_roots_is_trusted_and_nothing_else(short_path: Path) -> None:
    ours = short_path / "ours"
    ours.touch(mode=0o644)
    require_ours(ours)
    ours.chmod(0o666)
    with pytest.raises(PermissionError, match=r"Everybody may write .*/ours"):
        require_ours(ours)
    with pytest.raises(FileNotFoundError):
        require_ours(short_path / "nothing")

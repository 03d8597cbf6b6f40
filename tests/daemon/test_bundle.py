"""`deepdream doctor --bundle` gives away what helps, and no picture, no name of a file or home, and no key."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from pathlib import Path

import pytest

from dreamd.redact import redact, redacted
from dreamwire.client import Client, Image
from dreamwire.errors import DreamError
from real_daemon import Daemon

#: What must not be in a bundle, wherever it was: names, keys, and a picture that is nothing else.
NAMES = ("Geheim", "Zoë", "zoe", "Hochzeit", "Scheidung", "Oma", "Urlaub", "Affaire", "vertraulich")
KEYS = ("hf_AbCdEfGhIjKlMnOpQrStUv", "hunter2-hunter2", "s3cr3t-api-k3y", "swordfish", "eyJhbGciOi.JIUzI1")
PICTURE = b"PIXELS-OF-MINE-!" * 768


def everything(bundle: bytes) -> dict[str, bytes]:
    """The zip as it is, the names in it, and what is in each."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as file:
        assert file.testzip() is None
        members = {name: file.read(name) for name in file.namelist()}
    return members | {"the zip": bundle, "names": " ".join(members).encode()}


@pytest.fixture
def home(short_path: Path) -> Daemon:
    """A daemon in the home of somebody who has something to hide, and has not been careful."""
    folder = short_path / "Zoë Geheim"
    folder.mkdir()
    daemon = Daemon(folder)
    daemon.environment |= {
        "HOME": str(folder),
        "HF_TOKEN": KEYS[0],
        "DEEPDREAM_TOKEN": KEYS[1],
        "MY_API_KEY": KEYS[2],
        "DEEPDREAM_WEIGHTS_URL": f"https://mirror.example/?sig={KEYS[3]}",
        "HTTPS_PROXY": f"http://zoe:{KEYS[3]}@proxy.example:3128",
        "XDG_CONFIG_HOME": "",
        "GIMP3_DIRECTORY": str(folder / "Affaire"),
    }
    return daemon


def plant(daemon: Daemon, client: Client) -> None:
    """Leaves secrets in every place where the daemon could meet them."""
    image = Image(PICTURE, (64, 64, 3), "uint8")
    list(client.submit("dream", {"layers": "blocks.1", "octaves": 1, "steps": 1}, image=image))
    for params in ({"layers": f"{daemon.folder}/Hochzeit mit Oma.png"}, {"network": "Scheidung.jpg"}):
        with pytest.raises(DreamError):
            client.submit("dream", params, image=image)
    with pytest.raises(DreamError):
        list(client.pull("googlenet"))
    token = "0123456789abcdef" * 4
    lines = f"""
2026-01-01 12:00:00,123 4711 dreamd.server ERROR a fault of the daemon
Traceback (most recent call last):
  File "{Path(__file__).parents[2]}/daemon/dreamd/server.py", line 160, in _guard
  File "/home/user/Scheidung/plan.py", line 1, in f
PermissionError: [Errno 13] Permission denied: '{daemon.folder}/Bilder/Hochzeit & Oma.jpg'
/media/zoe/Urlaub mit Oma/Scheidung eins.tif cannot be read; nor D:\\Zoë\\Affaire.png
a token {token}, and Authorization: Bearer {KEYS[4]} to https://zoe:{KEYS[3]}@mirror.example/vertraulich?k={KEYS[3]}
"""
    for name in ("daemon.log.1", "daemon.out"):
        (daemon.folder / "logs" / name).write_text(lines)
    with (daemon.folder / "logs" / "daemon.log").open("a") as log:
        log.write(lines)
    (daemon.folder / "data" / "install.log").write_text(lines)
    config = daemon.folder / "config"
    config.mkdir()
    (config / "gimp.json").write_text(
        json.dumps({"dream": {"params": {"layers": "/home/user/Affaire"}, "mask": "off"}})
    )
    (config / "presets.txt").write_text("Urlaub mit Oma = dream --layers blocks.4\n")
    run = daemon.folder / "data" / "run"
    run.mkdir(parents=True)
    (run / "token-127.0.0.1-47615").write_text(f"{token}\n")
    plugin = daemon.folder / "Affaire" / "plug-ins" / "deep-dream"
    plugin.mkdir(parents=True)


def test_nothing_secret_is_in_a_bundle_wherever_it_was_planted(home: Daemon) -> None:
    try:
        with home.start().client() as client:
            plant(home, client)
        done = home.run("doctor", "--bundle", "Scheidung.zip")
        assert done.returncode == 1  # the plug-in that was planted is none
        file = home.folder / "Scheidung.zip"
        assert str(file) in done.stderr
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        found = everything(file.read_bytes())
    finally:
        home.end()
    secrets = [
        *(name.encode() for name in (*NAMES, *KEYS)),
        "Zoë".encode("latin-1"),
        b"0123456789abcdef",
        PICTURE[:32],
    ]
    secrets += [json.dumps("Zoë").strip('"').encode()]
    for name, content in found.items():
        for secret in secrets:
            assert secret not in content, f"{secret!r} is in {name}"


def test_what_helps_is_in_a_bundle(home: Daemon) -> None:
    try:
        with home.start().client() as client:
            plant(home, client)
        home.run("doctor", "--bundle", "it.zip")
        found = everything((home.folder / "it.zip").read_bytes())
    finally:
        home.end()
    assert {"README.txt", "doctor.txt", "versions.json", "settings.json", "status.json", "networks.json"} <= set(
        found
    )
    log = found["logs/daemon.log"].decode()
    assert 'File "<deepdream>/dreamd/server.py", line 160, in _guard' in log
    assert "PermissionError: [Errno 13] Permission denied: '<file>'" in log
    assert "dream from test" in log
    assert {"logs/daemon.log.1", "logs/daemon.out", "logs/install.log"} <= set(found)
    status = json.loads(found["status.json"])
    assert status["refusals"] == {"bad_params": 1, "unknown_network": 1}
    assert status["counts"]["done"] == 2  # one of them the doctor's
    settings = status["settings"]
    assert settings["device"] == "auto"
    assert settings["preload"] == "efficientnet_lite0"
    assert settings["limits"]["megapixels"] == 128
    assert status["log"] == "<logs>/daemon.log"
    versions = json.loads(found["versions.json"])
    assert versions["packages"]["torch"].startswith("2.")
    assert versions["deepdream"] == "0.1.0"
    settings = json.loads(found["settings.json"])["environment"]
    assert (settings["HTTPS_PROXY"], settings["DEEPDREAM_TOKEN"]) == ("set", "<key>")
    assert settings["DEEPDREAM_WEIGHTS_URL"] == "<address at mirror.example>"
    assert any(row["name"] == "googlenet" and not row["here"] for row in json.loads(found["networks.json"]))
    assert "daemon" in found["doctor.txt"].decode()


def test_a_bundle_is_written_when_no_daemon_can_be_had(place: Daemon) -> None:
    done = place.run("doctor", "--bundle", "it.zip", DEEPDREAM_ENDPOINT="nonsense")
    assert done.returncode == 1
    found = everything((place.folder / "it.zip").read_bytes())
    assert "The endpoint is 'nonsense', but must be" in json.loads(found["status.json"])["error"]
    assert not any(name.startswith("logs/") for name in found)


def test_of_a_long_log_the_end_is_taken(place: Daemon) -> None:
    logs = place.folder / "logs"
    logs.mkdir()
    (logs / "daemon.log").write_text("".join(f"line {number}\n" for number in range(300_000)))
    place.run("doctor", "--bundle", "it.zip", DEEPDREAM_ENDPOINT="nonsense")
    log = everything((place.folder / "it.zip").read_bytes())["logs/daemon.log"].decode()
    assert log.endswith("line 299999\n")
    assert len(log) == 1 << 20


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/user/cat.png cannot be read", "<file> cannot be read"),
        ("/home/user/My cat.png cannot be read", "<file> cannot be read"),
        ("/home/user/Zoe's cats/two.png cannot be read", "<file> cannot be read"),
        ("'/home/user/My \"cat\"' is gone", "'<file>' is gone"),
        ('cat.PNG and "Oma\'s cat.jpeg"', '<file> and "<file>"'),
        ("~/x, ~zoe/y", "<file>"),
        (r"D:\Zoe\My cat.png", "<file>"),
        (r"'D:\\Zoe\\cat'", "'<file>'"),
        (r"\\server\share\cat", "<file>"),
        ("ipc:///run/user/1000/x.sock, version 1", "ipc:<file>, version 1"),
        ("file:///home/user/x", "file:<file>"),
        ("tcp://127.0.0.1:47615 is free", "tcp://127.0.0.1:47615 is free"),
        ("Run `python3 install/install.py` again", "Run `python3 install/install.py` again"),
        ("Run `chmod 700 /home/user/x`, or", "Run `chmod 700 <file>`, or"),
        ("12 MB/s, 2/3 of 4, and/or", "12 MB/s, 2/3 of 4, and/or"),
        ("layers is 'blocks.99'", "layers is 'blocks.99'"),
        ("https://zoe:x@example.org:8080/a?b=c, see", "<address at example.org:8080> see"),
        ("a1b2c3d4" * 4, "<key>"),
        ("job 7f0c5a0e-1d2b-4c3d-8e4f-5a6b7c8d9e0f: done", "job 7f0c5a0e-1d2b-4c3d-8e4f-5a6b7c8d9e0f: done"),
        ("password=geheim&x", "password=<key>&x"),
        ("ghp_0123456789abcdefgh", "<key>"),
        ("/pytorch/aten/src/x.cpp:12", "<torch>/aten/src/x.cpp:12"),
    ],
)
def test_text_is_redacted(text: str, left: str) -> None:
    assert redact(text) == left


def test_data_is_redacted_all_through() -> None:
    data = {"a": ["/home/user/x", 3, None], "token": "abc", "keys": 4, "b": {"c": ("~/x",)}}
    assert redacted(data) == {"a": ["<file>", 3, None], "token": "<key>", "keys": 4, "b": {"c": ["<file>"]}}

"""Keys are made, told, allowed and revoked; the secret half is nobody else's, and damage is said."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from dreamd import keys
from dreamd.cli import main
from dreamwire.errors import DreamError


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "config"
    monkeypatch.setenv("DEEPDREAM_CONFIG", str(folder))
    return folder


def test_a_key_is_made_once_and_is_ours_alone(config: Path) -> None:
    with pytest.raises(DreamError, match="deepdream keys new"):
        keys.own()
    made = keys.make()
    assert keys.own() == made
    assert len(made.public) == len(made.secret) == 32
    file = config / "keys" / "own"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with pytest.raises(DreamError, match="has a key already") as refused:
        keys.make()
    assert made.secret.hex() not in str(refused.value)
    assert keys.own() == made
    assert keys.make(anew=True) != made
    file.write_text("no key")
    with pytest.raises(DreamError, match="holds no key"):
        keys.own()


def test_clients_and_daemons_are_told_apart_and_revoked() -> None:
    client, daemon = "a1" * 32, "b2" * 32
    keys.allow(client.upper(), "laptop")
    keys.allow(daemon, "tcp://studio:47616")
    assert keys.clients() == {client: "laptop"}
    assert keys.key_of("tcp://studio:47616") == bytes.fromhex(daemon)
    with pytest.raises(DreamError, match="is not known here"):
        keys.key_of("tcp://studio:47617")
    keys.allow(daemon, "studio")  # the same computer calls, too
    assert set(keys.clients().values()) == {"laptop", "studio"}
    assert [each.name for each in keys.revoke("laptop")] == ["laptop"]
    assert keys.clients() == {daemon: "studio"}
    assert len(keys.revoke(daemon.upper())) == 2
    assert keys.known() == []
    with pytest.raises(DreamError, match="No key and no name"):
        keys.revoke("laptop")


def test_a_name_keeps_its_key_until_that_is_revoked() -> None:
    keys.allow("a1" * 32, "tcp://studio:47616")
    with pytest.raises(DreamError, match="has another key already"):
        keys.allow("b2" * 32, "tcp://studio:47616")
    assert keys.key_of("tcp://studio:47616") == bytes.fromhex("a1" * 32)
    keys.revoke("tcp://studio:47616")
    keys.allow("b2" * 32, "tcp://studio:47616")


@pytest.mark.parametrize("key", ["", "a1", "g1" * 32, "a1" * 33, " " + "a1" * 32])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(DreamError, match="64 characters"):
        keys.allow(key, "laptop")
    assert keys.known() == []


@pytest.mark.parametrize("name", ["", " ", "x" * 41, "two\nlines"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(DreamError, match="letters"):
        keys.allow("a1" * 32, name)


def test_lines_that_are_none_are_passed_over(config: Path) -> None:
    keys.allow("a1" * 32, "laptop")
    file = config / "keys" / "known"
    file.write_bytes(b"# mine\n\xff\xfe\n" + file.read_bytes() + b"b2b2 short\n" + b"c3" * 32 + b"\n")
    assert [each.name for each in keys.known()] == ["laptop"]


def test_the_command_line_does_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    def told(*arguments: str) -> object:
        assert main(["--json", "keys", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    assert told() == {"own": "", "clients": [], "daemons": []}
    made = told("new")
    assert told("list") == {**made, "clients": [], "daemons": []}  # type: ignore[dict-item]
    told("allow", "a1" * 32, "--name", "laptop")
    told("allow", "b2" * 32, "--at", "tcp://studio:47616")
    assert told() == {
        **made,  # type: ignore[dict-item]
        "clients": [{"key": "a1" * 32, "name": "laptop"}],
        "daemons": [{"key": "b2" * 32, "name": "tcp://studio:47616"}],
    }
    told("revoke", "laptop")
    assert main(["keys", "allow", "a1" * 32]) == 2
    assert "--name NAME for a client" in capsys.readouterr().err
    assert main(["keys", "allow", "a1" * 32, "--at", "ipc:///x"]) == 2
    assert main(["keys"]) == 0
    assert "b2" * 32 in capsys.readouterr().out

"""Keys by which daemons and clients on different machines know each other, as CURVE has them (curvezmq.org).

A user has one pair on each machine, for the daemon that is served there and for the clients that call from there.
Of others only the public halves are known: those of clients that may call, each by a name, and those of daemons
that are called, each by its endpoint. Keys are written in hex, which shells leave alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils import z85

from dreamwire import paths
from dreamwire.errors import DreamError
from dreamwire.private import secure_dir, secure_file

#: Characters of a name.
LONGEST = 40
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Known:
    """The public key of somebody else: a client's, with its name, or a daemon's, with its endpoint."""

    key: str
    name: str

    @property
    def is_daemon(self) -> bool:
        return "://" in self.name


@dataclass(frozen=True)
class Pair:
    """Our own key, in halves of 32 bytes."""

    public: bytes
    secret: bytes


def folder() -> Path:
    """Where keys are kept: `own`, the secret half of ours, and `known`, a line for each key of others."""
    return paths.config_dir() / "keys"


def make(*, anew: bool = False) -> Pair:
    """A key of our own, written with mode 0600. Raises `DreamError` conflict if there is one, unless `anew`."""
    if (folder() / "own").exists() and not anew:
        raise DreamError(
            "conflict",
            f"This computer has a key already, {own().public.hex()}. Who knows it would have to be told another"
            " one; `deepdream keys new --anew` makes it all the same.",
        )
    public, secret = (z85.decode(half) for half in zmq.curve_keypair())
    _write("own", secret.hex() + "\n")
    return Pair(public, secret)


def own() -> Pair:
    """Our own key. Raises `DreamError` unauthorized if there is none, or if it is damaged."""
    file = folder() / "own"
    try:
        written = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        error = DreamError(
            "unauthorized",
            "This computer has no key yet, by which others could know it. Make one: `deepdream keys new`.",
        )
        error.command = "deepdream keys new"
        raise error from None
    except ValueError:
        written = ""
    if not _KEY.fullmatch(written):
        raise DreamError("unauthorized", f"{file} holds no key. Make another one: `deepdream keys new --anew`.")
    secret = bytes.fromhex(written)
    return Pair(z85.decode(zmq.curve_public(z85.encode(secret))), secret)


def known() -> list[Known]:
    """The keys of others; lines that are none are passed over."""
    try:
        lines = (folder() / "known").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    parts = (line.strip().partition(" ") for line in lines)
    return [Known(key, name.strip()) for key, _, name in parts if _KEY.fullmatch(key) and name.strip()]


def clients() -> dict[str, str]:
    """The names of those who may call our daemon, by their keys."""
    return {each.key: each.name for each in known() if not each.is_daemon}


def key_of(endpoint: str) -> bytes:
    """The key of the daemon at an endpoint. Raises `DreamError` unauthorized if it is not known."""
    for each in known():
        if each.name == endpoint:
            return bytes.fromhex(each.key)
    raise DreamError(
        "unauthorized",
        f"The key of the daemon at {endpoint} is not known here. On the computer where it runs,"
        f" `deepdream keys list` tells it; then type here `deepdream keys allow KEY --at {endpoint}`.",
    )


def allow(key: str, name: str) -> Known:
    """Knows a key from now on, by a name or an endpoint that no other one has. Raises `DreamError` bad_params."""
    key, name = key.lower(), name.strip()
    if not _KEY.fullmatch(key):
        raise DreamError(
            "bad_params",
            f"{key!r:.80} is no key: one has 64 characters, 0 to 9 and a to f, as `deepdream keys list` tells it.",
        )
    if not name.isprintable() or not 0 < len(name) <= (LONGEST if "://" not in name else 200):
        raise DreamError("bad_params", f"A name has 1 to {LONGEST} letters, such as --name laptop.")
    for each in known():
        if each.name == name and each.key != key:
            raise DreamError(
                "bad_params",
                f"{name} has another key already. If it is to have this one, type `deepdream keys revoke {name}`"
                " first; if nobody has told you of another one, ask why it is not the same.",
            )
    # The same key may be a client's and that of a daemon, or of a daemon in several places.
    others = [each for each in known() if each.key != key or each.is_daemon != ("://" in name)]
    others = [each for each in others if each.name != name]
    added = Known(key, name)
    _keep([*others, added])
    return added


def revoke(what: str) -> list[Known]:
    """Knows a key, all of a name, or that of an endpoint no more. Raises `DreamError` bad_params for none such."""
    gone = [each for each in known() if what.lower() == each.key or what == each.name]
    if not gone:
        raise DreamError("bad_params", f"No key and no name is {what!r:.80}. `deepdream keys list` shows them.")
    _keep([each for each in known() if each not in gone])
    return gone


def _keep(others: list[Known]) -> None:
    _write("known", "".join(f"{each.key} {each.name}\n" for each in others))


def _write(name: str, text: str) -> None:
    """Writes a file that only this user can read: after a crash there is the old one or the new one."""
    secure_dir(folder())
    file = folder() / name
    copy = file.with_name(f"{name}.{os.getpid()}.new")
    try:
        with open(copy, "w", encoding="utf-8", opener=secure_file) as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        copy.replace(file)
    finally:
        copy.unlink(missing_ok=True)

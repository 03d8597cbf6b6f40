"""The docs say what the code does: tables are current, the client and the bytes shown work, links lead on."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import zmq

from dreamwire.messages import MESSAGES, Accepted, Ack, Done, JobIs, Message, Submit, Welcome, decode, encode
from dreamwire.params import JOBS, markdown
from real_daemon import Daemon

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _generator()


@pytest.mark.parametrize("name", ["parameters.md", "protocol.md"])
def test_generated_parts_are_current(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert GENERATOR.render(text) == text, f"run `{GENERATOR.COMMAND}`"


def test_every_generated_part_is_shown() -> None:
    shown = [name for path in DOCS.glob("*.md") for _, name, _ in GENERATOR.PART.findall(path.read_text("utf-8"))]
    assert sorted(GENERATOR.PARTS) == sorted(shown)


@pytest.mark.parametrize("kind", JOBS)
def test_every_parameter_is_in_the_docs(kind: str) -> None:
    assert markdown(kind) in (DOCS / "parameters.md").read_text(encoding="utf-8")


def test_every_message_is_in_the_docs() -> None:
    assert all(f"### `{name}`\n" in PROTOCOL for name in MESSAGES)


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif "://" not in target:
            assert (path.parent / target.partition("#")[0]).exists(), target


def test_the_client_shown_works(shared_daemon: Daemon, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", PROTOCOL, re.DOTALL)
    assert code
    assert "dreamwire" not in code[1]
    result = subprocess.run(
        [sys.executable, "-c", code[1], shared_daemon.endpoint],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.stderr == ""
    assert "32x48 pixels that belong at 32, 0" in result.stdout
    header = b"P6 32 48 255\n"
    picture = (tmp_path / "dream.ppm").read_bytes()
    assert picture.startswith(header)
    assert len(picture) == len(header) + 32 * 48 * 3


def _frames(dump: str) -> list[bytes]:
    """The frames of a message from what the docs show of it."""
    frames: list[bytes] = []
    for line in dump.splitlines():
        if line.startswith("frame"):
            frames.append(b"")
        else:
            frames[-1] += bytes.fromhex(line[4:52])
    return frames


SHOWN = {name: _frames(dump) for name, dump in re.findall(r"^`(\w+)`:\n\n```\n(.*?)\n```", PROTOCOL, re.M | re.S)}


@pytest.fixture
def connection(shared_daemon: Daemon) -> Iterator[zmq.Socket[bytes]]:
    """A bare connection, with nothing of ours."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.rcvtimeo = 30_000
        socket.connect(shared_daemon.endpoint)
        yield socket


def test_the_bytes_shown_work(connection: zmq.Socket[bytes]) -> None:
    def until(kind: type[Message]) -> Message:
        while not isinstance(message := decode(connection.recv_multipart()), kind):
            pass
        return message

    assert list(SHOWN) == ["hello", "submit", "done"]
    submit, shown = decode(SHOWN["submit"]), decode(SHOWN["done"])
    assert isinstance(submit, Submit)
    assert isinstance(shown, Done)

    connection.send_multipart(SHOWN["hello"])
    assert until(Welcome).request == 1
    connection.send_multipart(SHOWN["submit"])
    assert until(Accepted).request == 2
    done = until(Done)
    assert isinstance(done, Done)
    assert (shown.job, shown.box, shown.outputs) == (done.job, done.box, done.outputs)
    assert shown.params.items() <= done.params.items()
    assert len(shown.frames[0]) == len(done.frames[0])
    connection.send_multipart(encode(Ack(request=3, job=done.job)))  # the daemon is shared
    until(JobIs)

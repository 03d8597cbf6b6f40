"""Data runs nothing: no file of weights, no message; and no module of ours can have it run.

The bombs below are real: what would happen if they were unpickled is shown first.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dreamd import models, weights
from dreamwire.client import Image
from dreamwire.errors import DreamError
from dreamwire.networks import NETWORKS, Network, Weights, row_file, write_row
from real_daemon import Daemon
from weights_server import ROW, serve

ROOT = Path(__file__).resolve().parents[2]
LITE0 = NETWORKS["efficientnet_lite0"]
has_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is an optional extra")


# Bombs


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


def published() -> dict[str, Any]:
    path = weights.locate(LITE0)
    assert path is not None
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def alone(mark: Path, path: Path) -> None:
    torch.save(Bomb(mark), path)


def among_weights(mark: Path, path: Path) -> None:
    torch.save(published() | {"bomb": Bomb(mark)}, path)


def in_torchs_old_format(mark: Path, path: Path) -> None:
    torch.save({"_fc.bias": Bomb(mark)}, path, _use_new_zipfile_serialization=False)


def as_a_bare_pickle(mark: Path, path: Path) -> None:
    path.write_bytes(pickle.dumps({"_fc.bias": Bomb(mark)}))


def in_an_archive_put_together_by_hand(mark: Path, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(mark), protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


BOMBS: Mapping[str, Callable[[Path, Path], None]] = {
    bomb.__name__.replace("_", " "): bomb
    for bomb in (
        alone, among_weights, in_torchs_old_format, as_a_bare_pickle, in_an_archive_put_together_by_hand,
    )
}  # fmt: skip


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """What a bomb would leave; it has not when the test has ended."""
    mark = tmp_path / "it has run"
    yield mark
    assert not mark.exists()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data of the test's own; the folder of weights in it."""
    monkeypatch.setenv("DEEPDREAM_DATA", str(tmp_path / "data"))
    folder = weights.weights_dir()
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("bomb", BOMBS)
def test_the_bombs_are_live(bomb: str, tmp_path: Path) -> None:
    file = tmp_path / "bomb.pth"
    BOMBS[bomb](tmp_path / "it has run", file)
    code = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"
    subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, check=False)
    assert (tmp_path / "it has run").exists()


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_weights_runs_nothing_and_is_refused(bomb: str, suffix: str, mark: Path, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    BOMBS[bomb](mark, file)
    with pytest.raises(DreamError, match=r"could not be read as the weights of EfficientNet-Lite0") as caught:
        models.load(LITE0, file, torch.device("cpu"), torch.float32)
    assert caught.value.code == "checksum"


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_in_the_place_of_weights_is_not_even_opened(
    bomb: str, mark: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BOMBS[bomb](mark, home / ROW.weights.file)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(DreamError, match=r"It was not opened\. Delete it, and get it anew") as caught:
        weights.require(ROW)
    assert caught.value.code == "checksum"


def test_a_daemon_refuses_a_file_in_the_place_of_weights(place: Daemon, mark: Path) -> None:
    folder = Path(place.environment["DEEPDREAM_DATA"]) / "weights"
    folder.mkdir(parents=True)
    among_weights(mark, folder / ROW.weights.file)
    place.options = ("--preload", ROW.name)
    with place.start().client() as client:
        with pytest.raises(DreamError, match="It was not opened") as caught:
            list(client.submit("dream", {"network": ROW.name}, image=Image(bytes(3), (1, 1, 3), "uint8")))
        assert caught.value.code == "checksum"
        assert client.status()["workers"][0]["starts"] == 1


def test_a_file_that_was_carried_here_is_not_taken(place: Daemon, mark: Path, tmp_path: Path) -> None:
    among_weights(mark, tmp_path / ROW.weights.file)
    done = place.run("pull", ROW.name, "--weights", str(tmp_path))
    assert done.returncode == 1
    assert "It was not taken." in done.stderr
    assert not list(Path(place.environment["DEEPDREAM_DATA"]).rglob("*.pth"))


def test_a_file_that_a_mirror_sends_is_deleted(remote: Daemon, mark: Path, tmp_path: Path) -> None:
    among_weights(mark, tmp_path / "bomb")
    serve(remote, (tmp_path / "bomb").read_bytes())
    done = remote.run("pull", ROW.name)
    assert done.returncode == 1
    assert "It was deleted." in done.stderr
    left = Path(remote.environment["DEEPDREAM_DATA"]) / "weights"
    assert [file.name for file in left.iterdir() if file.suffix != ".lock"] == []


@pytest.mark.parametrize("bomb", BOMBS)
@has_timm
def test_a_checkpoint_of_timms_runs_nothing_and_leaves_nothing(
    bomb: str, mark: Path, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "checkpoint.pth"
    BOMBS[bomb](mark, file)
    with pytest.raises(DreamError, match=r"checkpoint\.pth could not be read as a checkpoint of test_resnet"):
        weights.pull_timm("timm:test_resnet", progress=lambda *_: None, file=file)
    assert not list(home.iterdir())


@has_timm
def test_an_old_timm_that_would_run_a_checkpoint_is_refused(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.timm(), "__version__", "1.0.25")
    with pytest.raises(DreamError, match=r"it is 1\.0\.25, which would run code.*pip install \"timm>=1\.0\.26\""):
        models.timm()


@has_timm
def test_networks_of_timm_are_kept_as_weights_and_nothing_else(home: Path, tmp_path: Path) -> None:
    torch.save(models.timm().create_model("test_resnet").state_dict(), tmp_path / "checkpoint.pth")
    weights.pull_timm("timm:test_resnet", progress=lambda *_: None, file=tmp_path / "checkpoint.pth")
    assert sorted(file.suffix for file in home.iterdir()) == [".json", ".safetensors"]


@has_timm
def test_a_row_beside_a_bomb_with_its_right_hash_does_not_set_it_off(
    mark: Path, home: Path, tmp_path: Path
) -> None:
    """Whoever can write into the folder of data can write a row that vouches for anything."""
    torch.save(models.timm().create_model("test_resnet").state_dict(), tmp_path / "checkpoint.pth")
    weights.pull_timm("timm:test_resnet", progress=lambda *_: None, file=tmp_path / "checkpoint.pth")
    bomb = home / "timm-bomb.pth"
    among_weights(mark, bomb)
    row: Network = weights.find_network("timm:test_resnet")
    vouched = Weights(bomb.name, hashlib.sha256(bomb.read_bytes()).hexdigest(), 1.0)
    write_row(replace(row, weights=vouched), row_file(row.name))
    row = weights.find_network("timm:test_resnet")
    with pytest.raises(DreamError, match="could not be read as the weights"):
        models.load(row, weights.require(row), torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: (2**63 - 1).to_bytes(8, "little") + data[8:],
        lambda data: data.replace(b'"F32"', b'"F99"'),
        lambda data: data.replace(b"data_offsets", b"data_offsetz"),
        lambda _: b"",
    ],
    ids=["half of it", "a huge header", "the hugest header", "an unknown type", "no offsets", "nothing"],
)
def test_damaged_safetensors_are_refused(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors comes with timm, an optional extra")
    file = tmp_path / "weights.safetensors"
    safetensors.save_file({name: tensor.contiguous() for name, tensor in published().items()}, file)
    models.load(LITE0, file, torch.device("cpu"), torch.float32)
    file.write_bytes(spoil(file.read_bytes()))
    with pytest.raises(DreamError, match="could not be read as the weights"):
        models.load(LITE0, file, torch.device("cpu"), torch.float32)


# No module of ours can have data run


#: Modules, and functions of others, that run code which came as data; all that is inside of them too.
BANNED = {
    "_pickle", "cloudpickle", "dill", "hickle", "joblib", "jsonpickle", "klepto", "marshal", "pickle", "shelve",
    "multiprocessing", "code", "codeop", "runpy", "logging.config.listen", "os.system", "os.popen",
    "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__",
    "pandas.read_pickle", "torch.hub", "torch.jit.load", "torch.package", "torch.utils.model_zoo",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.full_load_all", "yaml.unsafe_load",
    "yaml.unsafe_load_all",
}  # fmt: skip
BUILTINS = {"eval", "exec", "compile", "__import__"}
#: Methods that do, whatever they are methods of.
METHODS = {"recv_pyobj", "send_pyobj", "read_pickle", "to_pickle"}
#: What may be named all the same, and its module imported for it: an error to be caught.
HARMLESS = {"pickle.UnpicklingError"}
#: Calls that need an argument of this value, and arguments that must have no other value.
NEEDED = {"torch.load": ("weights_only", "True"), "torch.serialization.load": ("weights_only", "True")}
FORBIDDEN = {"allow_pickle": "False", "shell": "False"}


def dangers(source: ast.AST) -> list[str]:
    """Whatever in a module could run code that came as data, under whatever name it was imported."""
    known = dict(_imported(source))
    harmless = [
        node.value
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute) and _full_name(node, known) in HARMLESS
    ]
    return [ast.unparse(node) for node in ast.walk(source) if node not in harmless and _is_danger(node, known)]


def _imported(source: ast.AST) -> Iterator[tuple[str, str]]:
    """Every name that imports bring in, and its full name."""
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            for each in node.names:
                first = each.name.partition(".")[0]
                yield (each.asname, each.name) if each.asname else (first, first)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((each.asname or each.name, f"{node.module}.{each.name}") for each in node.names)


def _full_name(node: ast.AST, known: Mapping[str, str]) -> str:
    """What a name stands for that was imported, or a name in it, or a built-in one; else nothing."""
    if isinstance(node, ast.Name):
        return known.get(node.id, f"builtins.{node.id}" if node.id in BUILTINS else "")
    if isinstance(node, ast.Attribute):
        base = _full_name(node.value, known)
        return base and f"{base}.{node.attr}"
    return ""


def _is_banned(name: str) -> bool:
    parts = name.split(".")
    return name not in HARMLESS and any(".".join(parts[:end]) in BANNED for end in range(1, len(parts) + 1))


def _is_danger(node: ast.AST, known: Mapping[str, str]) -> bool:
    match node:
        case ast.Import(names=names):
            # Of a module that has something harmless, what is used of it shows where it is used.
            mixed = {name.partition(".")[0] for name in HARMLESS}
            return any(_is_banned(each.name) and each.name not in mixed for each in names)
        case ast.ImportFrom(module=str(module), level=0, names=names):
            return any(_is_banned(f"{module}.{each.name}") for each in names)
        case ast.Call(func=func, keywords=keywords):
            given = {each.arg: ast.unparse(each.value) for each in keywords}
            needed, value = NEEDED.get(_full_name(func, known), ("", ""))
            forbidden = any(given.get(name, harmless) != harmless for name, harmless in FORBIDDEN.items())
            return forbidden or (needed != "" and given.get(needed) != value)
        case ast.Name() | ast.Attribute():
            method = isinstance(node, ast.Attribute) and node.attr in METHODS
            return method or _is_banned(_full_name(node, known))
    return False


def sources() -> dict[str, str]:
    """Every module of what is installed, installs or documents it, and the Python that the docs show."""
    folders = ("daemon", "plugin", "install", "docs")
    found = {path: path.read_text("utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py")}
    shown = {
        path: "\n".join(re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL))
        for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    }
    return {str(path.relative_to(ROOT)): text for path, text in (found | shown).items() if text}


SOURCES = sources()


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_module_runs_what_came_as_data(name: str) -> None:
    assert not dangers(ast.parse(SOURCES[name]))


def test_all_that_is_installed_is_looked_at() -> None:
    for name in (
        "daemon/dreamd/models.py",
        "plugin/deep-dream/deep-dream.py",
        "install/install.py",
        "docs/generate.py",
    ):
        assert name in SOURCES
    assert "docs/protocol.md" in SOURCES
    for program in ("try", "test"):
        assert (ROOT / "install" / program).read_text().startswith("#!/bin/sh\n")


@pytest.mark.parametrize(
    "source",
    [
        "import pickle; pickle.loads(data)", "import pickle as p; p.load(f)", "from pickle import loads",
        "import dill",
        "import marshal", "import shelve", "import joblib", "from joblib import load", "import cloudpickle",
        "import multiprocessing.connection", "socket.recv_pyobj()", "socket.send_pyobj(x)",
        "numpy.load(f, allow_pickle=True)", "import numpy as np; np.load(f, allow_pickle=wish)",
        "import torch; torch.load(f)", "import torch; torch.load(f, weights_only=False)",
        "import torch; torch.load(f, weights_only=wish)", "import torch as t; t.load(f)",
        "from torch import load; load(f)", "from torch import load as read; read(f)",
        "import torch; torch.hub.load('a', 'b')", "import torch.hub", "from torch import hub",
        "import torch; torch.jit.load(f)", "eval(text)", "exec(text)", "run = eval",
        "import builtins; builtins.exec(text)",
        "compile(text, '', 'exec')", "__import__(name)", "import yaml; yaml.load(f)", "from yaml import load",
        "import yaml; yaml.unsafe_load(f)", "import os; os.system(text)", "subprocess.run(text, shell=True)",
        "frame.to_pickle(f)", "import pandas; pandas.read_pickle(f)", "x = __import__", "from pickle import *",
        "import pickle; x = pickle", "import code; code.interact()",
    ],
)  # fmt: skip
def test_dangers_are_found(source: str) -> None:
    assert dangers(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\ntry: f()\nexcept pickle.UnpicklingError: pass", "model.eval()",
        "import numpy; numpy.load(f)",
        "import torch; torch.load(f, weights_only=True)", "executor.exec_(x)", "import re; re.compile(x)",
        "import json; json.load(f)", "import yaml; yaml.safe_load(f)", "models.load(row, path)",
        "module.recompile()",
        "subprocess.run(['ls'])", "numpy.load(f, allow_pickle=False)", "from .models import load; load(f)",
        "code = 5; print(code)",
    ],
)  # fmt: skip
def test_harmless_things_are_not(source: str) -> None:
    assert not dangers(ast.parse(source))

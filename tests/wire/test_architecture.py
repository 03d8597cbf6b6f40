"""Imports go one way, clients stay light, and the repository names nobody's machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "plugin" / "deep-dream"


@dataclass(frozen=True)
class Layer:
    """Modules that belong together, the layers that they may import, and the packages of others."""

    modules: str
    layers: str = ""
    packages: str = ""


# Whoever adds a module gives it a place here. An import counts wherever it stands, inside a function too.
LAYERS = {
    "wire": Layer(
        "dreamwire dreamwire.classes dreamwire.client dreamwire.crop dreamwire.errors dreamwire.geometry"
        " dreamwire.launch dreamwire.networks dreamwire.params dreamwire.paths dreamwire.presets dreamwire.private"
        " dreamwire.texts"
        " dreamwire.reports dreamwire.words dreamwire.zmtp",
        layers="sockets header",
    ),
    "header": Layer("dreamwire.messages", layers="wire", packages="msgpack"),
    "sequences": Layer("dreamwire.catalogue dreamwire.zoom", layers="wire header"),
    "sockets": Layer("dreamwire.transport", layers="wire", packages="zmq"),
    # The plug-in: only `canvas` touches Gegl's pixels, only `dialog` and `windows` GTK.
    "talk": Layer("session settings", layers="wire header sockets"),
    "canvas": Layer("canvas loop", layers="wire talk", packages="gi"),
    "windows": Layer(
        "choosing dialog own preview seeing windows", layers="wire header talk canvas sequences", packages="gi"
    ),
    "plugin": Layer("deep-dream runs", layers="wire header sequences talk canvas windows", packages="gi msgpack"),
    "core": Layer(
        "dreamd.core dreamd.core.dream dreamd.core.gradient dreamd.core.measure dreamd.core.objectives"
        " dreamd.core.plan dreamd.core.progress dreamd.core.pyramid dreamd.core.region dreamd.core.resample"
        " dreamd.core.windows dreamd.core.adversarial dreamd.core.classifier dreamd.core.saliency"
        " dreamd.core.invert dreamd.core.palette dreamd.core.fool dreamd.core.texture dreamd.core.visualise",
        packages="torch",
    ),
    "gradients": Layer(
        "dreamd.adjoint dreamd.convolutions dreamd.pooling dreamd.rectifier dreamd.replay", packages="torch"
    ),
    "common": Layer(
        "dreamd dreamd.download dreamd.gimps dreamd.jobs dreamd.limits dreamd.locks dreamd.logs dreamd.options"
        " dreamd.parent dreamd.ram dreamd.redact dreamd.tally dreamd.weights",
        layers="wire header",
    ),
    "worker": Layer(
        "dreamd.devices dreamd.geometry dreamd.models dreamd.pixels dreamd.run dreamd.timm_networks dreamd.worker",
        layers="wire header common core gradients kinds",
        packages="safetensors timm torch torchvision zmq",
    ),
    "kinds": Layer(
        "dreamd.kinds dreamd.kinds.adversarial dreamd.kinds.classify dreamd.kinds.dream dreamd.kinds.enlarge"
        " dreamd.kinds.fool dreamd.kinds.invert dreamd.kinds.saliency dreamd.kinds.task dreamd.kinds.visualise"
        " dreamd.kinds.zoom",
        layers="wire core worker",
        packages="torch",
    ),
    # The front starts workers as processes and imports nothing of theirs.
    "front": Layer(
        "dreamd.activation dreamd.door dreamd.gate dreamd.keys dreamd.link dreamd.relay dreamd.remote"
        " dreamd.server dreamd.serving dreamd.sockets dreamd.supervisor",
        layers="wire header sockets common",
        packages="zmq",
    ),
    "images": Layer("dreamd.codec dreamd.exif dreamd.sample", layers="wire", packages="numpy pyvips"),
    "sheets": Layer("dreamd.film dreamd.sheet", layers="wire images", packages="numpy PIL"),
    "dreaming": Layer(
        "dreamd.cataloguing dreamd.dreaming dreamd.zooming",
        layers="wire header sequences common images sheets command",
        packages="numpy",
    ),
    "command": Layer(
        "dreamd.__main__ dreamd.bundle dreamd.call dreamd.cli dreamd.commands dreamd.doctor dreamd.health"
        " dreamd.telling dreamd.terminal",
        layers="wire header sockets sequences common front dreaming",
    ),
}
LAYER_OF = {module: name for name, layer in LAYERS.items() for module in layer.modules.split()}

#: What takes long to import, or is not there in GIMP's Python.
HEAVY = {"torch", "torchvision", "numpy", "pyvips"}


def _modules() -> dict[str, Path]:
    found = {}
    for folder in (ROOT / "daemon", PLUGIN):
        for path in folder.rglob("*.py"):
            found[".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


MODULES = _modules()


@dataclass(frozen=True)
class Import:
    """An import of a module: `eager` ones happen when the importing module is."""

    name: str
    eager: bool


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[Import]:
    """What a module imports: our own modules by their full names, of others' packages the packages' names."""
    found = set()
    for node, eager in _statements(tree(module), eager=True):
        if isinstance(node, ast.Import):
            found |= {Import(_ours_or_package(alias.name), eager) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                found.add(Import(inside if inside in MODULES else _ours_or_package(base), eager))
    return frozenset(found)


def _statements(node: ast.AST, *, eager: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or (
            isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
        )
        yield child, eager
        yield from _statements(child, eager=eager and not later)


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".")
    up = node.level - (MODULES[module].name == "__init__.py")
    return ".".join([*package[: len(package) - up], *([node.module] if node.module else [])])


def _ours_or_package(name: str) -> str:
    return name if name in MODULES else name.partition(".")[0]


def reach(module: str) -> set[str]:
    """All that is imported when a module is, ours and others'."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in MODULES:
            waiting += [each.name for each in imports(name) if each.eager]
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return reached


def test_every_module_has_a_place() -> None:
    assert not set(MODULES) - set(LAYER_OF), "give these a place in LAYERS"
    plugin = set(LAYERS["plugin"].modules.split())
    assert not set(LAYER_OF) - set(MODULES) - plugin, "these are no more; take them out of LAYERS"


@pytest.mark.parametrize("module", sorted(set(MODULES) & set(LAYER_OF)))
def test_imports_go_one_way(module: str) -> None:
    layer = LAYERS[LAYER_OF[module]]
    packages = {*layer.packages.split(), *sys.stdlib_module_names}
    layers = {LAYER_OF[module], *layer.layers.split()}
    for each in imports(module):
        if each.name in MODULES:
            assert LAYER_OF.get(each.name) in layers, f"{module} may not import {each.name}"
        else:
            assert each.name in packages, f"{module} may not import {each.name}"


@pytest.mark.parametrize("layer", ["wire", "header", "sockets", "plugin", "common", "front", "command"])
def test_what_answers_at_once_imports_nothing_heavy(layer: str) -> None:
    for module in LAYERS[layer].modules.split():
        heavy = reach(module) & HEAVY
        assert not heavy, f"{module} brings in {heavy}"


@pytest.mark.parametrize("layer", ["images", "dreaming"])
def test_pictures_need_no_torch(layer: str) -> None:
    for module in LAYERS[layer].modules.split():
        assert "torch" not in reach(module)


def _catches(handler: ast.ExceptHandler, name: str) -> bool:
    return handler.type is not None and ast.unparse(handler.type) == name


def test_pyzmq_need_not_be_there() -> None:
    guarded = [
        statement
        for node in ast.walk(tree("dreamwire.transport"))
        if isinstance(node, ast.Try) and any(_catches(handler, "ImportError") for handler in node.handlers)
        for statement in node.body
    ]
    names = [alias.name for node in guarded if isinstance(node, ast.Import) for alias in node.names]
    assert "zmq" in names
    for node in tree("dreamwire.transport").body:
        assert not isinstance(node, (ast.Import, ast.ImportFrom)) or "zmq" not in ast.unparse(node)


@pytest.mark.parametrize("module", ["dreamd.cli", "dreamwire.client", "dreamd.server"])
def test_a_new_interpreter_has_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


# What is in the repository


#: Folders of somebody's machine, and registries whose mirror or proxy is the installer's to choose.
ELSEWHERE = re.compile(
    r"/(?:home|Users|root|work)/(?!you\b|me\b|user\b)[\w.]|[A-Z]:\\+Users\\+\w|pypi\.org|files\.pythonhosted\.org"
)


def test_no_file_names_somebodys_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if not path.is_file():
            continue
        text = path.read_bytes().decode(errors="ignore")
        assert not (found := ELSEWHERE.search(text)), f"{name} names {found[0]}"

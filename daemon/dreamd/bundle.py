"""`deepdream doctor --bundle FILE`: what helps to find a fault, in a zip that whoever has the fault can send.

There is one way in, `_put`, and it redacts. No file of pictures is opened, and the daemon keeps none.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dreamwire import __version__, paths
from dreamwire.client import Client
from dreamwire.errors import DreamError, UnreachableError
from dreamwire.private import secure_file

from .doctor import DISTRIBUTION
from .gimps import Place, places
from .health import Check
from .redact import SECRET, redact, redacted
from .terminal import table

#: Bytes of the end of each log.
MOST = 1 << 20
#: Variables of the environment that change what daemon and libraries do.
TELLING = re.compile(
    r"(DEEPDREAM|OMP|GOMP|KMP|MKL|ONEDNN|DNNL|MALLOC|PYTORCH|TORCH|CUDA|HIP|XDG|LC|LANG|PYTHON)(_|$)"
)
README = """\
What `deepdream doctor --bundle` has found on this computer, for whoever looks for
a fault. There are no pictures in it. <file> stands for names of files and folders,
<key> for keys and tokens; of addresses only the server's name is left. All of it is
text: look into it before you send it.
"""


def write(file: Path, checks: Sequence[Check], connect: Callable[[], Client]) -> None:
    """Writes the bundle, which only this user can read, in the place of an older one. Raises `OSError`."""
    status = _answer(connect, Client.status)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as bundle:
        _put(bundle, "README.txt", README)
        _put(bundle, "doctor.txt", _table(checks))
        _put(bundle, "versions.json", _versions())
        _put(bundle, "settings.json", _settings())
        _put(bundle, "status.json", status)
        _put(bundle, "networks.json", _answer(connect, Client.networks))
        for name, log in _logs(status):
            if log.exists():
                _put(bundle, f"logs/{name}", _end_of(log))
    with open(file, "wb", opener=secure_file) as stream:
        stream.write(whole.getvalue())


def _put(bundle: zipfile.ZipFile, name: str, content: object) -> None:
    """Adds text, or plain data as JSON, redacted."""
    text = redact(content) if isinstance(content, str) else json.dumps(redacted(content), indent=2, default=str)
    bundle.writestr(name, text)


def _answer(connect: Callable[[], Client], question: Callable[[Client], Any]) -> Any:
    """What the daemon says, or why it says nothing."""
    try:
        with connect() as client:
            return question(client)
    except (DreamError, UnreachableError, OSError) as error:
        return {"error": str(error)}


def _table(checks: Sequence[Check]) -> str:
    """What the doctor has found, redacted already: the table breaks lines, and names in them."""
    gimps = {place.name: _name(place) for place in places()}
    clean = [
        Check(gimps.get(each.name, each.name), each.ok, redact(each.found), redact(each.cure)) for each in checks
    ]
    return table([row for check in clean for row in check.rows])


def _name(place: Place) -> str:
    """What a GIMP is called, whose folder may have any name."""
    return place.name if re.fullmatch(r"3\.\d+", place.folder.name) else "GIMP elsewhere"


def _versions() -> dict[str, Any]:
    found = (re.match(r"[\w.-]+", each) for each in importlib.metadata.requires(DISTRIBUTION) or ())
    packages = {}
    for name in sorted({match[0] for match in found if match}):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "deepdream": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "sandbox": paths.sandbox(),
        "packages": packages,
        "plug-ins": {_name(place): place.version for place in places()},
    }


def _settings() -> dict[str, Any]:
    """What was set by the environment, and in GIMP; of proxies only that there are some."""
    told = {name: value for name, value in os.environ.items() if TELLING.match(name)}
    proxies = {name: "set" for name in os.environ if name.lower().endswith("_proxy")}
    keys = {name: "<key>" for name in told if SECRET.search(name)}
    try:
        gimp = json.loads((paths.config_dir() / "gimp.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        gimp = {}
    return {"environment": told | proxies | keys, "gimp": gimp}


def _logs(status: Any) -> Iterator[tuple[str, Path]]:
    """Every log of daemon and installer, by the name that it has in the bundle."""
    log = Path(status.get("log") or paths.log_dir() / "daemon.log")
    for number, path in enumerate([log, *(log.with_name(f"{log.name}.{older}") for older in range(1, 4))]):
        yield f"daemon.log{f'.{number}' * bool(number)}", path
    yield "daemon.out", paths.log_dir() / "daemon.out"
    yield "install.log", paths.data_dir() / "install.log"


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - MOST))
            return file.read().decode(errors="replace")
    except OSError as error:
        return f"({error.strerror})"

"""A server of weights on loopback, and a daemon that has to fetch those of EfficientNet-Lite1 from it."""

from __future__ import annotations

import http.server
import importlib.util
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dreamwire.networks import NETWORKS
from real_daemon import Daemon

ROW = NETWORKS["efficientnet_lite1"]


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on loopback and counts what is asked for; `script` takes over one request each."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.script: deque[Callable[[http.server.BaseHTTPRequestHandler], None]] = deque()
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(folder)))

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what some tests are about."""


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        if self.server.script:
            self.server.script.popleft()(self)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


def needs_to_fetch(daemon: Daemon, server: Server) -> Daemon:
    """The daemon, started, finds an empty package where Lite1's weights would be, and the server as its mirror."""
    package = daemon.folder / "shadow" / ROW.weights.package
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    daemon.environment |= {
        "PYTHONPATH": str(package.parent),
        "DEEPDREAM_WEIGHTS_URL": f"http://127.0.0.1:{server.server_port}/",
    }
    daemon.options = ("--preload", "")
    return daemon.start()


def serve(daemon: Daemon, content: bytes) -> None:
    (daemon.folder / "served" / ROW.weights.file).write_bytes(content)


def published() -> bytes:
    spec = importlib.util.find_spec(ROW.weights.package)
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "models" / ROW.weights.file).read_bytes()

"""The daemon's settings, each with its flag of `deepdream serve`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dreamwire import paths
from dreamwire.params import PARAMS

from .limits import Limits

#: The environment variable with which a worker proves to the front that it is its own.
SECRET = "DEEPDREAM_WORKER_SECRET"  # noqa: S105 - the name, not the secret


@dataclass(frozen=True)
class Options:
    """How a daemon runs. `memory` is in MiB, `idle` in seconds; `listen` is where other machines come, if any."""

    endpoint: str
    device: str = "auto"
    memory: int = 2048
    idle: float = 900.0
    listen: str = ""
    preload: str = str(PARAMS["network"].default)
    log: Path = field(default_factory=lambda: paths.log_dir() / "daemon.log")
    limits: Limits = field(default_factory=Limits)

    def described(self) -> dict[str, Any]:
        """As plain data, but for the places, which `status` tells by themselves."""
        return {name: value for name, value in asdict(self).items() if name not in ("endpoint", "log")}

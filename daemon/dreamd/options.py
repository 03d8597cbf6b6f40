"""The daemon's settings, each with its flag of `deepdream serve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dreamwire import paths
from dreamwire.params import PARAMS

from .jobs import Limits

#: The environment variable with which a worker proves to the front that it is its own.
SECRET = "DEEPDREAM_WORKER_SECRET"  # noqa: S105 - the name, not the secret


@dataclass(frozen=True)
class Options:
    """How a daemon runs. `memory` is in MiB, `idle` in seconds, `pixels` of one picture in megapixels."""

    endpoint: str
    device: str = "auto"
    memory: int = 2048
    idle: float = 900.0
    preload: str = str(PARAMS["network"].default)
    megapixels: int = 128
    queue: int = 64
    log: Path = field(default_factory=lambda: paths.log_dir() / "daemon.log")

    @property
    def max_pixels(self) -> int:
        return self.megapixels * 1_000_000

    @property
    def max_frame(self) -> int:
        """Bytes of the largest frame: four channels of float32."""
        return self.max_pixels * 16

    @property
    def limits(self) -> Limits:
        return Limits(queue=self.queue)

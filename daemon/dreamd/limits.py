"""The daemon's limits, each declared once: how much, of what, what is said beyond it, and its flag of `serve`.

Those that are the protocol's own, and nobody's to change, are constants of `dreamwire.messages`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from dreamwire.errors import DreamError

MIB = 1 << 20
OLDEST = "the oldest are forgotten"


def _limit(most: int, what: str, beyond: str) -> Any:
    return dataclasses.field(default=most, metadata={"what": what, "beyond": beyond})


@dataclass(frozen=True)
class Limits:
    """What the daemon takes, and what it keeps.

    Of each field `what` is what is counted, and `beyond` the code of the refusal, or what happens instead of one.
    """

    megapixels: int = _limit(128, "megapixels of a picture", "limit")
    work: int = _limit(100_000, "steps x octaves x megapixels of a job", "limit")
    queue: int = _limit(64, "jobs waiting", "queue_full")
    per_client: int = _limit(16, "jobs waiting of one client", "queue_full")
    queue_memory: int = _limit(4096, "MiB of pictures waiting", "queue_full")
    downloads: int = _limit(4, "downloads at a time", "queue_full")
    results: int = _limit(256, "ended jobs kept until they are acknowledged", OLDEST)
    results_memory: int = _limit(2048, "MiB of results kept until they are acknowledged", OLDEST)
    results_seconds: int = _limit(600, "seconds for which a result is kept", "it is forgotten")
    connections: int = _limit(
        1024, "connections remembered", "the one unheard of for longest has to say `hello` again"
    )

    @property
    def pixels(self) -> int:
        """Pixels of the largest picture."""
        return self.megapixels * 1_000_000

    @property
    def frame(self) -> int:
        """Bytes of the largest frame: four channels of float32."""
        return min(self.pixels * 16, 1 << 62)

    def refuse(self, name: str, happened: str, advice: str, *, needed: int = 0) -> DreamError:
        """The error for what is beyond a limit: what `happened`, the limit, advice, and how to raise it.

        Without a `needed` value, twice the limit is named.
        """
        row = ROWS[name]
        most, code, flag = getattr(self, name), row.metadata["beyond"], flag_of(name)
        return DreamError(
            code,
            f"{happened}; the limit is {most} {row.metadata['what']}. {advice}, or raise the limit: run"
            f" `deepdream stop`, then `deepdream serve {flag} {needed or 2 * most}`.",
            retryable=code == "queue_full",
            details={"limit": name, "most": most, "flag": flag},
        )


#: The limits by their names.
ROWS = {row.name: row for row in dataclasses.fields(Limits)}


def flag_of(name: str) -> str:
    """The flag of `deepdream serve` that sets a limit."""
    return "--" + name.replace("_", "-")

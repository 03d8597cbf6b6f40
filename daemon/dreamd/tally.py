"""What a daemon has done since it was started: how jobs have ended, what was refused, the last errors."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from dreamwire.errors import DreamError

from .redact import redact

#: Errors that are remembered, and characters of each; the same one again is counted.
LAST, LONGEST = 8, 400


@dataclass
class _Error:
    code: str
    message: str
    times: int = 0
    latest: float = 0.0


@dataclass
class Tally:
    """Counts, and errors in words that tell nothing of anybody's files."""

    ended: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    _errors: deque[_Error] = field(default_factory=lambda: deque(maxlen=LAST))

    def refuse(self, error: DreamError) -> None:
        """A message was refused."""
        self.refusals[error.code] += 1
        self._remember(error.code, error.message)

    def fail(self, code: str, message: str) -> None:
        """A job, or the daemon in something else, has failed."""
        self.failures[code] += 1
        self._remember(code, message)

    def _remember(self, code: str, message: str) -> None:
        known = next((each for each in self._errors if (each.code, each.message) == (code, message)), None)
        if known is not None:
            self._errors.remove(known)
        error = known or _Error(code, message)
        error.times, error.latest = error.times + 1, time.monotonic()
        self._errors.append(error)

    def described(self) -> dict[str, Any]:
        """As plain data; the latest error comes first."""
        now = time.monotonic()
        return {
            "counts": dict(self.ended) | ({"refused": self.refusals.total()} if self.refusals else {}),
            "refusals": dict(self.refusals),
            "failures": dict(self.failures),
            "last_errors": [
                {
                    "code": each.code,
                    "message": redact(each.message)[:LONGEST],
                    "times": each.times,
                    "seconds_ago": round(now - each.latest, 1),
                }
                for each in reversed(self._errors)
            ],
        }

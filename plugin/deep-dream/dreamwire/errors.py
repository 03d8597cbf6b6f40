"""Errors a person can meet: each has a code of the wire and says what happened, why and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Every error code of the protocol, with what it means.
CODES: Mapping[str, str] = {
    "bad_message": "the message does not follow the protocol",
    "version": "client and daemon speak no common version of the protocol",
    "unauthorized": "the daemon does not know this client",
    "unreachable": "the daemon of another machine does not answer",
    "limit": "the request is larger than the daemon allows",
    "queue_full": "too many jobs are waiting",
    "unknown_network": "no network of this name, or its weights are not here",
    "bad_params": "a parameter is unknown, of the wrong kind or out of range",
    "bad_input": "the pixels cannot be dreamt: an empty mask, sizes that differ, no finite values",
    "checksum": "a weights file is not the one that was published",
    "download": "a weights file could not be fetched",
    "out_of_memory": "the device has not enough memory, even with the smallest window",
    "conflict": "a job of this id exists already",
    "unknown_job": "no job of this id, or its result has expired",
    "shutting_down": "the daemon is stopping",
    "internal": "a fault of the daemon itself",
}


class DreamError(Exception):
    """A refusal or failure with a code of `CODES` and a message that tells a person what to do.

    `retryable` says whether the same request may succeed later; `details` is plain data for programs; `command`
    is what the message says to type in a terminal, ready to be copied, or empty.
    """

    command = ""

    def __init__(
        self, code: str, message: str, *, retryable: bool = False, details: Mapping[str, Any] | None = None
    ) -> None:
        if code not in CODES:
            raise ValueError(f"{code!r} is no error code of the protocol")
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable
        self.details = dict(details or {})


class UnreachableError(Exception):
    """No daemon answers at the endpoint and none could be started; the message says what to do.

    `command` is what the message says to type in a terminal, ready to be copied, or empty.
    """

    def __init__(self, message: str, command: str = "") -> None:
        super().__init__(message)
        self.command = command


class NobodyListensError(UnreachableError):
    """There is no daemon at the endpoint, and none was to be started."""

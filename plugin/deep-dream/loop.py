"""The main loop of a run, or of a window."""

from __future__ import annotations

from collections.abc import Callable

from gi.repository import GLib


class Loop:
    """The main loop; calls that sessions post into it. What goes wrong in one of them ends it."""

    def __init__(self) -> None:
        self._loop = GLib.MainLoop()
        self._error: Exception | None = None

    def post(self, call: Callable[[], None]) -> None:
        """Has a call made by the loop's thread; may be called by any."""
        GLib.idle_add(self._call, call)

    def _call(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as error:
            self._error = error
            self._loop.quit()
        return False

    def run(self) -> None:
        """Returns after `quit`; raises what a call has raised."""
        if self._error is None:
            self._loop.run()
        if self._error is not None:
            raise self._error

    def quit(self) -> None:
        self._loop.quit()

"""Ctrl-C and SIGTERM ask a run to finish its step and save; a second one stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class StopSignals:
    """While entered, ``received`` holds the first of SIGINT and SIGTERM that came, 0 before.

    Off the main thread, where Python allows no signal handlers, it does nothing.
    """

    def __enter__(self) -> StopSignals:
        self.received = 0
        self._previous: dict[int, object] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

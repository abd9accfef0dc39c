"""Ctrl-C and SIGTERM ask a run to finish its step and save; a second one stops it at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType

#: Seconds in which a second signal is taken for the first one, sent again by a wrapper (``timeout`` and launchers do).
FORWARDED_WITHIN = 0.5


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
        now = time.monotonic()
        if not self.received:
            self.received, self._since = number, now
            os.write(2, b"\nStopping when this step is done and saved; once more to stop at once.\n")  # safe in a handler
        elif now - self._since > FORWARDED_WITHIN:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._restore()

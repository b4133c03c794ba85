"""Ctrl-C, heard between steps: a step is never cut in half, so what is saved then is whole."""

import signal
import threading
from types import FrameType, TracebackType


class Interrupt:
    """While active, the first Ctrl-C sets `asked`; the second one interrupts at once, as usual."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "Interrupt":
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.before = signal.signal(signal.SIGINT, self._hear)
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.main:
            signal.signal(signal.SIGINT, self.before)

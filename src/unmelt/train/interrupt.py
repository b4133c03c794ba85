"""Ctrl-C and SIGTERM, heard between steps: a step is never cut in half, so what is saved then is whole."""

import signal
import threading
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """While active, the first signal sets `asked`; a second one interrupts at once, as usual."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None

    def __enter__(self) -> "Interrupt":
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise self.outcome()
        self.asked = signal.Signals(number)

    def outcome(self) -> BaseException:
        """What it means once all is saved: Ctrl-C is a KeyboardInterrupt; SIGTERM, here or elsewhere, a good end."""
        return KeyboardInterrupt() if self.asked == signal.SIGINT else SystemExit(0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self.before.items():
            signal.signal(number, before)

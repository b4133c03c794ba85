"""Ctrl-C and SIGTERM, noted and answered between steps: a step is never cut in half, so what is saved is whole."""

import signal
import threading
from types import FrameType, TracebackType
from typing import final

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@final
class Interrupt:
    """A context manager in which the first signal only sets `asked`; a second one interrupts at once, as usual.

    Attributes:
        asked: The signal that asked the run to stop, None so far.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None

    def __enter__(self) -> "Interrupt":
        self.before = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise self.outcome()
        self.asked = signal.Signals(number)

    def outcome(self) -> BaseException:
        """Return what to raise once all is saved.

        Returns:
            KeyboardInterrupt for Ctrl-C; SystemExit(0) for SIGTERM, or where another process was told to stop.
        """
        return KeyboardInterrupt() if self.asked == signal.SIGINT else SystemExit(0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self.before.items():
            signal.signal(number, before)

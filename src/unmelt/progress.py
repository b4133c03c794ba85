"""How long work will take, said early and then now and then, to a terminal or to a file alike."""

import time
from typing import final

from unmelt.terminal import notify

SHORT, EVERY = 10.0, 30.0
"""Seconds: shorter work is done without a word; longer work reports this often."""


@final
class Progress:
    """Reports on standard error: an estimate once some of the work is done, then how far it is and what is left.

    Args:
        what: What is done, such as "eval: samples".
        total: How many there are to do.
        quiet: Whether to report nothing.
    """

    def __init__(self, what: str, total: int, quiet: bool = False) -> None:
        self.what, self.total, self.quiet = what, total, quiet
        self.done, self.began = 0, time.monotonic()
        self.reported: float | None = None

    def advance(self, count: int = 1) -> None:
        """Count what was done, and report where that is due.

        Args:
            count: How many more are done.
        """
        self.done += count
        now = time.monotonic()
        left = (now - self.began) / max(self.done, 1) * (self.total - self.done)
        if self.quiet or not 0 < self.done < self.total or (self.reported is None and left < SHORT):
            return
        if self.reported is None:
            notify(f"{self.what}: {self.total:,}, about {duration(left + now - self.began)}")
        elif now - self.reported >= EVERY:
            notify(f"{self.what}: {self.done:,} of {self.total:,}, about {duration(left)} left")
        else:
            return
        self.reported = now


def duration(seconds: float) -> str:
    """A length of time in words, in the unit that suits it.

    Args:
        seconds: The time.

    Returns:
        Such as "40 seconds", "3 minutes" or "2.5 hours".
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"

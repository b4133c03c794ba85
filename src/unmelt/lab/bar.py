"""A bar on the page while something is worked out that will be kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import marimo as mo

from unmelt.lab import cache
from unmelt.model import Model, TextModel

M = TypeVar("M", Model, TextModel)


def trained(name: str, make: Callable[[], M], title: str) -> M:
    """`cache.learned`, with a bar while it trains; where it was trained before, there is none."""
    with mo.status.spinner(title="Preparing the data"):
        steps = make().training.steps  # type: ignore[union-attr]
    with bar(steps, title) as move:
        return cache.learned(name, make, lambda step, _, loss: move(step, f"step {step} of {steps}, loss {loss:.3f}"))


@contextmanager
def bar(total: int, title: str) -> Iterator[Callable[[int, str], None]]:
    """A bar that appears when it is first moved: `move(done, words)`."""
    made: list[mo.status.progress_bar] = []
    done = 0

    def move(now: int, words: str) -> None:
        nonlocal done
        if not made:
            made.append(mo.status.progress_bar(total=total, title=title, subtitle=words, remove_on_exit=True))
            made[0].__enter__()
        made[0].progress.update(increment=now - done, subtitle=words)
        done = now

    try:
        yield move
    finally:
        if made:
            made[0].__exit__(None, None, None)

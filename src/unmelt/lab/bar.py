"""A bar on the page while something is worked out that will be kept, and words in its place where it cannot be."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import marimo as mo

from unmelt.errors import UsageError
from unmelt.lab import cache
from unmelt.model import Model, TextModel

M = TypeVar("M", Model, TextModel)


def trained(name: str, make: Callable[[], M], title: str, button: mo.ui.run_button | None = None) -> M:
    """`cache.learned`, with a bar while it trains; where it was trained before, there is none.

    button   that the reader presses to have it trained, where there is more on the page to touch before that
    """
    with mo.status.spinner(title="Preparing the data"):
        model = make()
        steps = model.training.steps  # type: ignore[union-attr]
    wanted = button is None or button.value or mo.app_meta().mode == "script"
    mo.stop(not wanted and not cache.finished(name, model), mo.md("*Not learned yet: press the button.*"))
    with mistakes(), bar(steps, title) as move:
        return cache.learned(name, make, lambda step, _, loss: move(step, f"step {step} of {steps}, loss {loss:.3f}"))


@contextmanager
def mistakes() -> Iterator[None]:
    """A mistake of the reader's is told on the page, where a cell's errors otherwise are not, and the cell ends."""
    try:
        yield
    except UsageError as mistake:
        mo.stop(True, mo.callout(mo.plain_text(str(mistake)), kind="warn"))


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

"""A progress bar on the page for work whose result is cached, and messages for the reader's mistakes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import marimo as mo

from unmelt.distill import Distillation
from unmelt.errors import UsageError
from unmelt.lab import cache
from unmelt.model import Model, TextModel, load
from unmelt.model.distilling import student_of
from unmelt.shipped import PLACE
from unmelt.train import Logger

M = TypeVar("M", Model, TextModel)


def trained(
    name: str,
    make: Callable[[], M],
    title: str,
    button: mo.ui.run_button | None = None,
    fit: Callable[[M, Path, list[Logger]], M] | None = None,
    shipped: str | None = None,
) -> M:
    """`cache.learned` with a progress bar while it trains; no bar if the model is cached.

    Args:
        name: Name of the model in the cache.
        make: Returns the untrained model.
        title: Title of the progress bar.
        button: Button that starts the training; None to start at once.
        fit: How it is trained, as for `cache.learned`. None: `model.fit`.
        shipped: Name of a model that comes with unmelt, and is shown until the button is pressed.

    Returns:
        The trained model, with its data; or the one that comes with unmelt, without data. The cell stops with a message
        if the button was not pressed and there is neither a cached model nor a shipped one.
    """
    wanted = button is None or button.value or mo.app_meta().mode == "script"
    if shipped is not None and not wanted:
        return load(PLACE / shipped)  # type: ignore[return-value]
    with mo.status.spinner(title="Preparing the data"):
        model = make()
        steps = model.training.steps  # type: ignore[union-attr]
    mo.stop(not wanted and not cache.finished(name, model), mo.md("*Not learned yet: press the button.*"))
    with mistakes(), bar(steps, title) as move:

        def report(step: int, _: int, loss: float) -> None:
            move(step, f"step {step} of {steps}, loss {loss:.3f}")

        return cache.learned(name, make, report, fit)


def distilled(
    name: str,
    teacher: M,
    method: Distillation,
    title: str,
    button: mo.ui.run_button | None = None,
    shipped: str | None = None,
    **settings: Any,
) -> M:
    """A student of a teacher, with a progress bar while it learns; no bar if it is cached.

    Args:
        name: Name of the student in the cache.
        teacher: The teacher, with its data.
        method: How the student learns.
        title: Title of the progress bar.
        button: Button that starts the training; None to start at once.
        shipped: Name of a student that comes with unmelt, and is shown until the button is pressed.
        settings: Further arguments of `Model.distill`.

    Returns:
        The student; see `trained`.
    """
    changes = {"steps": settings.get("training_steps"), "batch": settings.get("batch"), "lr": settings.get("lr")}
    guidance_range = settings.get("guidance_range")

    def make() -> M:
        return student_of(teacher, method, settings["steps"], guidance_range, changes)[0]

    def fit(_: M, path: Path, log_to: list[Logger]) -> M:
        return teacher.distill(method, out=path, quiet=True, log_to=log_to, **settings)

    return trained(name, make, title, button, fit, shipped)


@contextmanager
def mistakes() -> Iterator[None]:
    """Show a `UsageError` on the page and stop the cell; marimo does not show a cell's errors in apps."""
    try:
        yield
    except UsageError as mistake:
        mo.stop(True, mo.callout(mo.plain_text(str(mistake)), kind="warn"))


@contextmanager
def bar(total: int, title: str) -> Iterator[Callable[[int, str], None]]:
    """A progress bar that appears when it is first moved.

    Args:
        total: The number at which it is full.
        title: Its title.

    Yields:
        move(done, words): moves the bar and changes its subtitle.
    """
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

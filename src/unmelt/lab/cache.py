"""What chapters compute on first use and cache: trained models as run folders, measurements as JSON.

The cache lies in the user's cache folder, or in UNMELT_CACHE. Nothing is half-written: a run folder is what training
writes and resumes from, and JSON files are replaced whole. If two pages of one lab, or of two labs, need the same
result, one computes it and the other waits.
"""

import hashlib
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from unmelt.cache_folder import cache_folder
from unmelt.errors import UsageError
from unmelt.model import Model, TextModel, load
from unmelt.train.atomic_files import write
from unmelt.train.logger import Logger

M = TypeVar("M", Model, TextModel)

VERSION = 1
"""Version of the cache's content; raising it invalidates everything cached before."""

_one_at_a_time: dict[Path, threading.Lock] = {}
_door = threading.Lock()


def place(name: str, settings: Any) -> Path:
    """The path of a cached result.

    Args:
        name: Its name.
        settings: What it was made with, as JSON can hold it; other settings have another path.

    Returns:
        The path, without a suffix.
    """
    described = json.dumps([VERSION, settings], sort_keys=True)
    return cache_folder() / "lab" / f"{name}-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One at a time: among threads by a lock, among processes by a lock on a file, where the system has such locks.

    The system releases the file lock of a process that was killed.
    """
    with _door:
        lock = _one_at_a_time.setdefault(path, threading.Lock())
    with lock, _lock_file(path.name) as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def learned(
    name: str,
    make: Callable[[], M],
    progress: Callable[[int, int, float], None] | None = None,
    fit: Callable[[M, Path, list[Logger]], M] | None = None,
) -> M:
    """The trained model: from the cache, or trained now and cached.

    Args:
        name: Its name in the cache.
        make: Returns the untrained model (a recipe).
        progress: Called with (steps done, steps in all, loss) now and then during training; None for nothing.
        fit: (model, run folder, loggers) -> the trained model. None: `model.fit`.

    Returns:
        The trained model, with its data.
    """
    model = make()
    assert model.training is not None
    path = place(name, model.describe())
    with _alone(path):
        found = _found(path)
        if found is not None and found.steps_done == model.training.steps:
            found.source, found.held_out = model.source, model.held_out
            return found  # type: ignore[return-value]
        loggers: list[Logger] = [_ProgressLogger(progress, model.training.steps)] if progress is not None else []
        if fit is not None:
            return fit(model, path, loggers)
        return model.fit(path, quiet=True, log_to=loggers)


def finished(name: str, model: Model | TextModel) -> bool:
    """Whether `learned` would find this model in the cache, trained to its end.

    Args:
        name: Its name in the cache.
        model: The untrained model.

    Returns:
        True if nothing is left to train.
    """
    assert model.training is not None
    path = place(name, model.describe())
    try:
        return path.exists() and load(path).steps_done == model.training.steps
    except UsageError:  # damaged
        return False


def kept(name: str, settings: Any, make: Callable[[], Any]) -> Any:
    """A computed value: from the cache, or computed now and cached.

    Args:
        name: Its name in the cache.
        settings: What it depends on, as JSON can hold it.
        make: Computes the value, which JSON can hold.

    Returns:
        The value as JSON gives it back, tuples as lists.
    """
    path = place(name, settings).with_suffix(".json")
    with _alone(path):
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            found = make()
            text = json.dumps(found)
            write(path, text.encode())
            return json.loads(text)  # the same value, whether computed or read


def _found(path: Path) -> Model | TextModel | None:
    """The cached run, possibly unfinished; a damaged one is deleted, as a cache may be."""
    if not (path / "config.json").exists():
        return None
    try:
        found = load(path)
        return found if isinstance(found, Model | TextModel) else None
    except UsageError:
        shutil.rmtree(path, ignore_errors=True)
        return None


def _lock_file(name: str) -> IO[str]:
    try:
        for each in ("lab", "locks"):
            (cache_folder() / each).mkdir(parents=True, exist_ok=True)
        return open(cache_folder() / "locks" / name, "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{cache_folder()}, which cannot be written ({error.strerror})",
            "a folder for what the lab trains",
            "UNMELT_CACHE=/tmp/unmelt unmelt lab",
        ) from None


class _ProgressLogger(Logger):
    """A logger that reports training steps to a callback."""

    def __init__(self, progress: Callable[[int, int, float], None], steps: int) -> None:
        self.progress, self.steps = progress, steps

    def scalars(self, step: int, values: Any) -> None:
        self.progress(step, self.steps, values["loss"])

    def picture(self, step: int, path: Path) -> None:
        pass

    def close(self) -> None:
        pass

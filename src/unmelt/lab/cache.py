"""What chapters work out on first use, and keep: trained models as run folders, measurements as JSON.

They lie in the user's cache folder, or where UNMELT_CACHE says. Nothing is half-written: a run folder is what training
writes, which goes on where it was interrupted, and JSON is put in place whole. Two pages that need the same thing, of
one lab or of two, do not make it twice: one makes it, the other waits.
"""

import hashlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from unmelt.errors import UsageError
from unmelt.model import Model, TextModel, load
from unmelt.train.files import write
from unmelt.train.logger import Logger

M = TypeVar("M", Model, TextModel)

VERSION = 1
"""Of what is kept; a higher number leaves all of it behind."""

_one_at_a_time: dict[Path, threading.Lock] = {}
_door = threading.Lock()


def folder() -> Path:
    """Where it is kept."""
    if told := os.environ.get("UNMELT_CACHE"):
        return Path(told).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "unmelt"


def place(name: str, settings: Any) -> Path:
    """The path for something of this name that was made with these settings, which JSON can hold."""
    told = json.dumps([VERSION, settings], sort_keys=True)
    return folder() / "lab" / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One at a time: among the threads of this process by a lock, among processes by one on a file, where there are
    such locks; the system takes that of a process that was killed away."""
    with _door:
        lock = _one_at_a_time.setdefault(path, threading.Lock())
    with lock, _lock_file(path.name) as file:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def learned(name: str, make: Callable[[], M], progress: Callable[[int, int, float], None] | None = None) -> M:
    """The model that `make` returns unfitted (a recipe), fitted: from the cache, or trained now and kept.

    progress   is told (steps done, steps in all, loss) now and then while it trains
    """
    model = make()
    assert model.training is not None
    path = place(name, model.describe())
    with _alone(path):
        found = _found(path)
        if found is not None and found.steps_done == model.training.steps:
            found.source, found.held_out = model.source, model.held_out
            return found  # type: ignore[return-value]
        watch = [_Told(progress, model.training.steps)] if progress is not None else []
        return model.fit(path, quiet=True, log_to=watch)


def finished(name: str, model: Model | TextModel) -> bool:
    """Whether what `learned` would return for this unfitted model is there, learned to its end."""
    assert model.training is not None
    path = place(name, model.describe())
    try:
        return path.exists() and load(path).steps_done == model.training.steps
    except UsageError:  # damaged
        return False


def kept(name: str, settings: Any, make: Callable[[], Any]) -> Any:
    """What `make` returns, which JSON can hold: from the cache, or worked out now and kept."""
    path = place(name, settings).with_suffix(".json")
    with _alone(path):
        try:
            return json.loads(path.read_text())
        except (OSError, json.JSONDecodeError):
            found = make()
            text = json.dumps(found)
            write(path, text.encode())
            return json.loads(text)  # the first time as every other time


def _found(path: Path) -> Model | TextModel | None:
    """The run there, as far as it was trained; what is damaged is thrown away, as a cache may be."""
    if not (path / "config.json").exists():
        return None
    try:
        return load(path)
    except UsageError:
        shutil.rmtree(path, ignore_errors=True)
        return None


def _lock_file(name: str) -> IO[str]:
    try:
        for each in ("lab", "locks"):
            (folder() / each).mkdir(parents=True, exist_ok=True)
        return open(folder() / "locks" / name, "w")
    except OSError as error:
        raise UsageError(
            f"{folder()}, which cannot be written ({error.strerror})",
            "a folder for what the lab trains",
            "UNMELT_CACHE=/tmp/unmelt unmelt lab",
        ) from None


class _Told(Logger):
    """Whoever watches, told of steps."""

    def __init__(self, progress: Callable[[int, int, float], None], steps: int) -> None:
        self.progress, self.steps = progress, steps

    def scalars(self, step: int, values: Any) -> None:
        self.progress(step, self.steps, values["loss"])

    def picture(self, step: int, path: Path) -> None:
        pass

    def close(self) -> None:
        pass

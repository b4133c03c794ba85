"""One writer for each run folder: an operating system's lock, which is released however its process ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from unmelt.errors import UsageError
from unmelt.terminal import notify
from unmelt.train import distributed

LOCK = ".lock"
"""The file that is locked, in the run folder. It stays there, empty, and a file that is not locked means nothing."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Inside, no other process or thread can hold the lock of this folder. A thread may nest it.

    Of several processes of one run the first holds the lock for all; every process must call. Where the file system has
    no locks, a message says so and nothing is locked.

    Args:
        folder: A folder that exists and can be written to.

    Yields:
        Nothing.

    Raises:
        UsageError: If another process or thread holds the lock.
    """
    lock = FileLock(str((folder / LOCK).resolve()), timeout=0, is_singleton=True)
    taken = distributed.broadcast_from_main(lambda: _acquired(lock, folder))
    if taken is None:
        raise UsageError(
            f"{folder} is in use by another process, which trains or tunes this run",
            "one at a time in a run folder",
            f"out={str(folder) + '-new'!r}",
        )
    try:
        yield
    finally:
        if taken and distributed.rank() == 0:
            lock.release()


def _acquired(lock: FileLock, folder: Path) -> bool | None:
    """Whether the lock is held now: None if somebody else holds it, False if there are no locks here."""
    try:
        lock.acquire()
    except Timeout:
        return None
    except (NotImplementedError, OSError) as error:
        notify(f"{folder} cannot be locked ({error}): let no other process write to it")
        return False
    return True

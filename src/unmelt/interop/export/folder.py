"""The folder that a model is exported to: new or empty before, whole afterwards, or left as it was."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unmelt.errors import UsageError
from unmelt.model import Model
from unmelt.run_folder import prepare, writable


@contextmanager
def export_folder(model: Model, folder: Path, suffix: str) -> Iterator[Path]:
    """A temporary folder whose content is moved to the folder at the end, unless an error is raised.

    Args:
        model: The model that is exported.
        folder: The folder to write, new or empty.
        suffix: What may be added to its name where it is not empty, for the message.

    Yields:
        The temporary folder.

    Raises:
        UsageError: If the folder is not empty or cannot be written to, or the model samples with an adapter.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty", "a new or empty folder", f"out={f'{folder}-{suffix}'!r}")
    writable(folder)
    if model.active_adapter is not None:
        name = model.active_adapter
        raise UsageError(
            f"a model that samples with its adapter {name!r}", "one set of weights", f"model.merge_adapter({name!r})"
        )
    prepare(folder.absolute().parent)
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent) as temporary:
        yield Path(temporary)
        shutil.copytree(temporary, folder, dirs_exist_ok=True)

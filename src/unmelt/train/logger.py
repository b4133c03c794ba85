"""Services that a run is reported to: TensorBoard, which needs no network, Weights & Biases and trackio.

Each receives the same numbers as `metrics.jsonl`, and the sample pictures.
"""

import secrets
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Protocol, final, runtime_checkable

import numpy as np
from PIL import Image

from unmelt.errors import UsageError, nearest
from unmelt.train.atomic_files import write

SERVICES = ("tensorboard", "wandb", "trackio", "auto", "none")


@runtime_checkable
class Logger(Protocol):
    """Where a run is reported to."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Report numbers.

        Args:
            step: Number of training steps taken so far.
            values: Numbers by name, as in metrics.jsonl.
        """

    def picture(self, step: int, path: Path) -> None:
        """Report a picture of samples.

        Args:
            step: Number of training steps taken so far.
            path: The image file.
        """

    def close(self) -> None:
        """Finish: the run has ended or was interrupted."""


def loggers(names: str | Sequence[Logger], folder: Path) -> list[Logger]:
    """Make the loggers of a run.

    Args:
        names: Names of services with commas between, as in `logger_names`; or loggers, which are used as they are.
        folder: The run folder.

    Returns:
        The loggers.

    Raises:
        UsageError: If a service is not known or not installed.
    """
    if not isinstance(names, str):
        return list(names)
    return [TensorBoard(folder) if name == "tensorboard" else Service(name, folder) for name in logger_names(names)]


def logger_names(names: str) -> list[str]:
    """Split and check names of services.

    Args:
        names: Names with commas between; "auto" is TensorBoard where it is installed, "none" is no service.

    Returns:
        The names of the services.

    Raises:
        UsageError: If a service is not known or not installed.
    """
    if names == "auto":
        names = "tensorboard" if find_spec("tensorboard") else "none"
    if names == "none":
        return []
    for name in names.split(","):
        if name not in SERVICES or name in ("auto", "none"):
            near = nearest(name, [each for each in SERVICES if each not in ("auto", "none")])
            raise UsageError(f"log_to={name!r}", f"one of {', '.join(SERVICES)}", f"log_to={near!r}")
        _installed(name)
    return names.split(",")


def _installed(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        raise UsageError(f"{name} is not installed", "the package of that service", f"pip install {name}") from None


def _run_id(folder: Path) -> str:
    """The run's identifier at services, made at its first start."""
    path, older = folder / "logger.id", folder / "watch.id"  # the latter as version 0.1.0 called it
    if older.is_file():
        return older.read_text(encoding="utf-8")
    if not path.is_file():
        write(path, secrets.token_hex(4).encode())
    return path.read_text(encoding="utf-8")


@final
class TensorBoard:
    """Event files in `tensorboard/` of the run folder, to be read by `tensorboard --logdir runs`.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.writer = import_module("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers under `training/`."""
        for name, value in values.items():
            self.writer.add_scalar(f"training/{name}", value, step)

    def picture(self, step: int, path: Path) -> None:
        """Write the picture as `samples`."""
        with Image.open(path) as image:
            self.writer.add_image("samples", np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Close the event file."""
        self.writer.close()


@final
class Service:
    """Weights & Biases, or trackio, which has nearly the same interface. WANDB_MODE=offline keeps wandb local.

    A resumed run goes on there as the same run; its identifier is in `logger.id` of the run folder.

    Args:
        name: "wandb" or "trackio".
        folder: The run folder.

    Raises:
        UsageError: If the package is not installed.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.library, identifier = _installed(name), _run_id(folder)
        if name == "wandb":
            args = {"name": folder.name, "id": identifier, "dir": str(folder)}
        else:  # trackio identifies a run by its name
            args = {"name": f"{folder.name}-{identifier}"}
        self.run = self.library.init(project="unmelt", resume="allow", **args)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers by their names."""
        self.run.log(dict(values), step=step)

    def picture(self, step: int, path: Path) -> None:
        """Log the picture as `samples`."""
        self.run.log({"samples": self.library.Image(str(path))}, step=step)

    def close(self) -> None:
        """Finish the service's run; it can be resumed."""
        self.run.finish()

"""Others who watch a run: TensorBoard, which needs no network, Weights & Biases and trackio.

Each is told of the same numbers as `metrics.jsonl`, and of the sample pictures.
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
from unmelt.train.files import write

SERVICES = ("tensorboard", "wandb", "trackio", "auto", "none")


@runtime_checkable
class Logger(Protocol):
    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers at a step, by name."""

    def picture(self, step: int, path: Path) -> None:
        """A picture of samples at a step."""

    def close(self) -> None:
        """The run has ended, for now."""


def loggers(names: str | Sequence[Logger], folder: Path) -> list[Logger]:
    """Those named, with commas between; "auto" is TensorBoard where it is installed, "none" is nobody. Or your own."""
    if not isinstance(names, str):
        return list(names)
    return [TensorBoard(folder) if name == "tensorboard" else Service(name, folder) for name in logger_names(names)]


def logger_names(names: str) -> list[str]:
    """Who is meant; a `UsageError` if one is not known, or not there."""
    if names == "auto":
        names = "tensorboard" if find_spec("tensorboard") else "none"
    if names == "none":
        return []
    for name in names.split(","):
        if name not in SERVICES or name in ("auto", "none"):
            near = nearest(name, [known for known in SERVICES if known not in ("auto", "none")])
            raise UsageError(f"log_to={name!r}", f"one of {', '.join(SERVICES)}", f"log_to={near!r}")
        _installed(name)
    return names.split(",")


def _installed(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError:
        raise UsageError(f"{name} is not installed", "what is to watch the run", f"pip install {name}") from None


@final
class TensorBoard:
    """Event files in `tensorboard/` of the run folder: `tensorboard --logdir runs`."""

    def __init__(self, folder: Path) -> None:
        self.writer = import_module("torch.utils.tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"training/{name}", value, step)

    def picture(self, step: int, path: Path) -> None:
        with Image.open(path) as image:
            self.writer.add_image("samples", np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


@final
class Service:
    """wandb, or trackio, which has nearly the same interface. WANDB_MODE=offline keeps wandb on this machine.

    A run that is interrupted goes on there as the same run, which it is known by in `watch.id` of its folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.library, place = _installed(name), folder / "watch.id"
        if not place.is_file():
            write(place, secrets.token_hex(4).encode())
        own = place.read_text()
        if name == "wandb":
            known = {"name": folder.name, "id": own, "dir": str(folder)}
        else:  # which knows a run by its name
            known = {"name": f"{folder.name}-{own}"}
        self.run = self.library.init(project="unmelt", resume="allow", **known)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def picture(self, step: int, path: Path) -> None:
        self.run.log({"samples": self.library.Image(str(path))}, step=step)

    def close(self) -> None:
        self.run.finish()

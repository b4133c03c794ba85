"""Files that are whole or absent: written beside their place, flushed to disk, and only then put there.

Tensors are safetensors, everything else is JSON; nothing is ever unpickled.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unmelt.errors import UsageError
from unmelt.train.ema import EMA


def write(path: Path, content: bytes) -> None:
    """Replace the file by `content`, atomically."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written ({error.strerror})",
            "a folder with room that can be written to",
            "--out runs/new",
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()  # gone already, unless something went wrong; a Ctrl-C may have


def write_json(path: Path, value: Any) -> None:
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write(path, save(whole, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata); a file that is missing, cut short or not safetensors is a `UsageError`."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"{path} cannot be read ({error})", "the whole file as it was saved", "a copy of it, or training again"
        ) from None


class Checkpoint:
    """Everything a run needs to go on as if it had never stopped.

    Data and noise are functions of the step number, so weights, their average, the optimizer's moments and that number
    are all there is.
    """

    def __init__(self, network: nn.Module, ema: EMA, optimizer: torch.optim.Optimizer) -> None:
        self.network, self.ema, self.optimizer = network, ema, optimizer
        self.names = [name for name, _ in network.named_parameters()]
        self.parameters = list(network.parameters())

    def save(self, path: Path, step: int) -> None:
        tensors = {f"weights.{name}": value for name, value in self.network.state_dict().items()}
        for name, average, parameter in zip(self.names, self.ema.average, self.parameters, strict=True):
            tensors[f"average.{name}"] = average
            for moment, value in self.optimizer.state[parameter].items():
                tensors[f"optimizer.{moment}.{name}"] = value
        write_tensors(path, tensors, {"step": str(step), "updates": str(self.ema.updates)})

    def load(self, path: Path) -> int:
        """Restore everything from the file; returns the number of steps already taken."""
        tensors, metadata = read_tensors(path)
        try:
            weights = {n.removeprefix("weights."): v for n, v in tensors.items() if n.startswith("weights.")}
            self.network.load_state_dict(weights)
            state = self.optimizer.state
            for name, average, parameter in zip(self.names, self.ema.average, self.parameters, strict=True):
                average.copy_(tensors[f"average.{name}"])
                state[parameter] = {
                    moment: self._placed(tensors[f"optimizer.{moment}.{name}"], parameter)
                    for moment in ("step", "exp_avg", "exp_avg_sq")
                }
            self.ema.updates = int(metadata["updates"])
            return int(metadata["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"{path} is not a checkpoint of this network ({error})",
                "the checkpoint that the same settings wrote",
                "the run's own settings, or another --out",
            ) from None

    def _placed(self, value: Tensor, parameter: Tensor) -> Tensor:
        return value.to(parameter.device) if value.ndim else value

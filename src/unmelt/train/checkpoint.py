"""Everything a run needs to go on as if it had never stopped, kept as a chain: the newest and those before it.

Data and noise are functions of the step number, so weights, their average, the optimizer's moments and that number
are all there is. A checkpoint holds whole tensors, whatever they were spread over, and a checksum: one that is damaged
is passed over for the one before it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unmelt.errors import UsageError
from unmelt.train import processes
from unmelt.train.ema import EMA
from unmelt.train.files import checksum, read_tensors, write_tensors
from unmelt.train.post_hoc_ema import PowerFunctionEMA


class Checkpoint:
    """The state of these parts.

    power   averages kept beside, if some are
    keep    how many checkpoints stay
    """

    def __init__(
        self,
        network: nn.Module,
        ema: EMA,
        optimizers: list[torch.optim.Optimizer],
        power: PowerFunctionEMA | None = None,
        keep: int = 2,
    ) -> None:
        self.network, self.ema, self.optimizers, self.power, self.keep = network, ema, optimizers, power, keep
        self.named = dict(network.named_parameters())
        self.owner = {each: one for one in optimizers for group in one.param_groups for each in group["params"]}

    def save(self, folder: Path, step: int) -> None:
        """Write a checkpoint, and only then remove the oldest. Every process must call; the first one writes."""
        tensors = {name: processes.whole(value).detach() for name, value in self._tensors()}
        if processes.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            about = {"step": step, "updates": self.ema.updates, "checksum": checksum(tensors)}
            write_tensors(folder / f"{step:09d}.safetensors", tensors, {name: str(x) for name, x in about.items()})
            for old in [*chain(folder)[self.keep :], *folder.glob(".*.safetensors.*")]:  # the latter of a killed run
                old.unlink()
        if processes.count() > 1:
            dist.barrier()

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from ((f"weights.{name}", value) for name, value in self.network.state_dict().items())
        for (name, parameter), average in zip(self.named.items(), self.ema.average, strict=True):
            yield f"average.{name}", processes.like(average, parameter)
            for moment, value in self.owner[parameter].state[parameter].items():
                yield f"optimizer.{moment}.{name}", value
        if self.power is not None:
            yield from ((f"power.{name}", value) for name, value in self.power.named().items())

    def load(self, folder: Path, warn: Callable[[str], None] = print) -> int:
        """Restore the newest checkpoint that is whole; returns the number of steps it had taken.

        tell   is told of each that is not. If none is, the newest one's `UsageError` is raised.
        """
        found = chain(folder)
        if not found:
            raise UsageError(
                f"no checkpoint in {folder}", "the checkpoints that training wrote", "a copy of them, or another --out"
            )
        errors = []
        for path in found:
            try:
                step = self._restore(path)
            except UsageError as error:
                errors.append(error)
                continue
            if errors:
                warn(f"{errors[0].given}; going on from step {step}, the checkpoint before it")
            return step
        raise errors[0]

    def _restore(self, path: Path) -> int:
        tensors, about = read_tensors(path)
        if about.get("checksum") != checksum(tensors):
            raise UsageError(
                f"{path} was damaged after it was written", "the file as it was saved", "a copy of it, or another --out"
            )
        try:
            weights = self.network.state_dict()
            if extra := {name for name in tensors if name.startswith("weights.")} - {f"weights.{n}" for n in weights}:
                raise KeyError(min(extra))
            restored = {name: tensors[f"weights.{name}"] for name in weights}
            of_optimizer = {name.split(".", 2)[1] for name in tensors if name.startswith("optimizer.")}
            moments = sorted(of_optimizer)  # a set has another order in every process, and they save them together
            self.network.load_state_dict({n: processes.placed(v, weights[n]) for n, v in restored.items()})
            for (name, parameter), average in zip(self.named.items(), self.ema.average, strict=True):
                average.copy_(processes.local(processes.placed(tensors[f"average.{name}"], parameter)))
                self.owner[parameter].state[parameter] = {
                    moment: self._moment(tensors[f"optimizer.{moment}.{name}"], parameter)
                    for moment in moments
                    if f"optimizer.{moment}.{name}" in tensors
                }
            self.ema.updates = int(about["updates"])
            if self.power is not None:
                self.power.restore({name: tensors[f"power.{name}"] for name in self.power.named()}, self.ema.updates)
            return int(about["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"{path} is not a checkpoint of this network ({error})",
                "the checkpoint that the same settings wrote",
                "the run's own settings, or another --out",
            ) from None

    def _moment(self, value: Tensor, parameter: Tensor) -> Tensor:
        return processes.placed(value, parameter) if value.ndim else value


def chain(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted(folder.glob("[0-9]*.safetensors"), reverse=True)

"""Everything a run needs to go on as if it had never stopped, kept as a chain: the newest checkpoint and those before.

Data and noise are functions of the step number, so the networks' weights, the average of the first one, the moments of
every optimizer and that number are all there is. A checkpoint holds whole tensors, however they were sharded, the
identifier of its run, and a checksum of all of it: one that is damaged, or of another run, is passed over for the one
before it.

Names of tensors: `weights.NAME`, `average.NAME`, `optimizer.MOMENT.NAME` and `power.STD/NAME` for the first network;
`networks.NETWORK.weights.NAME` and `networks.NETWORK.optimizer.MOMENT.NAME` for each further one. A weight that several
networks hold is written once, with the first of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unmelt.errors import UsageError
from unmelt.train import distributed
from unmelt.train.atomic_files import checksum, is_whole, read_metadata, read_tensors, write_tensors
from unmelt.train.ema import EMA
from unmelt.train.post_hoc_ema import PowerFunctionEMA


class NetworkState(NamedTuple):
    """A network whose state is saved.

    Args:
        network: The network.
        optimizers: The optimizers that own its parameters; empty if it has none, as a target that follows.
    """

    network: nn.Module
    optimizers: Sequence[torch.optim.Optimizer] = ()


@final
class Checkpoint:
    """Saves and restores the state of a run.

    Args:
        networks: Every network by name, with its optimizers. The first is the model's.
        ema: The average of the first network's weights.
        post_hoc_ema: Its power-function averages, None if the run keeps none.
        keep: How many checkpoints of this run stay in the folder.
        run: Identifier of the run; "" for a run of version 0.1.0, whose checkpoints have none.
    """

    def __init__(
        self,
        networks: Mapping[str, NetworkState],
        ema: EMA,
        post_hoc_ema: PowerFunctionEMA | None = None,
        keep: int = 2,
        run: str = "",
    ) -> None:
        self.networks, self.ema, self.post_hoc_ema = dict(networks), ema, post_hoc_ema
        self.keep, self.run = keep, run
        self._states: list[_State] = []
        earlier: set[int] = set()
        for name, saved in self.networks.items():
            self._states.append(_State(f"networks.{name}." if self._states else "", saved, earlier))
            earlier |= {id(value) for value in saved.network.state_dict(keep_vars=True).values()}

    def save(self, folder: Path, step: int) -> None:
        """Write a checkpoint, and only then remove the oldest. Every process must call; the first one writes.

        Args:
            folder: Where checkpoints are; made if it is not there.
            step: Number of training steps taken.

        Raises:
            UsageError: If the file cannot be written, as on a full disk. The checkpoints before it are then untouched.
        """
        tensors = {name: distributed.full_tensor(value).detach() for name, value in self.tensors()}
        if distributed.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            header = {"run": self.run, "step": str(step), "updates": str(self.ema.updates)}
            path = folder / f"{step:09d}.safetensors"
            write_tensors(path, tensors, {**header, "checksum": checksum(tensors, header)})
            own = [each for each in chain(folder) if each.name <= path.name and self._is_own(each)]
            for old in [*own[self.keep :], *folder.glob(".*.safetensors.*")]:  # the latter of a killed run
                old.unlink()
        if distributed.world_size() > 1:
            dist.barrier()

    def _is_own(self, path: Path) -> bool:
        """Whether a file may be removed as an old checkpoint of this run; one that cannot be read is of no use."""
        try:
            return read_metadata(path).get("run", "") == self.run
        except UsageError:
            return True

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The state as (name, tensor) pairs, laid out as the networks are. The same order in every process."""
        first, *others = self._states
        yield from first.weights()
        for (name, parameter), average in zip(first.parameters.items(), self.ema.average, strict=True):
            yield f"average.{name}", distributed.as_dtensor_like(average, parameter)
            yield from first.moments(name)
        if self.post_hoc_ema is not None:
            yield from ((f"power.{name}", value) for name, value in self.post_hoc_ema.named().items())
        for state in others:
            yield from state.weights()
            for name in state.parameters:
                yield from state.moments(name)

    def load(self, folder: Path, warn: Callable[[str], None] = print) -> int:
        """Restore the newest checkpoint of this run that is whole.

        Args:
            folder: Where checkpoints are.
            warn: Called with a message if newer ones were damaged or of another run.

        Returns:
            The number of training steps that it had taken.

        Raises:
            UsageError: If there is none, or none is whole; then it is about the newest one.
        """
        found = chain(folder)
        if not found:
            raise UsageError(
                f"no checkpoint in {folder}", "the checkpoints that training wrote", "a copy of them, or another out"
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
        tensors, metadata = read_tensors(path)
        if not is_whole(tensors, metadata):
            raise UsageError(
                f"{path} was damaged after it was written", "the file as it was saved", "a copy of it, or another out"
            )
        try:
            first = self._states[0]
            expected = {f"{state.prefix}weights.{name}" for state in self._states for name in state.weight_names}
            moments = tuple(f"{state.prefix}optimizer." for state in self._states)
            stored = {name for name in tensors if name.startswith(("weights.", "networks."))}
            if extra := {name for name in stored - expected if not name.startswith(moments)}:
                raise KeyError(min(extra))
            if missing := expected - tensors.keys():
                raise KeyError(min(missing))
            self._check_origin(path, metadata)
            for (name, parameter), average in zip(first.parameters.items(), self.ema.average, strict=True):
                average.copy_(distributed.to_local(distributed.distribute_like(tensors[f"average.{name}"], parameter)))
            for state in self._states:
                state.restore(tensors)
            self.ema.updates = int(metadata["updates"])
            if self.post_hoc_ema is not None:
                averages = {name: tensors[f"power.{name}"] for name in self.post_hoc_ema.named()}
                self.post_hoc_ema.restore(averages, self.ema.updates)
            return int(metadata["step"])
        except UsageError:
            raise
        except (KeyError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"{path} is not a checkpoint of this network ({error})",
                "the checkpoint that the same settings wrote",
                "the run's own settings, or another out",
            ) from None

    def _check_origin(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Refuse a checkpoint that another run wrote, or whose name is not its step."""
        instead = "the checkpoint that this run wrote", "a copy of it, or another out"
        if metadata.get("run", "") != self.run:
            raise UsageError(f"{path} is a checkpoint of another run", *instead)
        if path.stem != f"{int(metadata['step']):09d}":
            raise UsageError(f"{path} is the checkpoint of step {int(metadata['step'])} under another name", *instead)


class _State:
    """One network's weights and moments, under a prefix. `earlier`: ids of the tensors that earlier networks hold."""

    def __init__(self, prefix: str, saved: NetworkState, earlier: set[int]) -> None:
        self.prefix, self.network = prefix, saved.network
        self.parameters = dict(saved.network.named_parameters())
        values = saved.network.state_dict(keep_vars=True)
        self.weight_names = [name for name, value in values.items() if id(value) not in earlier]
        self.owner = {each: one for one in saved.optimizers for group in one.param_groups for each in group["params"]}

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        values = self.network.state_dict()
        yield from ((f"{self.prefix}weights.{name}", values[name]) for name in self.weight_names)

    def moments(self, name: str) -> Iterator[tuple[str, Tensor]]:
        parameter = self.parameters[name]
        if (optimizer := self.owner.get(parameter)) is not None:
            for moment, value in optimizer.state.get(parameter, {}).items():
                yield f"{self.prefix}optimizer.{moment}.{name}", value

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        values = self.network.state_dict()
        found = {name: tensors[f"{self.prefix}weights.{name}"] for name in self.weight_names}
        own = {name: distributed.distribute_like(value, values[name]) for name, value in found.items()}
        self.network.load_state_dict({**values, **own})
        start = f"{self.prefix}optimizer."
        kinds = {name.removeprefix(start).split(".", 1)[0] for name in tensors if name.startswith(start)}
        moments = sorted(kinds)  # a set has another order in every process, and they save them together
        for name, parameter in self.parameters.items():
            if parameter in self.owner:
                stored = {moment: tensors.get(f"{start}{moment}.{name}") for moment in moments}
                self.owner[parameter].state[parameter] = {
                    moment: distributed.distribute_like(value, parameter) if value.ndim else value
                    for moment, value in stored.items()
                    if value is not None
                }


def chain(folder: Path) -> list[Path]:
    """List the checkpoints in a folder.

    Args:
        folder: Where checkpoints are; it may be empty or not there.

    Returns:
        Their paths, newest first.
    """
    return sorted(folder.glob("[0-9]*.safetensors"), reverse=True)

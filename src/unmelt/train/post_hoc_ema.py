"""Power-function averages kept beside the weights, in snapshots, from which any other is made after training.

`averages/` of the run folder has one file each `snapshot_every` steps, with averages of two EMA stds, whole and in
float32. The mathematics is in `ema_profile`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.train import distributed
from unmelt.train.atomic_files import checksum, is_whole, read_metadata, read_tensors, write_tensors
from unmelt.train.ema_profile import EMAProfile, newest_weight, solve_coefficients, std_to_power

STDS = (0.05, 0.1)
"""EMA stds of the two averages that are kept: all useful ones can be combined from them (Karras et al., 2024)."""

LARGEST_ERROR = 0.1
"""An average whose profile has a larger error than this is refused."""


@final
class PowerFunctionEMA:
    """Averages of several EMA stds, kept beside some tensors. Of shards, each process averages its own.

    Args:
        weights: Tensors by name; they are shared with the network, which is trained in place.
        stds: EMA std of each average, relative to the run's length.

    Attributes:
        averages: For each std, the average of each tensor.
        updates: Number of updates so far.
    """

    def __init__(self, weights: Mapping[str, Tensor], stds: Iterable[float] = STDS) -> None:
        self.weights, self.updates = dict(weights), 0
        self.stds = tuple(stds)
        self.averages = [[weight.clone() for weight in self._newest()] for _ in self.stds]

    def _newest(self) -> list[Tensor]:
        return [distributed.to_local(weight.detach()) for weight in self.weights.values()]

    @torch.no_grad()
    def update(self) -> None:
        """Move every average towards the weights as they are now."""
        self.updates += 1
        for std, average in zip(self.stds, self.averages, strict=True):
            torch._foreach_lerp_(average, self._newest(), newest_weight(std_to_power(std), self.updates))

    def named(self) -> dict[str, Tensor]:
        """Name each average of each tensor.

        Returns:
            Averages by `STD/NAME`, sharded as their tensors are.
        """
        return {
            f"{std:g}/{name}": distributed.as_dtensor_like(part, weight)
            for std, average in zip(self.stds, self.averages, strict=True)
            for (name, weight), part in zip(self.weights.items(), average, strict=True)
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Go on from saved averages.

        Args:
            tensors: Whole averages by name, as in `named`.
            updates: Number of updates that they had.
        """
        for std, average in zip(self.stds, self.averages, strict=True):
            for (name, weight), part in zip(self.weights.items(), average, strict=True):
                part.copy_(distributed.to_local(distributed.distribute_like(tensors[f"{std:g}/{name}"], weight)))
        self.updates = updates

    def save(self, folder: Path, run: str = "") -> None:
        """Write a snapshot. Every process must call; the first one writes.

        Args:
            folder: Where snapshots are; made if it is not there.
            run: Identifier of the run.

        Raises:
            UsageError: If the file cannot be written.
        """
        tensors = {name: distributed.full_tensor(value) for name, value in self.named().items()}
        if distributed.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            header = {"run": run, "step": str(self.updates), "lengths": " ".join(f"{std:g}" for std in self.stds)}
            path = folder / f"{self.updates:09d}.safetensors"
            write_tensors(path, tensors, {**header, "checksum": checksum(tensors, header)})


class ReconstructedEMA(NamedTuple):
    """An average of the weights, made after training.

    Args:
        tensors: The averaged weights by name.
        steps: Number of steps that it is over.
        error: Root mean square error of its profile, relative to the profile that was asked for.
    """

    tensors: dict[str, Tensor]
    steps: int
    error: float


def reconstruct_ema(
    folder: Path, std: float, steps: int | None = None, warn: Callable[[str], None] = print, run: str = ""
) -> ReconstructedEMA:
    """Combine the snapshots of a run to the average of one EMA std.

    Args:
        folder: Where snapshots are.
        std: EMA std of the average, relative to the length of the run: 0.05 follows the last weights closely.
        steps: Number of steps that it is over, those of a snapshot; None is the last one.
        warn: Called with a message for each snapshot that is damaged or of another run. They are left out.
        run: Identifier of the run; "" for one of version 0.1.0, whose snapshots have none.

    Returns:
        The average.

    Raises:
        UsageError: If there are no snapshots, none has that number of steps, the std is out of its range, or the
            snapshots cannot be combined to its profile.
    """
    power, damaged = std_to_power(std), set[Path]()
    while True:
        stored = _stored(folder, damaged, warn, run)
        if not stored:
            raise UsageError(
                f"no snapshots in {folder}",
                "those that training keeps if it is asked to, from its first step on",
                "snapshot_every=1000",
            )
        ends = {profile.steps for *_, profile in stored}  # a profile that ends between two cannot be combined
        target = EMAProfile(power, max(ends) if steps is None else steps)
        if target.steps not in ends:
            near = min(ends, key=lambda end: abs(end - target.steps))
            raise UsageError(f"steps={steps}, without a whole snapshot", "the steps of a snapshot", f"steps={near}")
        found = solve_coefficients([profile for *_, profile in stored], target)
        if found.error > LARGEST_ERROR:
            raise UsageError(
                f"an EMA std of {std:g} over {target.steps} steps",
                f"one nearer to those stored; these snapshots give it with an error of {100 * found.error:.0f} %",
                "a value nearer to 0.05 and 0.1, or a run with a smaller snapshot_every",
            )
        coefficients: dict[Path, dict[str, float]] = {}
        for (path, name, _), coefficient in zip(stored, found.coefficients, strict=True):
            coefficients.setdefault(path, {})[name] = coefficient
        tensors = _sum(coefficients, damaged, warn)
        if tensors is not None:
            return ReconstructedEMA(tensors, target.steps, found.error)


def _stored(
    folder: Path, damaged: set[Path], warn: Callable[[str], None], run: str
) -> list[tuple[Path, str, EMAProfile]]:
    """(file, std as it is written there, profile) of every average that is not known to be damaged."""
    found = []
    for path in sorted(folder.glob("[0-9]*.safetensors")):
        if path in damaged:
            continue
        try:
            found += _profiles(path, run)
        except UsageError as error:
            damaged.add(path)
            warn(f"{error.given}; left out")
    return found


def _profiles(path: Path, run: str) -> list[tuple[Path, str, EMAProfile]]:
    """The averages that a snapshot says it holds; refused if it is of another run, or its name is not its step."""
    metadata, whole = read_metadata(path), ("a snapshot of this run", "a copy of it")
    if metadata.get("run", "") != run:
        raise UsageError(f"{path} is a snapshot of another run", *whole)
    if metadata.get("step", path.stem.lstrip("0")) != path.stem.lstrip("0"):
        raise UsageError(f"{path} is the snapshot of step {metadata['step']} under another name", *whole)
    try:
        names = metadata.get("lengths", "").split()
        return [(path, name, EMAProfile(std_to_power(float(name)), int(path.stem))) for name in names]
    except ValueError:
        raise UsageError(f"{path} was damaged after it was written", *whole) from None


def _sum(
    coefficients: Mapping[Path, Mapping[str, float]], damaged: set[Path], warn: Callable[[str], None]
) -> dict[str, Tensor] | None:
    """The sum in float64, rounded once; None if a file turns out to be damaged, which is then added to `damaged`."""
    total: dict[str, Tensor] = {}
    for path, parts in coefficients.items():
        tensors, metadata = read_tensors(path)
        if not is_whole(tensors, metadata):
            warn(f"{path} was damaged after it was written; left out")
            damaged.add(path)
            return None
        for each, value in tensors.items():
            std, _, name = each.partition("/")
            part = parts[std] * value.double()
            total[name] = total[name].add_(part) if name in total else part
    return {name: value.to(tensors[f"{std}/{name}"].dtype) for name, value in total.items()}

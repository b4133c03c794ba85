"""Two power-function averages kept beside the weights, in snapshots, from which any other is made after training.

What is kept is in `averages/` of the run folder: one file each `snapshot_every` steps, with both averages, whole and in
float32. The mathematics is in `profile`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.train import processes
from unmelt.train.ema_profile import EMAProfile, power_of, share, solve_coefficients
from unmelt.train.files import checksum, read_metadata, read_tensors, write_tensors

STDS = (0.05, 0.1)
"""Of the two that are kept: between and around them all that is useful can be made (Karras et al., 2024)."""

MOST_OFF = 0.1
"""An average that is farther than this from the one that was asked for is not given out as it."""


class PowerFunctionEMA:
    """Averages of these lengths, kept beside some tensors; of shards, each process keeps its own."""

    def __init__(self, weights: Mapping[str, Tensor], stds: Iterable[float] = STDS) -> None:
        self.weights, self.updates = dict(weights), 0
        self.stds = tuple(stds)
        self.averages = [[weight.clone() for weight in self._newest()] for _ in self.stds]

    def _newest(self) -> list[Tensor]:
        return [processes.local(weight.detach()) for weight in self.weights.values()]

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        for std, average in zip(self.stds, self.averages, strict=True):
            torch._foreach_lerp_(average, self._newest(), share(power_of(std), self.updates))

    def named(self) -> dict[str, Tensor]:
        """Each average of each tensor by name, laid out as that tensor is."""
        return {
            f"{std:g}/{name}": processes.like(part, weight)
            for std, average in zip(self.stds, self.averages, strict=True)
            for (name, weight), part in zip(self.weights.items(), average, strict=True)
        }

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Go on from averages as `named` has them, whole."""
        for std, average in zip(self.stds, self.averages, strict=True):
            for (name, weight), part in zip(self.weights.items(), average, strict=True):
                part.copy_(processes.local(processes.placed(tensors[f"{std:g}/{name}"], weight)))
        self.updates = updates

    def save(self, folder: Path) -> None:
        """Write a snapshot. Every process must call; the first one writes."""
        tensors = {name: processes.whole(value) for name, value in self.named().items()}
        if processes.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            about = {"lengths": " ".join(f"{std:g}" for std in self.stds), "checksum": checksum(tensors)}
            write_tensors(folder / f"{self.updates:09d}.safetensors", tensors, about)


class Averaged(NamedTuple):
    """An average that was made after training.

    steps   that it is over
    error   how far its profile is from the one that was asked for, root mean square, as a share of that
    """

    tensors: dict[str, Tensor]
    steps: int
    error: float


def averaged(folder: Path, std: float, steps: int | None = None, warn: Callable[[str], None] = print) -> Averaged:
    """The average of this length up to some snapshot, the last one if not given, from all that there are.

    warn   is told of snapshots that are damaged, which are done without
    """
    power, lost = power_of(std), set[Path]()
    while True:
        kept = _kept(folder, lost, warn)
        if not kept:
            raise UsageError(
                f"no snapshots in {folder}",
                "those of a run that kept some",
                "unmelt train images --folder faces --snapshot-every 1000 --out runs/faces",
            )
        ends = {profile.steps for *_, profile in kept}  # between two, no mix breaks off as a profile does
        wanted = EMAProfile(power, max(ends) if steps is None else steps)
        if wanted.steps not in ends:
            near = min(ends, key=lambda end: abs(end - wanted.steps))
            raise UsageError(f"steps={steps}, without a whole snapshot", "one that there is of", f"steps={near}")
        found = solve_coefficients([profile for *_, profile in kept], wanted)
        if found.error > MOST_OFF:
            raise UsageError(
                f"an average of length {std:g} over {wanted.steps} steps",
                f"one that these snapshots tell more of; this would be off by {100 * found.error:.0f} %",
                "a length nearer to 0.05 and 0.1, or a run with a smaller snapshot_every",
            )
        shares: dict[Path, dict[str, float]] = {}
        for (path, name, _), part in zip(kept, found.coefficients, strict=True):
            shares.setdefault(path, {})[name] = part
        tensors = _sum(shares, lost, warn)
        if tensors is not None:
            return Averaged(tensors, wanted.steps, found.error)


def _kept(folder: Path, lost: set[Path], warn: Callable[[str], None]) -> list[tuple[Path, str, EMAProfile]]:
    """(file, length as it is called there, profile) of every average that is not known to be lost."""
    found = []
    for path in sorted(folder.glob("[0-9]*.safetensors")):
        if path in lost:
            continue
        try:
            names = read_metadata(path).get("lengths", "").split()
        except UsageError as error:
            lost.add(path)
            warn(f"{error.given}; done without it")
            continue
        found += [(path, name, EMAProfile(power_of(float(name)), int(path.stem))) for name in names]
    return found


def _sum(
    shares: Mapping[Path, Mapping[str, float]], lost: set[Path], warn: Callable[[str], None]
) -> dict[str, Tensor] | None:
    """The sum in float64, rounded once; None if a file turns out to be damaged, which is then among the lost."""
    total: dict[str, Tensor] = {}
    for path, parts in shares.items():
        tensors, about = read_tensors(path)
        if about.get("checksum") != checksum(tensors):
            warn(f"{path} was damaged after it was written; done without it")
            lost.add(path)
            return None
        for each, value in tensors.items():
            std, _, name = each.partition("/")
            part = parts[std] * value.double()
            total[name] = total[name].add_(part) if name in total else part
    return {name: value.to(tensors[f"{std}/{name}"].dtype) for name, value in total.items()}

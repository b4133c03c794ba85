"""Densities in one or two dimensions, with an endless supply of exact samples.

They are small enough to plot and to train on in seconds, and have the shapes that models get wrong: separate modes,
sharp edges, thin curves. `TwoModes` and `Ring` are mixtures of isotropic Gaussians; their `means` and `sd` define an
exact denoiser, so that a trained model can be compared with the truth:

    ring = Ring();  truth = Mixture.isotropic(ring.means, ring.sd, process)

All lie within about [-2.5, 2.5], and labels are balanced on average.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.rng import Stream, fold


@dataclass(frozen=True, kw_only=True)
class Toy(ABC):
    """A density that can be sampled exactly, and so a source of batches that never repeat.

    Args:
        seed: Seed of the batches.
    """

    seed: int = 0

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of one row: (1,) or (2,)."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty if there are none."""

    @abstractmethod
    def sample(self, rows: int, rng: Stream) -> tuple[Float[Tensor, "rows *shape"], Int64[Tensor, " rows"] | None]:
        """Independent exact samples.

        Args:
            rows: Number of samples.
            rng: Source of randomness.

        Returns:
            (samples, labels); labels are None if there are no classes.
        """

    @final
    def batch(self, step: int, rows: int) -> tuple[Float[Tensor, "rows *shape"], Condition | None]:
        x, labels = self.sample(rows, Stream(fold(self.seed, step)))
        return x, None if labels is None else Condition(label=labels)


def _choose(count: int, rows: int, rng: Stream) -> Int64[Tensor, " rows"]:
    """An integer from 0 to count - 1 for each row, uniformly."""
    return (count * rng.uniform((rows,), torch.float64)).long()


def _blur(x: Float64[Tensor, "rows dim"], sd: float, rng: Stream) -> Float[Tensor, "rows dim"]:
    return (x + sd * rng.normal(x.shape, torch.float64)).float()


def _check_sd(owner: str, sd: float) -> None:
    if not (math.isfinite(sd) and sd > 0):
        raise UsageError(f"{owner} was given sd={sd}", "a positive standard deviation", f"{owner}(sd=0.1)")


@final
@dataclass(frozen=True, kw_only=True)
class TwoModes(Toy):
    """Two Gaussians on the line: half N(-distance, sd^2), half N(+distance, sd^2). The classes are "left" and "right".

    Args:
        seed: Seed of the batches.
        distance: Distance of each mode from 0.
        sd: Standard deviation of each mode.

    Raises:
        UsageError: If sd is not positive.
    """

    distance: float = 2.0
    sd: float = 0.3

    def __post_init__(self) -> None:
        _check_sd("TwoModes", self.sd)

    @property
    def shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def classes(self) -> tuple[str, ...]:
        return ("left", "right")

    @property
    def means(self) -> Float64[Tensor, "components 1"]:
        """The mean of each mode."""
        return torch.tensor([[-self.distance], [self.distance]], dtype=torch.float64)

    def sample(self, rows: int, rng: Stream) -> tuple[Float[Tensor, "rows 1"], Int64[Tensor, " rows"]]:
        labels = _choose(2, rows, rng)
        return _blur(self.means[labels], self.sd, rng), labels


@final
@dataclass(frozen=True, kw_only=True)
class Ring(Toy):
    """Isotropic Gaussians evenly spaced on a circle; class k is the mode at angle 2 pi k / modes.

    Args:
        seed: Seed of the batches.
        modes: Number of modes.
        radius: Radius of the circle.
        sd: Standard deviation of each mode.

    Raises:
        UsageError: If sd is not positive or there are no modes.
    """

    modes: int = 6
    radius: float = 2.0
    sd: float = 0.15

    def __post_init__(self) -> None:
        _check_sd("Ring", self.sd)
        if self.modes < 1:
            raise UsageError(f"Ring was given modes={self.modes}", "at least one mode", "Ring(modes=6)")

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"mode {mode}" for mode in range(self.modes))

    @property
    def means(self) -> Float64[Tensor, "components 2"]:
        """The mean of each mode."""
        angle = 2 * math.pi * torch.arange(self.modes, dtype=torch.float64) / self.modes
        return self.radius * torch.stack([angle.cos(), angle.sin()], 1)

    def sample(self, rows: int, rng: Stream) -> tuple[Float[Tensor, "rows 2"], Int64[Tensor, " rows"]]:
        labels = _choose(self.modes, rows, rng)
        return _blur(self.means[labels], self.sd, rng), labels


@final
@dataclass(frozen=True, kw_only=True)
class Checkerboard(Toy):
    """Uniform on the dark squares of a 4 x 4 board over [-2, 2]^2: eight unit squares, density 1/8 on each.

    Square (column, row) is dark where column + row is even. There are no classes; the difficulty is the sharp edges.

    Args:
        seed: Seed of the batches.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    def sample(self, rows: int, rng: Stream) -> tuple[Float[Tensor, "rows 2"], None]:
        square = _choose(8, rows, rng)
        column = square // 2
        row = 2 * (square % 2) + column % 2
        corner = torch.stack([column, row], 1).double() - 2
        return (corner + rng.uniform((rows, 2), torch.float64)).float(), None


@final
@dataclass(frozen=True, kw_only=True)
class Spirals(Toy):
    """Two arms of an Archimedean spiral, r = radius * angle / (2 pi turns), blurred; the classes are the arms.

    The angle grows as the square root of a uniform number, so that points are about evenly spaced along an arm.

    Args:
        seed: Seed of the batches.
        turns: Turns of each arm.
        radius: Distance of an arm's end from the centre.
        sd: Standard deviation of the noise.

    Raises:
        UsageError: If sd is not positive.
    """

    turns: float = 1.5
    radius: float = 2.0
    sd: float = 0.05

    def __post_init__(self) -> None:
        _check_sd("Spirals", self.sd)

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def classes(self) -> tuple[str, ...]:
        return ("first arm", "second arm")

    def sample(self, rows: int, rng: Stream) -> tuple[Float[Tensor, "rows 2"], Int64[Tensor, " rows"]]:
        labels = _choose(2, rows, rng)
        along = rng.uniform((rows,), torch.float64).sqrt()
        angle = 2 * math.pi * self.turns * along + math.pi * labels
        arm = self.radius * along[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
        return _blur(arm, self.sd, rng), labels


@final
@dataclass(frozen=True, kw_only=True)
class Moons(Toy):
    """Two interleaving half circles with Gaussian noise; the classes are the moons.

    The upper moon is the upper half of the circle of radius 4/3 around (-2/3, -1/3), the lower moon the lower half of
    the circle around (2/3, 1/3): the usual two moons, centred and scaled to the size of the other densities here.

    Args:
        seed: Seed of the batches.
        sd: Standard deviation of the noise.

    Raises:
        UsageError: If sd is not positive.
    """

    sd: float = 0.1

    def __post_init__(self) -> None:
        _check_sd("Moons", self.sd)

    @property
    def shape(self) -> tuple[int, ...]:
        return (2,)

    @property
    def classes(self) -> tuple[str, ...]:
        return ("upper", "lower")

    def sample(self, rows: int, rng: Stream) -> tuple[Float[Tensor, "rows 2"], Int64[Tensor, " rows"]]:
        labels = _choose(2, rows, rng)
        side = 1.0 - 2.0 * labels.double()  # +1 above, -1 below: either moon is the other one turned by half
        angle = math.pi * rng.uniform((rows,), torch.float64)
        curve = torch.stack([4 / 3 * angle.cos() - 2 / 3, 4 / 3 * angle.sin() - 1 / 3], 1)
        return _blur(side[:, None] * curve, self.sd, rng), labels

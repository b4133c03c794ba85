"""What a denoiser believes about the clean data x0, having seen x_t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor


def draw(law: Float64[Tensor, "*places symbols"], u: Float64[Tensor, "*places"]) -> Int64[Tensor, "*places"]:
    """The symbol at quantile u of a law that need not be normalised."""
    below = law.cumsum(-1)
    found = torch.searchsorted(below, (u * below[..., -1])[..., None], right=True)[..., 0]
    return torch.minimum(found, (below < below[..., -1:]).sum(-1))  # the last one possible, however u rounds


@runtime_checkable
class Posterior(Protocol):
    """A belief about x0. Guidance mixes beliefs; samplers turn them into steps."""

    @property
    def best(self) -> Tensor:
        """The one guess to look at, of the shape of x0."""

    def lerp(self, other: Any, weight: float | Tensor) -> Any:
        """This belief at weight 0, the other at 1, and on along the same line beyond."""


@dataclass(frozen=True)
class Point:
    """The belief of a Gaussian process: the mean E[x0 | x_t], which is all its score and its ODE need."""

    mean: Float[Tensor, "rows *shape"]

    @property
    def best(self) -> Float[Tensor, "rows *shape"]:
        return self.mean

    def lerp(self, other: Point, weight: float | Tensor) -> Point:
        return Point(torch.lerp(self.mean, other.mean, weight))


@dataclass(frozen=True)
class Categorical:
    """The belief of a process on tokens: for each place, how likely every token of the vocabulary is to stand there.

    Places are believed one by one, as if independent; that they are not is what many steps are for.
    """

    logits: Float[Tensor, "rows *shape vocabulary"]

    @property
    def best(self) -> Int64[Tensor, "rows *shape"]:
        return self.logits.argmax(-1)

    @property
    def log_probabilities(self) -> Float[Tensor, "rows *shape vocabulary"]:
        return self.logits.log_softmax(-1)

    @property
    def probabilities(self) -> Float[Tensor, "rows *shape vocabulary"]:
        """In float64, in which a token of probability 1e-9 comes up once in a billion, and not never."""
        return self.logits.double().softmax(-1)

    def write(
        self, x: Int64[Tensor, "rows *shape"], where: Bool[Tensor, "rows *shape"], u: Float64[Tensor, "rows *shape"]
    ) -> Int64[Tensor, "rows *shape"]:
        """x with a token drawn wherever one is to be written: that at quantile u. Nothing is worked out elsewhere."""
        drawn = draw(Categorical(self.logits[where]).probabilities, u[where])
        return x.masked_scatter(where, drawn)

    def lerp(self, other: Categorical, weight: float | Tensor) -> Categorical:
        """p^(1 - weight) other^weight, normalised; what one of the two rules out stays ruled out by it."""
        weight = weight[..., None] if isinstance(weight, Tensor) else weight
        mine, theirs = self.log_probabilities, other.log_probabilities
        mixed = mine + weight * (theirs - mine)
        return Categorical(torch.where(mine.isinf(), mine, torch.where(theirs.isinf(), theirs, mixed)))

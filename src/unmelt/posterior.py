"""Posteriors: what a denoiser believes about the clean data x0, given the noisy x_t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor


def draw(law: Float64[Tensor, "*places symbols"], u: Float64[Tensor, "*places"]) -> Int64[Tensor, "*places"]:
    """Draw from categorical distributions by inverting their cumulative distribution functions.

    Args:
        law: [*places, symbols], probabilities; they need not be normalised.
        u: [*places], quantiles in [0, 1).

    Returns:
        [*places], the index of the symbol at quantile u.
    """
    cumulative = law.cumsum(-1)
    index = torch.searchsorted(cumulative, (u * cumulative[..., -1])[..., None], right=True)[..., 0]
    return torch.minimum(index, (cumulative < cumulative[..., -1:]).sum(-1))  # never beyond the last possible symbol


@runtime_checkable
class Posterior(Protocol):
    """A belief about x0. Guidance mixes beliefs, samplers turn them into steps, objectives turn them into losses."""

    @property
    def best(self) -> Tensor:
        """A single estimate of x0, for display; it has the shape of x0."""

    def lerp(self, other: Any, weight: float | Tensor) -> Any:
        """Interpolate linearly between this belief and another; weights outside [0, 1] extrapolate.

        Args:
            other: A belief of the same kind and shape.
            weight: 0 gives this belief, 1 the other. A number, or a tensor that broadcasts over x0.

        Returns:
            A belief of the same kind.
        """


@dataclass(frozen=True)
class Point:
    """The belief of a Gaussian process: the posterior mean, which determines its score and its ODE.

    Args:
        mean: [rows, *shape], E[x0 | x_t].
    """

    mean: Float[Tensor, "rows *shape"]

    @property
    def best(self) -> Float[Tensor, "rows *shape"]:
        return self.mean

    def lerp(self, other: Point, weight: float | Tensor) -> Point:
        return Point(torch.lerp(self.mean, other.mean, weight))


@dataclass(frozen=True)
class Categorical:
    """The belief of a process on tokens: a categorical distribution at each position.

    Positions are treated as independent given x_t. They are not in general, which is why sampling takes many steps.

    Args:
        logits: [rows, *shape, vocabulary], unnormalised log-probabilities; -inf rules a token out.
    """

    logits: Float[Tensor, "rows *shape vocabulary"]

    @property
    def best(self) -> Int64[Tensor, "rows *shape"]:
        return self.logits.argmax(-1)

    @property
    def log_probabilities(self) -> Float[Tensor, "rows *shape vocabulary"]:
        """Normalised log-probabilities, in the precision of the logits."""
        return self.logits.log_softmax(-1)

    @property
    def probabilities(self) -> Float[Tensor, "rows *shape vocabulary"]:
        """Normalised probabilities in float64, so that tokens of probability 1e-9 are drawn at that rate."""
        return self.logits.double().softmax(-1)

    def write(
        self, x: Int64[Tensor, "rows *shape"], where: Bool[Tensor, "rows *shape"], u: Float64[Tensor, "rows *shape"]
    ) -> Int64[Tensor, "rows *shape"]:
        """Draw tokens at some positions of x. Probabilities are computed at these positions only.

        Args:
            x: [rows, *shape], the tokens to replace.
            where: [rows, *shape], True at the positions to draw.
            u: [rows, *shape], the quantile in [0, 1) of each draw.

        Returns:
            [rows, *shape], x with the drawn tokens in place.
        """
        drawn = draw(Categorical(self.logits[where]).probabilities, u[where])
        return x.masked_scatter(where, drawn)

    def lerp(self, other: Categorical, weight: float | Tensor) -> Categorical:
        """p^(1 - weight) other^weight, normalised. A token that either belief rules out stays ruled out."""
        weight = weight[..., None] if isinstance(weight, Tensor) else weight
        log_p, log_q = self.log_probabilities, other.log_probabilities
        mixed = log_p + weight * (log_q - log_p)
        return Categorical(torch.where(log_p.isinf(), log_p, torch.where(log_q.isinf(), log_q, mixed)))

"""Posteriors: what a denoiser believes about the clean data x0, given the noisy x_t."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.public_names import publish

__all__ = ["Categorical", "Point", "Posterior", "draw"]


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

    Temperature and nucleus sampling change what is drawn, not how sure the model is. A belief that they changed keeps
    the logits from before, by which orders and paces rank positions: at temperature 0 all positions would tie.

    Args:
        logits: [rows, *shape, vocabulary], unnormalised log-probabilities that tokens are drawn from; -inf rules a
            token out.
        ranking_logits: Of the same shape, the belief by which positions are ranked. None: `logits`.
    """

    logits: Float[Tensor, "rows *shape vocabulary"]
    ranking_logits: Float[Tensor, "rows *shape vocabulary"] | None = None

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

    @property
    def ranking_probabilities(self) -> Float[Tensor, "rows *shape vocabulary"]:
        """Normalised probabilities by which positions are ranked, in the precision of the logits."""
        return (self.logits if self.ranking_logits is None else self.ranking_logits).softmax(-1)

    def drawn_from(self, logits: Float[Tensor, "rows *shape vocabulary"]) -> Categorical:
        """The same belief, whose tokens are drawn from other logits. Positions are ranked as before.

        Args:
            logits: [rows, *shape, vocabulary], what tokens are drawn from.

        Returns:
            The belief.
        """
        return Categorical(logits, self.logits if self.ranking_logits is None else self.ranking_logits)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Categorical:
        """The belief after a change that counts for drawing tokens and for ranking positions.

        Args:
            change: Maps logits to logits of the same shape.

        Returns:
            The belief.
        """
        return Categorical(change(self.logits), None if self.ranking_logits is None else change(self.ranking_logits))

    def write(
        self,
        x: Int64[Tensor, "rows *shape"],
        where: Bool[Tensor, "rows *shape"],
        u: Float64[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"] | None = None,
        first: Int64[Tensor, " rows"] | None = None,
    ) -> Int64[Tensor, "rows *shape"]:
        """Draw tokens at some positions of x. Probabilities are computed at these positions only.

        Args:
            x: [rows, *shape], the tokens to replace.
            where: [rows, *shape], True at the positions to draw.
            u: [rows, *shape], the quantile in [0, 1) of each draw.
            t: [rows] or finer, the time of each row, for the error message. None: not known.
            first: [rows], the position in its row at which x begins, for the error message. None: 0.

        Returns:
            [rows, *shape], x with the drawn tokens in place.

        Raises:
            UsageError: If the logits are no distribution at one of these positions.
        """
        logits = self.logits[where]
        law = Categorical(logits).probabilities
        wrong = law[:, 0].isnan()  # softmax makes the whole position NaN
        if wrong.any():
            index = int(wrong.nonzero()[0])
            row, *place = where.nonzero()[index].tolist()
            if first is not None:
                place[0] += int(first[row])
            raise no_distribution(logits[index], place, None if t is None else t[row].flatten()[0].item())
        return x.masked_scatter(where, draw(law, u[where]))

    def lerp(self, other: Categorical, weight: float | Tensor) -> Categorical:
        """p^(1 - weight) other^weight, normalised. A token that either belief rules out stays ruled out."""
        weight = weight[..., None] if isinstance(weight, Tensor) else weight
        logits = _extrapolated(self.logits, other.logits, weight)
        if self.ranking_logits is None and other.ranking_logits is None:
            return Categorical(logits)
        own, others = (each.logits if each.ranking_logits is None else each.ranking_logits for each in (self, other))
        return Categorical(logits, _extrapolated(own, others, weight))


def _extrapolated(p: Tensor, q: Tensor, weight: float | Tensor) -> Tensor:
    """Logits of p^(1 - weight) q^weight; -inf where either is."""
    log_p, log_q = p.log_softmax(-1), q.log_softmax(-1)
    mixed = log_p + weight * (log_q - log_p)
    return torch.where(log_p.isinf(), log_p, torch.where(log_q.isinf(), log_q, mixed))


def no_distribution(logits: Float[Tensor, " vocabulary"], position: Sequence[int], t: float | None) -> UsageError:
    """The error for logits that are no distribution.

    Args:
        logits: [vocabulary], the logits of one position.
        position: The position within its row.
        t: Its time; None where it is not known.

    Returns:
        The error.
    """
    where = f"position {', '.join(map(str, position))}" + ("" if t is None else f", t = {t:.4g}")
    if (logits == -torch.inf).all():
        return UsageError(
            f"a belief in which no token is possible, at {where}",
            "at least one token whose logit is not -inf",
            "a rule that allows a token which the model believes in, and a rule inside of TopP, not around it",
        )
    return UsageError(
        f"a belief that is no distribution, at {where}: a logit is {'NaN' if logits.isnan().any() else 'infinite'}",
        "logits that are numbers, or -inf",
        "a model whose training did not diverge: a smaller lr, or earlier weights",
    )


publish(__name__)

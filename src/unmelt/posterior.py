"""Posteriors: what a denoiser believes about the clean data x0, given the noisy x_t."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.public_names import publish

__all__ = ["Categorical", "Conditionals", "Point", "Posterior", "draw", "draw_order"]

GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio, modulo 1, are evenly spread."""

Conditionals: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(rows, places, x, drawn) -> logits at one place of each of these rows, given the tokens x of the places that are
already drawn. Places are counted along the row, the last side running fastest."""


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


def draw_order(n: int) -> Int64[Tensor, " n"]:
    """The order in which dependent tokens of one belief are drawn: it spreads the first ones over the row.

    Args:
        n: Places of a row.

    Returns:
        [n], the places, by the fractional part of their number times the golden ratio.
    """
    return (torch.arange(n, dtype=torch.float64) * GOLDEN % 1).argsort()


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

    A belief that is held within the range of the data keeps the mean from before: beliefs are mixed as they were, and
    the mixture is held within the range.

    Args:
        mean: [rows, *shape], E[x0 | x_t].
        raw: Of the same shape, the mean before it was held within a range. None: `mean`.
        bound: What holds means within a range; None for nothing.
    """

    mean: Float[Tensor, "rows *shape"]
    raw: Float[Tensor, "rows *shape"] | None = None
    bound: Callable[[Tensor], Tensor] | None = None

    @property
    def best(self) -> Float[Tensor, "rows *shape"]:
        return self.mean

    def within(self, bound: Callable[[Tensor], Tensor]) -> Point:
        """The same belief, held within a range.

        Args:
            bound: From means to means of the same shape.

        Returns:
            The belief.
        """
        raw = self.mean if self.raw is None else self.raw
        return Point(bound(raw), raw, bound)

    def lerp(self, other: Point, weight: float | Tensor) -> Point:
        bound = self.bound or other.bound
        if bound is None:
            return Point(torch.lerp(self.mean, other.mean, weight))
        first, second = (each.mean if each.raw is None else each.raw for each in (self, other))
        return Point(torch.lerp(first, second, weight)).within(bound)


@dataclass(frozen=True)
class Categorical:
    """The belief of a process on tokens: a categorical distribution at each position.

    Positions are treated as independent given x_t, unless there are `conditionals`. They are not in general, which is
    why sampling takes many steps.

    Temperature and nucleus sampling change what is drawn, not how sure the model is. A belief that they changed keeps
    the logits from before, by which orders and paces rank positions: at temperature 0 all positions would tie.

    Args:
        logits: [rows, *shape, vocabulary], unnormalised log-probabilities that tokens are drawn from; -inf rules a
            token out.
        ranking_logits: Of the same shape, the belief by which positions are ranked. None: `logits`.
        conditionals: How the belief at a place changes once tokens of other places are drawn from the same belief.
            `logits` are then the marginals, and tokens are drawn one after the other. None: it does not.
    """

    logits: Float[Tensor, "rows *shape vocabulary"]
    ranking_logits: Float[Tensor, "rows *shape vocabulary"] | None = None
    conditionals: Conditionals | None = None

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

    def redrawn(self, change: Callable[[Tensor], Tensor]) -> Categorical:
        """The same belief, whose tokens are drawn from changed logits. Positions are ranked as before.

        Args:
            change: Maps logits [*places, vocabulary] to logits of the same shape, each position by itself.

        Returns:
            The belief.
        """
        ranking = self.logits if self.ranking_logits is None else self.ranking_logits
        return Categorical(change(self.logits), ranking, self._changed_conditionals(lambda logits, _: change(logits)))

    def changed(self, change: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]) -> Categorical:
        """The belief after a change that counts for drawing tokens and for ranking positions.

        Args:
            change: (logits, at) -> logits of the same shape. The logits are of all positions or of some; `at` selects
                these positions from a tensor [rows, *shape, ...].

        Returns:
            The belief.
        """

        def everywhere(of: Tensor) -> Tensor:
            return of

        ranking = None if self.ranking_logits is None else change(self.ranking_logits, everywhere)
        return Categorical(change(self.logits, everywhere), ranking, self._changed_conditionals(change))

    def _changed_conditionals(
        self, change: Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]
    ) -> Conditionals | None:
        if self.conditionals is None:
            return None
        before = self.conditionals

        def after(rows: Tensor, places: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
            return change(before(rows, places, x, drawn), lambda of: self._at(of, rows, places))

        return after

    def _at(self, of: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        """Values of a tensor [rows, *shape, ...] at one place of each of some rows."""
        return of[rows, *torch.unravel_index(places, self.logits.shape[1:-1])]

    def given(self, rows: Tensor, places: Tensor, x: Tensor, drawn: Tensor) -> Float[Tensor, "some vocabulary"]:
        """Logits at one place of some rows, given the tokens that were drawn before from this belief.

        Args:
            rows: [some], numbers of the rows.
            places: [some], a place of each, counted along the row.
            x: [some, n], the rows, flat.
            drawn: [some, n], True at the places that are drawn.

        Returns:
            [some, vocabulary]; the marginal where nothing is drawn, or positions are independent.
        """
        marginal = self._at(self.logits, rows, places)
        if self.conditionals is None or not drawn.any():
            return marginal
        return torch.where(drawn.any(1)[:, None], self.conditionals(rows, places, x, drawn), marginal)

    def write(
        self,
        x: Int64[Tensor, "rows *shape"],
        where: Bool[Tensor, "rows *shape"],
        u: Float64[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"] | None = None,
        first: Int64[Tensor, " rows"] | None = None,
    ) -> Int64[Tensor, "rows *shape"]:
        """Draw tokens at some positions of x. Probabilities are computed at these positions only.

        With `conditionals`, the positions of a row are drawn in turn, in the order of `draw_order`.

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

        def drawn(logits: Tensor, index: Tensor) -> Tensor:
            """One token for each of these logits, which are of the positions where[index]."""
            law = Categorical(logits).probabilities
            wrong = law[:, 0].isnan()  # softmax makes the whole position NaN
            if wrong.any():
                number = int(wrong.nonzero()[0])
                row, *place = index[number].tolist()
                if first is not None:
                    place[0] += int(first[row])
                raise no_distribution(logits[number], place, None if t is None else t[row].flatten()[0].item())
            return draw(law, u[*index.unbind(1)])

        if self.conditionals is None:
            return x.masked_scatter(where, drawn(self.logits[where], where.nonzero()))
        shape, flat, done = x.shape, x.flatten(1).clone(), torch.zeros_like(where.flatten(1))
        order = draw_order(flat.shape[1]).to(x.device)
        turn = where.flatten(1)[:, order]
        turn = torch.where(turn, turn.cumsum(1), 0)
        for number in range(1, int(turn.max()) + 1):
            rows, number_in_order = (turn == number).nonzero(as_tuple=True)
            places = order[number_in_order]
            logits = self.given(rows, places, flat[rows], done[rows])
            flat[rows, places] = drawn(logits, torch.stack([rows, *torch.unravel_index(places, shape[1:])], 1))
            done[rows, places] = True
        return flat.view(shape)

    def lerp(self, other: Categorical, weight: float | Tensor) -> Categorical:
        """p^(1 - weight) other^weight, normalised. A token that either belief rules out stays ruled out."""
        weight = weight[..., None] if isinstance(weight, Tensor) else weight
        logits = _extrapolated(self.logits, other.logits, weight)
        ranking: Tensor | None = None
        if self.ranking_logits is not None or other.ranking_logits is not None:
            own, others = (
                each.logits if each.ranking_logits is None else each.ranking_logits for each in (self, other)
            )
            ranking = _extrapolated(own, others, weight)
        if self.conditionals is None and other.conditionals is None:
            return Categorical(logits, ranking)

        def conditionals(rows: Tensor, places: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
            own, others = (each.given(rows, places, x, drawn) for each in (self, other))
            by = self._at(weight.expand(*logits.shape[:-1], 1), rows, places) if isinstance(weight, Tensor) else weight
            return _extrapolated(own, others, by)

        return Categorical(logits, ranking, conditionals)

    @staticmethod
    def join(parts: Sequence[Categorical]) -> Categorical:
        """Rows of several beliefs, one after the other.

        Args:
            parts: The beliefs, of one shape, ranked by their own logits.

        Returns:
            The belief about all rows.
        """
        logits = torch.cat([part.logits for part in parts])
        if all(part.conditionals is None for part in parts):
            return Categorical(logits)
        ends = torch.tensor([len(part.logits) for part in parts]).cumsum(0)

        def conditionals(rows: Tensor, places: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
            found = logits.new_empty(len(rows), logits.shape[-1])
            number = torch.searchsorted(ends.to(rows.device), rows, right=True)
            for part, (each, end) in enumerate(zip(parts, ends.tolist(), strict=True)):
                own = number == part
                first = end - len(each.logits)
                found[own] = each.given(rows[own] - first, places[own], x[own], drawn[own])
            return found

        return Categorical(logits, conditionals=conditionals)


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

"""The negative evidence lower bound of token diffusion in continuous time, for every process on tokens.

Given x0, the reverse process jumps from token x to y at the rate

    R(y) = beta pi(x) r(y),      r(y) = q(y | x0) / q(x | x0),      beta = -alpha' / alpha

and the model at the same rate with rhat(y) = sum_v p(v) q(y | v) / q(x | v) in place of r, where p is its belief. The
bound is the integral over t of the divergence between the two Poisson processes (Campbell et al., 2022; Lou et al.,
2024, equation 5: the score entropy, in which rhat is the concrete score):

    beta pi(x) sum_{y /= x} [ rhat(y) - r(y) + r(y) log(r(y) / rhat(y)) ]

For masks all terms but that of y = x0 cancel, and it is a weighted cross-entropy over the masked tokens (Sahoo et al.,
2024; Shi et al., 2024): -alpha' / (1 - alpha) times -log p(x0). There are no terms at the ends: x_1 is independent of
x0, and x_0 is x0.

Tokens that are known or equal to `padding` never melt and are never counted; an end of text is a token like any other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.objective import times as of
from unmelt.objective.counted_tokens import counted
from unmelt.posterior import Categorical
from unmelt.process import Mask, Uniform
from unmelt.process.broadcast import expand_like
from unmelt.process.tokens import Tokens
from unmelt.rng import Random

LEAST = 1e-6
"""The least share alpha: below it the integrand, which goes to 0 with alpha, is lost in rounding."""


def rate(
    process: Tokens,
    x_t: Int64[Tensor, "rows *shape"],
    x0: Int64[Tensor, "rows *shape"],
    posterior: Categorical,
    t: Float[Tensor, " rows"],
) -> Float[Tensor, "rows *shape"]:
    """The integrand of the bound at each position, by the general formula, for every process.

    Args:
        process: The process that made x_t.
        x_t: [rows, *shape], the noisy tokens.
        x0: [rows, *shape], the clean tokens.
        posterior: The denoiser's belief about x0.
        t: [rows], the times.

    Returns:
        [rows, *shape], nats per unit of time.
    """
    pi = process.limit.to(x_t.device)
    alpha = expand_like(process.schedule.alpha(t).clamp_min(LEAST), x_t, 1)
    beta = expand_like(-process.schedule.alpha_rate(t), x_t, 1) / alpha
    certain = torch.nn.functional.one_hot(x0, process.vocabulary).double().log()
    true, believed = (
        alpha * w + (1 - alpha) * pi * w.sum(-1, keepdim=True)
        for w in (process.belief_over_likelihood(x_t, each, t) for each in (Categorical(certain), posterior))
    )
    cost = believed - true + torch.xlogy(true, true) - torch.where(true > 0, true * believed.log(), 0.0)
    elsewhere = torch.arange(process.symbols, device=x_t.device) != x_t[..., None]
    return (beta * pi[x_t][..., None] * torch.where(elsewhere, cost, 0.0)).sum(-1)


def uniform_rate(
    process: Uniform,
    x_t: Int64[Tensor, "rows *shape"],
    x0: Int64[Tensor, "rows *shape"],
    posterior: Categorical,
    t: Float[Tensor, " rows"],
) -> Float[Tensor, "rows *shape"]:
    """The integrand for uniform noise, in two passes over the vocabulary, with b = (1 - alpha) / vocabulary.

        rhat(y) = 1 - p(x) alpha / (alpha + b) + p(y) alpha / b,      r(y) is the same for a p that is certain of x0

    Args:
        process: The process that made x_t.
        x_t: [rows, *shape], the noisy tokens.
        x0: [rows, *shape], the clean tokens.
        posterior: The denoiser's belief about x0.
        t: [rows], the times.

    Returns:
        [rows, *shape], nats per unit of time.
    """
    p = posterior.logits.softmax(-1)
    at = expand_like(process.schedule.alpha(t).clamp_min(LEAST), x_t).to(p)
    few, rest = (1 - at) / process.vocabulary, process.vocabulary - 1
    here, there = (p.gather(-1, x[..., None])[..., 0] for x in (x_t, x0))
    up, kept = at / few, at / (at + few)
    level = 1 - here * kept
    log_believed = torch.log(level[..., None] + p * up[..., None])
    logs = log_believed.sum(-1) - torch.log(level + here * up)  # over all y but x
    right = x0 == x_t
    base = torch.where(right, 1 - kept, 1.0)  # r, but at x0 where that is elsewhere
    true = base * rest + torch.where(right, 0.0, up)
    peak = torch.where(right, 0.0, torch.xlogy(1 + up, 1 + up) - up * torch.log(level + there * up))
    entropy = torch.where(right, rest * torch.xlogy(1 - kept, 1 - kept), 0.0)
    believed = (1 - here) * up + rest * level
    beta = expand_like(-process.schedule.alpha_rate(t), x_t).to(p) / at
    return beta / process.vocabulary * (believed - true + entropy + peak - base * logs)


def mask_rate(
    process: Mask,
    x_t: Int64[Tensor, "rows *shape"],
    x0: Int64[Tensor, "rows *shape"],
    posterior: Categorical,
    t: Float[Tensor, " rows"],
) -> Float[Tensor, "rows *shape"]:
    """The integrand for masks, from the logits alone.

    Args:
        process: The process that made x_t.
        x_t: [rows, *shape], the noisy tokens.
        x0: [rows, *shape], the clean tokens.
        posterior: The denoiser's belief about x0.
        t: [rows], the times.

    Returns:
        [rows, *shape], nats per unit of time.
    """
    miss = -posterior.log_probabilities.gather(-1, x0[..., None])[..., 0]
    schedule = process.schedule
    weight = -schedule.alpha_rate(t) / (1 - schedule.alpha(t))
    return torch.where(process.masked(x_t), miss, 0.0) * expand_like(weight, x_t).to(miss)


_RATES: dict[type, Callable[..., Tensor]] = {Mask: mask_rate, Uniform: uniform_rate}
"""The processes with a formula of their own."""


@final
@dataclass(frozen=True, kw_only=True)
class NELBO:
    """The negative evidence lower bound, in nats per counted token of a row.

    Args:
        times: The distribution of training times. The loss is divided by its density, so that the expectation is the
            bound for every distribution.
        drop: Share of rows whose condition is dropped to null, for classifier-free guidance.
        padding: Token that fills rows up. Like known tokens, it never melts and is never counted. None: no padding.

    Raises:
        UsageError: If the share is not from 0 to 1.
    """

    times: of.Times = of.Stratified(of.Uniform())
    drop: float = 0.0
    padding: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.drop <= 1:
            raise UsageError(f"NELBO with drop={self.drop}", "a share from 0 to 1", "NELBO(drop=0.1)")

    def __call__(
        self, denoiser: Any, x0: Int64[Tensor, "rows *shape"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        process, rows = denoiser.process, len(x0)
        t = self.times.draw(rows, process.schedule, rng).to(x0.device)
        x_t, _ = process.corrupt(x0, t, rng)
        if condition is not None and self.drop > 0:
            condition = condition.drop((rng.uniform((rows,)) < self.drop).to(x0.device))
        real = counted(x0, condition, self.padding)
        x_t = torch.where(real, x_t, x0)
        belief = denoiser(x_t, t, condition)
        nats = _RATES.get(type(process), rate)(process, x_t, x0, belief, t)
        total = torch.where(real, nats, 0.0).flatten(1).sum(1) / real.flatten(1).sum(1).clamp_min(1)
        return total / self.times.density(t, process.schedule).to(total)

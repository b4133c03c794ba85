"""The negative evidence lower bound of token diffusion in continuous time, for every process on tokens.

A token x jumps to y on its way back at the rate, given x0, of

    R(y) = beta pi(x) r(y),      r(y) = q(y | x0) / q(x | x0),      beta = -alpha' / alpha

and the model jumps at the same with r as believed, rhat(y) = sum_v p(v) q(y | v) / q(x | v). The bound is the integral
over t of what the two laws differ by, the divergence of two Poisson processes (Campbell et al., 2022; Lou et al., 2024,
equation 5: the score entropy, rhat being the concrete score):

    beta pi(x) sum_{y /= x} [ rhat(y) - r(y) + r(y) log(r(y) / rhat(y)) ]

For masks all but the token itself cancels, and it is a weighted cross-entropy over what is masked (Sahoo et al., 2024;
Shi et al., 2024): -alpha' / (1 - alpha) times -log p(x0). At t = 1 nothing is left to tell, at t = 0 nothing to make.

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
from unmelt.objective.counted import counted
from unmelt.posterior import Categorical
from unmelt.process import Mask, Uniform
from unmelt.process.broadcast import expand_like
from unmelt.process.tokens import Tokens
from unmelt.rng import Random

LEAST = 1e-6
"""Share that is left, below which the integrand, which goes to 0 with it, is no longer told from rounding."""


def rate(
    process: Tokens,
    x_t: Int64[Tensor, "rows *shape"],
    x0: Int64[Tensor, "rows *shape"],
    posterior: Categorical,
    t: Float[Tensor, " rows"],
) -> Float[Tensor, "rows *shape"]:
    """The integrand above at each place, in nats; in the formula for every process."""
    pi = process.limit.to(x_t.device)
    alpha = expand_like(process.schedule.alpha(t).clamp_min(LEAST), x_t, 1)
    beta = expand_like(-process.schedule.alpha_rate(t), x_t, 1) / alpha
    certain = torch.nn.functional.one_hot(x0, process.vocabulary).double().log()
    true, believed = (
        alpha * w + (1 - alpha) * pi * w.sum(-1, keepdim=True)
        for w in (process.weights(x_t, each, t) for each in (Categorical(certain), posterior))
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
    """The same number for uniform noise, in two passes over the vocabulary, with b = (1 - alpha) / V:

    rhat(y) = 1 - p(x) alpha / (alpha + b) + p(y) alpha / b,      r(y) the same for a p that is certain of x0
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
    """The same number for masks, from the logits alone."""
    miss = -posterior.log_probabilities.gather(-1, x0[..., None])[..., 0]
    schedule = process.schedule
    weight = -schedule.alpha_rate(t) / (1 - schedule.alpha(t))
    return torch.where(process.masked(x_t), miss, 0.0) * expand_like(weight, x_t).to(miss)


_RATES: dict[type, Callable[..., Tensor]] = {Mask: mask_rate, Uniform: uniform_rate}
"""Processes that have a shorter formula."""


@final
@dataclass(frozen=True, kw_only=True)
class NELBO:
    """Nats for each token of a row: the bound over the row, divided by its tokens.

    times     which noise levels, how often; what is visited more often counts less, so that the bound stays the bound
    drop      the share of rows whose condition is dropped to null, for classifier-free guidance
    padding   a token that fills rows up, if there is one
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
        each = _RATES.get(type(process), rate)(process, x_t, x0, belief, t)
        total = torch.where(real, each, 0.0).flatten(1).sum(1) / real.flatten(1).sum(1).clamp_min(1)
        return total / self.times.density(t, process.schedule).to(total)

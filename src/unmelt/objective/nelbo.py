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

from unmelt.arguments import checked_init
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

SMALL = 0.01
"""Below it, e - log(1 + e) is a series of five terms, right to 3e-11, in place of a difference."""


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
    t = _where_tokens_are_left(process, t)
    alpha = expand_like(process.schedule.alpha(t), x_t, 1)
    beta = expand_like(-process.schedule.alpha_rate(t), x_t, 1) / alpha
    certain = torch.nn.functional.one_hot(x0, process.vocabulary).double().log()
    true, believed = (
        alpha * w + (1 - alpha) * pi * w.sum(-1, keepdim=True)
        for w in (process.belief_over_likelihood(x_t, each, t) for each in (Categorical(certain), posterior))
    )
    cost = believed - true + torch.xlogy(true, true) - torch.where(true > 0, true * believed.log(), 0.0)
    elsewhere = torch.arange(process.symbols, device=x_t.device) != x_t[..., None]
    return (beta * pi[x_t][..., None] * torch.where(elsewhere, cost, 0.0)).sum(-1)


class _Divergence(torch.autograd.Function):
    """a - b + b log(b / a) of a believed rate a and a true one b, with the gradient (a - b) / a.

    The difference a - b is given as well, since in float32 it is lost where the two are close.
    """

    @staticmethod
    def forward(ctx: Any, believed: Tensor, excess: Tensor, true: Tensor) -> Tensor:
        ctx.save_for_backward(believed, excess)
        ratio = excess / true
        log = torch.where(ratio.abs() < 0.5, torch.log1p(ratio), torch.log(believed / true))
        series = ratio * ratio * (1 / 2 - ratio * (1 / 3 - ratio * (1 / 4 - ratio * (1 / 5 - ratio / 6))))
        return torch.where(ratio.abs() < SMALL, true * series, excess - true * log)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        believed, excess = ctx.saved_tensors
        return grads[0] * (excess / believed), None, None


def uniform_rate(
    process: Uniform,
    x_t: Int64[Tensor, "rows *shape"],
    x0: Int64[Tensor, "rows *shape"],
    posterior: Categorical,
    t: Float[Tensor, " rows"],
) -> Float[Tensor, "rows *shape"]:
    """The integrand for uniform noise, with b = (1 - alpha) / vocabulary.

        rhat(y) = 1 - p(x) alpha / (alpha + b) + p(y) alpha / b,      r(y) is the same for a p that is certain of x0

    At a large vocabulary and a small t, rhat and r are close to 0 or to each other and made of terms of size 1. Each
    difference is therefore written as a sum of terms of one sign: 1 - p(x) is the sum of the other probabilities, and
    what depends on t alone is computed in float64.

    Args:
        process: The process that made x_t.
        x_t: [rows, *shape], the noisy tokens.
        x0: [rows, *shape], the clean tokens.
        posterior: The denoiser's belief about x0.
        t: [rows], the times.

    Returns:
        [rows, *shape], nats per unit of time.
    """
    logits, right = posterior.logits, x0 == x_t
    there, here = x0[..., None], x_t[..., None]
    t = _where_tokens_are_left(process, t.double())
    alpha = process.schedule.alpha(t)
    b, beta = (1 - alpha) / process.vocabulary, -process.schedule.alpha_rate(t) / alpha
    weight, up, kept, left = (
        expand_like(each, x_t) for each in (beta / process.vocabulary, alpha / b, alpha / (alpha + b), b / (alpha + b))
    )
    others = logits.scatter(-1, here, -torch.inf).clamp_min(torch.finfo(logits.dtype).min)
    share = others.softmax(-1)  # p(y) / (1 - p(x))
    odds = (logits.gather(-1, here)[..., 0] - others.logsumexp(-1)).double()
    p, away = odds.sigmoid(), (-odds).sigmoid()  # p(x) and 1 - p(x)
    level, true = away + p * left, torch.where(right, left, 1.0)  # r(y) is `true` at every y but x0
    lift = torch.where(right, away, -p) * kept  # level - true
    gain = share * (away * up)[..., None].to(share)
    believed = level[..., None].to(share) + gain
    excess = (lift[..., None].to(share) + gain).detach().scatter(-1, torch.stack([x_t, x0], -1), 0.0)
    elsewhere = _Divergence.apply(believed, excess, true[..., None].to(share)).sum(-1)  # neither x nor x0
    unlike = away * share.scatter(-1, there, 0.0).sum(-1)  # p of all but x and x0
    missing = -p * kept - (unlike + p) * up  # rhat(x0) - r(x0), where x0 is not x
    at_x0 = _Divergence.apply(level + away * share.gather(-1, there)[..., 0] * up, missing.detach(), 1 + up)
    return (weight * (elsewhere + torch.where(right, 0.0, at_x0))).to(logits)


def _where_tokens_are_left(process: Tokens, t: Tensor) -> Tensor:
    """The times, but none so late that fewer tokens are left than `LEAST`."""
    last = process.schedule.time(torch.full((), LEAST, dtype=torch.float64, device=t.device))
    return torch.minimum(t, last.to(t))


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


def _rate_at_masks(
    denoiser: Any, x_t: Tensor, x0: Tensor, real: Tensor, t: Tensor, condition: Condition | None
) -> Tensor:
    """`mask_rate`, where the belief is computed at the masks that count, and nowhere else."""
    process, where = denoiser.process, real & denoiser.process.masked(x_t)
    belief = denoiser.logits_at(x_t, where, t, condition)
    miss = -belief.log_probabilities.gather(-1, x0[where][:, None])[:, 0]
    weight = expand_like(-process.schedule.alpha_rate(t) / (1 - process.schedule.alpha(t)), x_t).expand_as(x_t)
    return torch.zeros(x_t.shape, dtype=miss.dtype, device=miss.device).masked_scatter(
        where, miss * weight[where].to(miss)
    )


@final
@checked_init("um.objective.NELBO")
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
        if isinstance(process, Mask) and hasattr(denoiser, "logits_at"):
            nats = _rate_at_masks(denoiser, x_t, x0, real, t, condition)
        else:
            belief = denoiser(x_t, t, condition)
            nats = _RATES.get(type(process), rate)(process, x_t, x0, belief, t)
        total = torch.where(real, nats, 0.0).flatten(1).sum(1) / real.flatten(1).sum(1).clamp_min(1)
        return total / self.times.density(t, process.schedule).to(total)

"""Melting tokens: each, independently, is replaced at some moment by a draw from a fixed law pi.

    q(x_t | x0)      = alpha_t [x_t = x0] + (1 - alpha_t) pi(x_t)                       any t in one jump
    q(x_s | x_t, x0) = q(x_t | x_s) q(x_s | x0) / q(x_t | x0),    q(x_t | x_s) = r [x_t = x_s] + (1 - r) pi(x_t)

with r = alpha_t / alpha_s and s < t (Austin et al., 2021, equation 3). With x0 as believed, p, the bridge becomes

    q(x_s | x_t) = q(x_t | x_s) (alpha_s w(x_s) + (1 - alpha_s) pi(x_s) sum w),    w(v) = p(v) / q(x_t | x0 = v)

which is the whole of ancestral sampling, for every pi. Processes differ in pi alone. Draws are made in float64: in
float32 rare events (a token unmasked at a rate of 1e-4) are starved by rounding, and samples look better than the model
is (Zheng et al., 2025).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.posterior import Categorical, draw, no_distribution
from unmelt.process.broadcast import expand_like
from unmelt.rng import Random
from unmelt.schedule import TokenSchedule


class Tokens(ABC):
    """Base of the processes on tokens 0 to vocabulary - 1; a mask, where there is one, is symbol `vocabulary`.

    Attributes:
        vocabulary: Number of tokens.
        schedule: Share of tokens left at each time.
    """

    vocabulary: int
    schedule: TokenSchedule

    @property
    @abstractmethod
    def limit(self) -> Float64[Tensor, " symbols"]:
        """pi, the law of a melted token: [symbols]."""

    def _check(self) -> None:
        if isinstance(self.vocabulary, bool) or not isinstance(self.vocabulary, int) or self.vocabulary < 1:
            raise UsageError(
                f"{type(self).__name__} with vocabulary={self.vocabulary!r}",
                "a whole number of tokens",
                f"{type(self).__name__}(256)",
            )

    @final
    @property
    def symbols(self) -> int:
        """Number of symbols: the vocabulary, and the mask if there is one."""
        return len(self.limit)

    @final
    def prior(
        self,
        shape: Sequence[int],
        rng: Random,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ) -> Int64[Tensor, "rows *shape"]:
        """Draw x_1 from pi.

        Args:
            shape: Of the batch, rows first.
            rng: Source of randomness.
            dtype: Ignored: tokens are int64.
            device: Device of x_1.

        Returns:
            x_1, of this shape.
        """
        return self._symbol_at(rng.uniform(tuple(shape), torch.float64, device))

    def _symbol_at(self, u: Tensor) -> Tensor:
        """The melted token at each quantile of pi."""
        return torch.searchsorted(self.limit.to(u.device).cumsum(0)[:-1], u.contiguous(), right=True)

    @final
    def corrupt(
        self, x0: Int64[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"], rng: Random
    ) -> tuple[Int64[Tensor, "rows *shape"], Bool[Tensor, "rows *shape"]]:
        """Melt tokens to time t in one jump.

        Args:
            x0: [rows, *axes, *rest], clean tokens.
            t: [rows, *axes], times.
            rng: Source of randomness.

        Returns:
            (x_t, melted): the tokens at t, and which of them melted, both of the shape of x0.

        Raises:
            UsageError: If x0 has a token outside the vocabulary.
        """
        self.check(x0)
        return self._melt(x0, expand_like(self.schedule.alpha(t), x0), rng)

    @final
    def renoise(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        s: Float[Tensor, "rows *axes"],
        rng: Random,
    ) -> Int64[Tensor, "rows *shape"]:
        """Draw from q(x_s | x_t) for s >= t: the forward process from where x stands.

        Args:
            x_t: [rows, *axes, *rest], tokens at time t.
            t: [rows, *axes], times of x_t.
            s: [rows, *axes], times to melt to; where s = t nothing changes.
            rng: Source of randomness.

        Returns:
            x_s, of the shape of x_t.
        """
        kept = torch.where(s > t, self.schedule.alpha(s) / self.schedule.alpha(t), 1.0)
        return self._melt(x_t, expand_like(kept, x_t), rng)[0]

    def _melt(self, x: Tensor, kept: Tensor, rng: Random) -> tuple[Tensor, Tensor]:
        """Melt each token with probability 1 - kept: one draw of two numbers a place, whether and to what."""
        u = rng.uniform((*x.shape, 2), torch.float64, x.device)
        melts = u[..., 0] >= kept
        return torch.where(melts, self._symbol_at(u[..., 1]), x), melts

    @final
    def check(self, x0: Int64[Tensor, "rows *shape"]) -> None:
        """Refuse what is not a token. On an accelerator nothing is checked, as that would wait for the device.

        Args:
            x0: [rows, *shape], tokens.

        Raises:
            UsageError: If a token is outside the vocabulary.
        """
        if x0.device.type == "cpu" and x0.numel() and not ((x0 >= 0) & (x0 < self.vocabulary)).all():
            low, high = int(x0.min()), int(x0.max())
            raise UsageError(
                f"tokens from {low} to {high}", f"tokens 0 to {self.vocabulary - 1}", "a codec of this vocabulary"
            )

    @final
    def likelihood(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"]
    ) -> Float64[Tensor, "rows *shape vocabulary"]:
        """Likelihood q(x_t | x0 = v) of every token v.

        Args:
            x_t: [rows, *axes, *rest], tokens at time t.
            t: [rows, *axes], times.

        Returns:
            [rows, *shape, vocabulary], float64.
        """
        alpha = expand_like(self.schedule.alpha(t), x_t, 1)
        here = torch.arange(self.vocabulary, device=x_t.device) == x_t[..., None]
        return alpha * here + (1 - alpha) * self.limit.to(x_t.device)[x_t][..., None]

    @final
    def evidence(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"]
    ) -> Float64[Tensor, "rows *shape"]:
        """Evidence of x_t for its own token, in nats: log q(x_t | x0 = x_t) - log q(x_t | x0 = v), v any other.

        Args:
            x_t: [rows, *axes, *rest], tokens at time t.
            t: [rows, *axes], times.

        Returns:
            [rows, *shape], float64; 0 for a mask.
        """
        alpha, pi = expand_like(self.schedule.alpha(t), x_t), self.limit.to(x_t.device)[x_t]
        log_ratio = torch.log1p(alpha / ((1 - alpha) * pi).clamp_min(1e-12))
        return torch.where(x_t < self.vocabulary, log_ratio, 0.0)

    @final
    def belief_over_likelihood(
        self, x_t: Int64[Tensor, "rows *shape"], posterior: Categorical, t: Float[Tensor, "rows *axes"]
    ) -> Float64[Tensor, "rows *shape symbols"]:
        """Divide the belief in each token of x0 by the likelihood of x_t given it; 0 where x_t cannot come from it.

        Args:
            x_t: [rows, *axes, *rest], tokens at time t.
            posterior: Belief about x0.
            t: [rows, *axes], times.

        Returns:
            [rows, *shape, symbols], float64.
        """
        likelihood = self.likelihood(x_t, t)
        w = torch.where(likelihood > 0, posterior.probabilities / likelihood.clamp_min(1e-300), 0.0)
        return torch.nn.functional.pad(w, (0, self.symbols - self.vocabulary))

    @final
    def law(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        posterior: Categorical,
        t: Float[Tensor, "rows *axes"],
        s: Float[Tensor, "rows *axes"],
    ) -> Float64[Tensor, "rows *shape symbols"]:
        """Law q(x_s | x_t) of each place, with x0 as believed.

        Args:
            x_t: [rows, *axes, *rest], tokens at time t.
            posterior: Belief about x0.
            t: [rows, *axes], times of x_t.
            s: [rows, *axes], times to go to.

        Returns:
            [rows, *shape, symbols], float64, summing to 1.
        """
        pi, w = self.limit.to(x_t.device), self.belief_over_likelihood(x_t, posterior, t)
        alpha_t, alpha_s = (expand_like(self.schedule.alpha(each), x_t, 1) for each in (t, s))
        ratio = torch.where(alpha_s > 0, alpha_t / alpha_s, 1.0)
        here = torch.arange(self.symbols, device=x_t.device) == x_t[..., None]
        forward = ratio * here + (1 - ratio) * pi[x_t][..., None]
        joint = forward * (alpha_s * w + (1 - alpha_s) * pi * w.sum(-1, keepdim=True))
        return joint / joint.sum(-1, keepdim=True)

    def bridge(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        posterior: Categorical,
        t: Float[Tensor, "rows *axes"],
        s: Float[Tensor, "rows *axes"],
        rng: Random,
    ) -> Int64[Tensor, "rows *shape"]:
        """Draw x_s from `law`.

        Whether a place changes is decided before what it changes to, so that the whole vocabulary is computed only
        where one does.

        Args:
            x_t: [rows, *axes, *rest], tokens at time t.
            posterior: Belief about x0.
            t: [rows, *axes], times of x_t.
            s: [rows, *axes], times to go to; where s = t nothing changes.
            rng: Source of randomness.

        Returns:
            x_s, of the shape of x_t.

        Raises:
            UsageError: If the belief is no distribution at some position.
        """
        pi = self.limit.to(x_t.device)
        alpha_t, alpha_s = (expand_like(self.schedule.alpha(each).double(), x_t) for each in (t, s))
        here = pi[x_t]
        melted, ratio = 1 - alpha_t, torch.where(alpha_s > 0, alpha_t / alpha_s, 1.0)
        own, others = self._own_and_others(posterior.logits, x_t, t)
        kept = own / (alpha_t + melted * here)  # w(x_t); all other w together, times pi(x_t), are what is lost
        lost = others / melted.clamp_min(1e-300)
        every = here * kept + lost
        stays = (ratio + (1 - ratio) * here) * (alpha_s * kept + (1 - alpha_s) * every)
        changes = (1 - ratio) * (alpha_s * lost + (1 - alpha_s) * (1 - here) * every)
        u = rng.uniform((*x_t.shape, 2), torch.float64, x_t.device)
        where = u[..., 0] * (stays + changes) < changes
        believed = torch.nn.functional.pad(
            Categorical(posterior.logits[where]).probabilities, (0, self.symbols - self.vocabulary)
        )
        from_belief, from_pi = (x.expand_as(where)[where][:, None] for x in (alpha_s / melted, (1 - alpha_s) * every))
        law = (from_belief * believed + from_pi * pi).scatter(-1, x_t[where][:, None], 0.0)
        return x_t.masked_scatter(where, draw(law, u[..., 1][where]))

    def _own_and_others(self, logits: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The belief in each place's own token and in all others, float64; each is right to a relative 1e-6.

        Their sum is 1, but one is not computed from the other: a belief of 1e-8 in all others is how often a token
        that is almost sure changes, and in float32 it would be lost.
        """
        index = x_t.clamp_max(self.vocabulary - 1)[..., None]
        own, others = logits.gather(-1, index)[..., 0], logits.scatter(-1, index, -torch.inf).logsumexp(-1)
        wrong = ~torch.maximum(own, others).isfinite()
        if wrong.any():
            row, *place = wrong.nonzero()[0].tolist()
            raise no_distribution(logits[row, *place], place, t[row].flatten()[0].item())
        lead, token = own.double() - others.double(), x_t < self.vocabulary
        return torch.where(token, lead.sigmoid(), 0.0), torch.where(token, (-lead).sigmoid(), 1.0)

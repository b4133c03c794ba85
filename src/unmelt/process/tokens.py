"""Melting tokens: each by itself, at some moment, becomes a draw from a law that knows nothing of it.

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
from unmelt.posterior import Categorical, draw
from unmelt.rng import Random
from unmelt.schedule import TokenSchedule


def expand_places(values: Float[Tensor, " rows"], x: Tensor, more: int = 0) -> Tensor:
    """One number a row, shaped to go with x and `more` dimensions after."""
    return values.view(-1, *(1,) * (x.ndim - 1 + more))


class Tokens(ABC):
    """Tokens 0 to vocabulary - 1, melting to symbols of which there may be one more."""

    vocabulary: int
    schedule: TokenSchedule

    @property
    @abstractmethod
    def limit(self) -> Float64[Tensor, " symbols"]:
        """pi: what a melted token is."""

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
        return len(self.limit)

    @final
    def prior(
        self,
        shape: Sequence[int],
        rng: Random,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ) -> Int64[Tensor, "rows *shape"]:
        """x_1: draws from pi. Tokens are int64 whatever `dtype` says."""
        return self._at(rng.uniform(tuple(shape), torch.float64, device))

    def _at(self, u: Tensor) -> Tensor:
        """The melted token at each quantile."""
        return torch.searchsorted(self.limit.to(u.device).cumsum(0)[:-1], u.contiguous(), right=True)

    @final
    def corrupt(
        self, x0: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"], rng: Random
    ) -> tuple[Int64[Tensor, "rows *shape"], Bool[Tensor, "rows *shape"]]:
        """(x_t, which tokens melted)."""
        self.check(x0)
        return self._to(x0, expand_places(self.schedule.alpha(t), x0), rng)

    @final
    def melt(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"], s: Float[Tensor, " rows"], rng: Random
    ) -> Int64[Tensor, "rows *shape"]:
        """A sample of q(x_s | x_t) for s >= t: the forward process from where it stands."""
        kept = torch.where(s > t, self.schedule.alpha(s) / self.schedule.alpha(t), 1.0)
        return self._to(x_t, expand_places(kept, x_t), rng)[0]

    def _to(self, x: Tensor, kept: Tensor, rng: Random) -> tuple[Tensor, Tensor]:
        # One draw of two numbers for each place: whether, and to what.
        u = rng.uniform((*x.shape, 2), torch.float64, x.device)
        melts = u[..., 0] >= kept
        return torch.where(melts, self._at(u[..., 1]), x), melts

    @final
    def check(self, x0: Int64[Tensor, "rows *shape"]) -> None:
        """Refuse what is not a token, where a look at them does not make a device wait."""
        if x0.device.type == "cpu" and x0.numel() and not ((x0 >= 0) & (x0 < self.vocabulary)).all():
            low, high = int(x0.min()), int(x0.max())
            raise UsageError(
                f"tokens from {low} to {high}", f"tokens 0 to {self.vocabulary - 1}", "a codec of this vocabulary"
            )

    @final
    def likelihood(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"]
    ) -> Float64[Tensor, "rows *shape vocabulary"]:
        """q(x_t | x0 = v) for every token v."""
        alpha = expand_places(self.schedule.alpha(t), x_t, 1)
        here = torch.arange(self.vocabulary, device=x_t.device) == x_t[..., None]
        return alpha * here + (1 - alpha) * self.limit.to(x_t.device)[x_t][..., None]

    @final
    def evidence(self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"]) -> Float64[Tensor, "rows *shape"]:
        """log q(x_t | x0 = x_t) - log q(x_t | x0 = v) for any other v: how much a place says of itself, in nats."""
        alpha, melted = expand_places(self.schedule.alpha(t), x_t), self.limit.to(x_t.device)[x_t]
        said = torch.log1p(alpha / ((1 - alpha) * melted).clamp_min(1e-12))
        return torch.where(x_t < self.vocabulary, said, 0.0)

    @final
    def weights(
        self, x_t: Int64[Tensor, "rows *shape"], posterior: Categorical, t: Float[Tensor, " rows"]
    ) -> Float64[Tensor, "rows *shape symbols"]:
        """w above: belief over likelihood; where x_t cannot come from a token, that token weighs nothing."""
        seen = self.likelihood(x_t, t)
        w = torch.where(seen > 0, posterior.probabilities / seen.clamp_min(1e-300), 0.0)
        return torch.nn.functional.pad(w, (0, self.symbols - self.vocabulary))

    @final
    def law(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        posterior: Categorical,
        t: Float[Tensor, " rows"],
        s: Float[Tensor, " rows"],
    ) -> Float64[Tensor, "rows *shape symbols"]:
        """q(x_s | x_t) with x0 as believed, for each place."""
        pi, w = self.limit.to(x_t.device), self.weights(x_t, posterior, t)
        alpha_t, alpha_s = (expand_places(self.schedule.alpha(each), x_t, 1) for each in (t, s))
        ratio = torch.where(alpha_s > 0, alpha_t / alpha_s, 1.0)
        here = torch.arange(self.symbols, device=x_t.device) == x_t[..., None]
        forth = ratio * here + (1 - ratio) * pi[x_t][..., None]
        joint = forth * (alpha_s * w + (1 - alpha_s) * pi * w.sum(-1, keepdim=True))
        return joint / joint.sum(-1, keepdim=True)

    def bridge(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        posterior: Categorical,
        t: Float[Tensor, " rows"],
        s: Float[Tensor, " rows"],
        rng: Random,
    ) -> Int64[Tensor, "rows *shape"]:
        """A sample of x_s given x_t and the believed x0, from `law`: whether a place changes is decided before to what,
        so that the vocabulary is gone through only where one does."""
        pi = self.limit.to(x_t.device)
        alpha_t, alpha_s = (expand_places(self.schedule.alpha(each).double(), x_t) for each in (t, s))
        here, token = pi[x_t], x_t < self.vocabulary
        melted, ratio = 1 - alpha_t, torch.where(alpha_s > 0, alpha_t / alpha_s, 1.0)
        own = posterior.log_probabilities.gather(-1, x_t.clamp_max(self.vocabulary - 1)[..., None])[..., 0]
        own = torch.where(token, own.double().exp(), 0.0)
        kept = own / (alpha_t + melted * here)  # w(x_t); all other w together, times pi(x_t), are what is lost
        lost = (1 - own) / melted.clamp_min(1e-300)
        every = here * kept + lost
        stays = (ratio + (1 - ratio) * here) * (alpha_s * kept + (1 - alpha_s) * every)
        changes = (1 - ratio) * (alpha_s * lost + (1 - alpha_s) * (1 - here) * every)
        u = rng.uniform((*x_t.shape, 2), torch.float64, x_t.device)
        where = u[..., 0] * (stays + changes) < changes
        believed = torch.nn.functional.pad(
            Categorical(posterior.logits[where]).probabilities, (0, self.symbols - self.vocabulary)
        )
        weigh, spread = (x.expand_as(where)[where][:, None] for x in (alpha_s / melted, (1 - alpha_s) * every))
        law = (weigh * believed + spread * pi).scatter(-1, x_t[where][:, None], 0.0)
        return x_t.masked_scatter(where, draw(law, u[..., 1][where]))

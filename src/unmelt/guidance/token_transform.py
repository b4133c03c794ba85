"""Guidance of tokens that changes each position's belief by itself, before anything is drawn from it."""

from abc import ABC, abstractmethod
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.backbone.kv_cache import KVCache
from unmelt.condition import Condition
from unmelt.denoiser.cached import block_positions, check_cached
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.posterior import Categorical


class TokenTransform(DenoiserWrapper, ABC):
    """A denoiser whose belief at each position is another's, reshaped. It is a `CachedDenoiser` if that one is."""

    @abstractmethod
    def change(
        self, belief: Categorical, x_t: Int64[Tensor, "rows *shape"], positions: Int64[Tensor, "rows n"] | None
    ) -> Categorical:
        """The reshaped belief.

        Args:
            belief: The inner denoiser's belief.
            x_t: The whole rows.
            positions: Positions that the belief is about, row by row. None: the whole rows.

        Returns:
            The belief at the same positions: `belief.drawn_from` of the logits that tokens are drawn from, or
            `belief.changed` where orders and paces are to rank by the change too.
        """

    @final
    def __call__(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        return self.change(self.denoiser(x_t, t, condition), x_t, None)

    @property
    def block(self) -> int:
        """Tokens per block of the inner denoiser."""
        return self.denoiser.block  # type: ignore[attr-defined]

    @property
    def exact(self) -> bool:
        """Whether the inner denoiser's cache is exact."""
        return self.denoiser.exact  # type: ignore[attr-defined]

    @final
    def init_cache(self, rows: int, length: int, device: torch.device | str = "cpu") -> KVCache:
        return check_cached(self.denoiser).init_cache(rows, length, device)

    @final
    def decode_step(
        self,
        x_t: Int64[Tensor, "rows length"],
        block_start: Int64[Tensor, " rows"],
        cache: KVCache,
        condition: Condition | None = None,
    ) -> tuple[Categorical, KVCache]:
        inner, length = check_cached(self.denoiser), x_t.shape[1]
        belief, cache = inner.decode_step(x_t, block_start, cache, condition)
        positions = block_positions(block_start, inner.block, length).clamp_max(length - 1)
        return self.change(belief, x_t, positions), cache

"""An autoregressive denoiser of this library as a verifier.

Slot i of its cache is where it believes something of token i, and what it reads there is token i - 1. So all of a block
is verified by reading the slots of its tokens and one more.
"""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.backbone.kv_cache import KVCache
from unmelt.denoiser import Autoregressive
from unmelt.denoiser.cached import as_rows, logits_of_window
from unmelt.drafting.verifier import Reading, window
from unmelt.errors import UsageError


@final
@checked_init("um.drafting.AutoregressiveVerifier")
class AutoregressiveVerifier:
    """A verifier that wraps `model.denoiser` of an autoregressive `TextModel`.

    Args:
        denoiser: The denoiser. Its network reads tokens alone, and no condition.
    """

    shortest_prompt = 0

    def __init__(self, denoiser: Autoregressive) -> None:
        self.denoiser = denoiser

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.denoiser.process.vocabulary

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return self.denoiser.shape[0]

    def init_cache(self, rows: int, length: int) -> KVCache:
        return self.denoiser.init_cache(rows, length, next(self.denoiser.parameters()).device)

    @torch.no_grad()
    def read(
        self,
        x: Int64[Tensor, "rows length"],
        begin: Int64[Tensor, " rows"],
        n: int,
        cache: KVCache,
        layers: tuple[int, ...] = (),
    ) -> Reading:
        if layers:
            raise UsageError(
                f"hidden states of layers {layers} of an AutoregressiveVerifier",
                "a drafter that reads tokens alone",
                "NGram(), or TransformersVerifier(model)",
            )
        seen = window(begin, n, cache, x.shape[1])
        shifted = F.pad(x[:, :-1], (1, 0), value=self.denoiser.process.mask)
        logits = logits_of_window(self.denoiser.backbone, shifted, seen.cache, None, seen.positions, seen.where)
        return Reading(as_rows(logits, seen.inside), seen.cache)

    def retain(self, cache: KVCache, begin: Int64[Tensor, " rows"]) -> KVCache:
        return cache.appended(begin, begin)

"""A denoiser with a model's adapters: each row chooses one, or none, by its condition.

`Condition.adapter` is the number of the adapter of each row, -1 for none. It travels with the row, so that rows with
different adapters are split, joined and stepped in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from unmelt.adapter.adapter import Attachment
from unmelt.backbone.kv_cache import KVCache
from unmelt.condition import Condition
from unmelt.denoiser import Denoiser
from unmelt.denoiser.cached import check_cached
from unmelt.denoiser.wrapper import DenoiserWrapper
from unmelt.posterior import Categorical


@final
class AdaptedDenoiser(DenoiserWrapper):
    """A denoiser whose network has adapters attached, switched on for the rows that ask for them.

    It is a `CachedDenoiser` if the inner one is: a row keeps its adapter, so that its cache is its own.

    Args:
        denoiser: The denoiser.
        attachments: The adapters, attached to the denoiser's network; number k is `attachments[k]`. Outside a call
            their scale is 0.
    """

    def __init__(self, denoiser: Denoiser, attachments: Sequence[Attachment]) -> None:
        self.denoiser, self.attachments = denoiser, tuple(attachments)

    def __call__(
        self, x_t: Shaped[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"], condition: Condition | None = None
    ) -> Any:
        with self._switched(condition):
            return self.denoiser(x_t, t, condition)

    @property
    def rows_are_independent(self) -> bool:
        """Whether rows may be added to a call, as of the inner denoiser."""
        return getattr(self.denoiser, "rows_are_independent", False)

    @property
    def block(self) -> int:
        """Tokens per block of the inner denoiser."""
        return check_cached(self.denoiser).block

    @property
    def exact(self) -> bool:
        """Whether the inner denoiser's cache is exact."""
        return check_cached(self.denoiser).exact

    def init_cache(self, rows: int, length: int, device: torch.device | str = "cpu") -> KVCache:
        return check_cached(self.denoiser).init_cache(rows, length, device)

    def decode_step(
        self,
        x_t: Int64[Tensor, "rows length"],
        block_start: Int64[Tensor, " rows"],
        cache: KVCache,
        condition: Condition | None = None,
    ) -> tuple[Categorical, KVCache]:
        with self._switched(condition):
            return check_cached(self.denoiser).decode_step(x_t, block_start, cache, condition)

    @contextmanager
    def _switched(self, condition: Condition | None) -> Iterator[None]:
        """Inside, every adapter is on for the rows that ask for it; afterwards all are off."""
        chosen = None if condition is None else condition.adapter
        for number, attachment in enumerate(self.attachments):
            of_rows = None if chosen is None else chosen == number
            attachment.scale = 0.0 if of_rows is None or not of_rows.any() else of_rows.to(torch.float32)
        try:
            yield
        finally:
            for attachment in self.attachments:
                attachment.scale = 0.0

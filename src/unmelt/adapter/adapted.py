"""A denoiser with a model's adapters: each row chooses one, or none, by its condition.

`Condition.adapter` is the number of the adapter of each row, -1 for none. It travels with the row, so that rows with
different adapters are split, joined and stepped in one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.adapter.adapter import Attachment
from unmelt.condition import Condition
from unmelt.denoiser import Denoiser
from unmelt.denoiser.wrapper import DenoiserWrapper


@final
class AdaptedDenoiser(DenoiserWrapper):
    """A denoiser whose network has adapters attached, switched on for the rows that ask for them.

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
        chosen = None if condition is None else condition.adapter
        for number, attachment in enumerate(self.attachments):
            of_rows = None if chosen is None else chosen == number
            attachment.scale = 0.0 if of_rows is None or not of_rows.any() else of_rows.to(torch.float32)
        try:
            return self.denoiser(x_t, t, condition)
        finally:
            for attachment in self.attachments:
                attachment.scale = 0.0

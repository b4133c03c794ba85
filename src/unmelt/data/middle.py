"""Rows written out of order, so that a model that reads from left to right can learn to fill a middle in.

    prefix, middle, suffix  ->  [prefix] [suffix] suffix [middle] prefix middle [end]

(Bavarian et al., 2022, the second form of "SPM": a middle goes on where its prefix ends.) A row loses its last four
tokens to the marks. The end says where the middle meets the suffix.
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.data.source import Source
from unmelt.errors import UsageError
from unmelt.rng import fold


@final
class Middle:
    """Another source of tokens, a share of its rows cut at two places and put in another order.

    marks   the tokens for prefix, suffix, middle and end
    """

    def __init__(self, source: Source, share: float, marks: Sequence[int], seed: int = 0) -> None:
        if not 0 <= share <= 1:
            raise UsageError(f"middle={share}", "a share from 0 to 1", "middle=0.5")
        self.source, self.share, self.marks, self.seed = source, share, tuple(marks), seed

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    def batch(self, step: int, rows: int) -> tuple[Int64[Tensor, "rows length"], Condition | None]:
        x, condition = self.source.batch(step, rows)
        generator = torch.Generator().manual_seed(fold(self.seed, step))
        chosen = torch.rand(rows, generator=generator) < self.share
        room = x.shape[1] - len(self.marks)
        cuts = torch.randint(0, room + 1, (rows, 2), generator=generator).sort(1).values
        out = x.clone()
        for row in chosen.nonzero()[:, 0].tolist():
            first, last = cuts[row].tolist()
            prefix, suffix, middle, end = x.new_tensor(self.marks)[:, None]
            parts = (prefix, suffix, x[row, last:room], middle, x[row, :last], end)
            out[row] = torch.cat(parts)
        return out, condition

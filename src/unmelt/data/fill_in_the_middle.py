"""Fill in the middle (FIM): rows rearranged so that a left-to-right model can learn to infill.

    prefix, middle, suffix  ->  [prefix] [suffix] suffix [middle] prefix middle [end]

(Bavarian et al., 2022, the second form of "SPM".) The middle continues the prefix directly, so a row is cut only once;
the end mark says where the middle meets the suffix. The four marks take the place of a row's last four tokens.
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
class FillInTheMiddle:
    """A source of tokens of which a share of the rows is rearranged for fill in the middle.

    Args:
        source: The source of token rows.
        rate: Share of rows that are rearranged, from 0 to 1.
        marks: The four tokens that stand for prefix, suffix, middle and end.
        seed: Seed of which rows are rearranged and where they are cut.

    Raises:
        UsageError: If the rate is not within [0, 1].
    """

    def __init__(self, source: Source, rate: float, marks: Sequence[int], seed: int = 0) -> None:
        if not 0 <= rate <= 1:
            raise UsageError(f"fim_rate={rate}", "a share from 0 to 1", "fim_rate=0.5")
        self.source, self.rate, self.marks, self.seed = source, rate, tuple(marks), seed

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    def batch(self, step: int, rows: int) -> tuple[Int64[Tensor, "rows length"], Condition | None]:
        x, condition = self.source.batch(step, rows)
        generator = torch.Generator().manual_seed(fold(self.seed, step))
        chosen = torch.rand(rows, generator=generator) < self.rate
        room = x.shape[1] - len(self.marks)
        cuts = torch.randint(0, room + 1, (rows,), generator=generator)
        out = x.clone()
        for row in chosen.nonzero()[:, 0].tolist():
            cut = int(cuts[row])
            prefix, suffix, middle, end = x.new_tensor(self.marks)[:, None]
            out[row] = torch.cat([prefix, suffix, x[row, cut:room], middle, x[row, :cut], end])
        return out, condition

"""A source whose rows are given a control picture of themselves, as context."""

from __future__ import annotations

from dataclasses import replace
from typing import final

from torch import Tensor

from unmelt.condition import Condition
from unmelt.control import Control
from unmelt.data.source import Source, for_batches_of


@final
class Controlled:
    """A source with control pictures, which are computed of every batch.

    Args:
        source: Pictures in [0, 1], and what is known of them.
        control: Computes the control pictures.
    """

    def __init__(self, source: Source, control: Control) -> None:
        self.source, self.control = source, control

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    def batch(self, step: int, rows: int) -> tuple[Tensor, Condition | None]:
        x, known = self.source.batch(step, rows)
        return x, replace(known or Condition(), context=self.control(x))

    def with_batch(self, rows: int) -> Controlled:
        """The same source for whole batches of a size.

        Args:
            rows: Rows of a whole batch.

        Returns:
            The source, whose batches of fewer rows are parts of these.
        """
        return Controlled(for_batches_of(self.source, rows), self.control)

"""Excerpts of recordings, all of one length: what a vocoder learns from."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.data.recordings import Recordings
from unmelt.errors import UsageError
from unmelt.rng import fold


@final
class Excerpts:
    """A source of excerpts; recording number i of the endless sequence is cut at a place that fold(seed, i) decides.

    Args:
        source: The recordings.
        samples: Samples of an excerpt; zeros follow a shorter recording.

    Raises:
        UsageError: If there are no samples.
    """

    def __init__(self, source: Recordings, samples: int) -> None:
        if samples < 1:
            raise UsageError(f"excerpts of {samples} samples", "at least one", "Excerpts(recordings, 16_384)")
        self.source, self.samples = source, samples

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row: 1, samples."""
        return (1, self.samples)

    @property
    def classes(self) -> tuple[str, ...]:
        """The voices."""
        return self.source.classes

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, step: int, rows: int) -> tuple[Float[Tensor, "rows 1 samples"], None]:
        """Batch number `step`.

        Args:
            step: Number of the batch, from 0.
            rows: Rows in the batch.

        Returns:
            Excerpts [rows, 1, samples] in [-1, 1], of which nothing is known.
        """
        x = torch.zeros(rows, 1, self.samples)
        for row, item in enumerate(self.source.items(step, rows).tolist()):
            sound = self.source.sound(item)
            begin = fold(fold(self.source.seed, 1), step * rows + row) % max(1, len(sound) - self.samples + 1)
            part = sound[begin : begin + self.samples]
            x[row, 0, : len(part)] = part
        return x, None

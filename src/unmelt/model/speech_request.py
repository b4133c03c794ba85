"""A request for speech: rows of different lengths, padded to one number of frames."""

from __future__ import annotations

import dataclasses
from typing import final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.model.request import SampleRequest


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeechRequest:
    """What is sampled, and how it becomes sounds.

    Args:
        request: The rows, padded to one number of frames.
        lengths: Frames of each row, known ones included.
        known: Frames that each row begins with, [frames, bands], and that are cut off its sound. None: none.
    """

    request: SampleRequest
    lengths: tuple[int, ...]
    known: Float[Tensor, "frames bands"] | None = None

    def __getitem__(self, rows: slice) -> SpeechRequest:
        """Some of the rows, padded no longer than they need."""
        lengths = self.lengths[rows]
        part = dataclasses.replace(self, request=self.request[rows], lengths=lengths)
        return part.padded(max(lengths))

    def padded(self, frames: int) -> SpeechRequest:
        """The same rows, padded to another number of frames.

        Args:
            frames: How many; at least as many as the longest row has.

        Returns:
            The request. Its rows are generated as before, since the noise of frames is drawn in their order.
        """
        known = self.request.condition
        assert known is not None
        assert known.x_mask is not None
        assert self.request.shape is not None
        more = frames - known.x_mask.shape[1]
        extra = {name: F.pad(value, (0, 0, 0, more)) for name, value in known.extra.items()}
        known = dataclasses.replace(known, x_mask=F.pad(known.x_mask, (0, more)), extra=extra)
        request = dataclasses.replace(self.request, condition=known, shape=(frames, *self.request.shape[1:]))
        return dataclasses.replace(self, request=request)

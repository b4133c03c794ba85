"""Recordings as batches of mel frames with their characters: what a model of speech learns from.

Rows of a batch are padded to the longest. Batches are therefore made of recordings of similar length: of each stretch
of 8 batches, the recordings are sorted by length and the batches shuffled. Every recording still comes once an epoch.

In some rows a part of the frames is known, and only the rest is to be generated: 70 to 100 % of them, in one span, as
in F5-TTS (Chen et al., 2025). Half of these spans reach to the end. Most of these rows are not told whose voice it is,
so that it is learned from the known frames. All of it depends on the seed and the number of the batch alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unmelt.condition import KNOWN_FRAMES, Condition
from unmelt.data.recordings import Recordings
from unmelt.encoder import TextEncoder
from unmelt.encoder.encoder import caption_condition
from unmelt.errors import UsageError
from unmelt.rng import Stream, fold

STRETCH = 8
"""Batches whose recordings are sorted together."""

SHORTEST_SPAN, UNNAMED = 0.7, 0.75
"""Share of a row that is to be generated at least, where some is known; and share of such rows without their voice."""


@final
class SpeechBatches:
    """A source of frames [rows, frames, bands] and what is known of them.

    x is 0, and `Condition.x_mask` False, in padding and in known frames, which are in `extra["known_frames"]`.

    Args:
        source: The recordings.
        encode: [1, 1, samples] -> [1, frames, bands].
        encoder: Encodes what is said.
        known_share: Share of rows with known frames.
        batch_rows: Rows of a whole batch, of which fewer rows are a part. 0: as many as are asked for.

    Raises:
        UsageError: If the share is not from 0 to 1.
    """

    def __init__(
        self,
        source: Recordings,
        encode: Callable[[Tensor], Tensor],
        encoder: TextEncoder,
        known_share: float = 0.5,
        batch_rows: int = 0,
    ) -> None:
        if not 0 <= known_share <= 1:
            raise UsageError(f"known_share={known_share}", "a share from 0 to 1", "known_share=0.5")
        self.source, self.encode, self.encoder = source, encode, encoder
        self.known_share, self.batch_rows = known_share, batch_rows

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the longest row: frames, bands."""
        return tuple(self.encode(torch.zeros(1, *self.source.shape)).shape[1:])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the voices."""
        return self.source.classes

    def __len__(self) -> int:
        return len(self.source)

    def with_batch(self, rows: int) -> SpeechBatches:
        """The same source for whole batches of a size: all of their parts are padded to one length.

        Args:
            rows: Rows of a whole batch.

        Returns:
            The source.
        """
        return SpeechBatches(self.source, self.encode, self.encoder, self.known_share, rows)

    def items(self, step: int, rows: int) -> Tensor:
        """Number the recordings of a whole batch.

        Args:
            step: Number of the batch, from 0.
            rows: Its rows.

        Returns:
            [rows], numbers of recordings.
        """
        stretch, place = divmod(step, STRETCH)
        items = self.source.items(stretch, STRETCH * rows)
        ordered = items[self.source.lengths[items].argsort(stable=True)].view(STRETCH, rows)
        order = torch.randperm(STRETCH, generator=torch.Generator().manual_seed(fold(self.source.seed, stretch)))
        return ordered[order[place]]

    def batch(self, step: int, rows: int) -> tuple[Float[Tensor, "rows frames bands"], Condition]:
        """Batch number `step`, or a part of a whole one.

        Args:
            step: Number of the batch, from 0.
            rows: Rows in the batch.

        Returns:
            x, 0 where it is not to be generated; and characters, voices, `x_mask` and known frames.

        Raises:
            UsageError: If parts of this size do not make up a whole batch.
        """
        whole = self.batch_rows or rows
        if step < 0 or rows < 1 or whole % rows:
            raise UsageError(
                f"batch was asked for step={step}, rows={rows} of {whole}", "equal parts of batches", "batch(0, 16)"
            )
        number, begin = divmod(step * rows, whole)
        items = self.items(number, whole)
        longest = self.encode(torch.zeros(1, 1, int(self.source.lengths[items].max()))).shape[1]
        items = items[begin : begin + rows]
        encoded = [self.encode(self.source.sound(item)[None, None])[0] for item in items.tolist()]
        frames = torch.stack([_padded(each, longest) for each in encoded])
        real = torch.arange(longest) < torch.tensor([len(each) for each in encoded])[:, None]
        rng = Stream(fold(fold(self.source.seed, 1), number))
        chances = rng.uniform((whole, 5))[begin : begin + rows]
        known = self.known(real, chances)
        x = torch.where((real & ~known)[..., None], frames, 0.0)
        fields: dict[str, Any] = {"x_mask": real & ~known}
        if self.known_share > 0:
            flag = known[..., None].to(frames)
            fields["extra"] = {KNOWN_FRAMES: torch.cat([frames * flag, flag], -1)}
            fields["given"] = {KNOWN_FRAMES: known.any(1)}
        said = caption_condition(self.encoder, [self.source.texts[item] for item in items.tolist()])
        fields |= {"sequence": said.sequence, "sequence_mask": said.sequence_mask}
        if self.source.labels is None:
            return x, Condition(**fields)
        condition = Condition(label=self.source.labels[items], **fields)
        return x, condition.drop(known.any(1) & (chances[:, 4] < UNNAMED), ["label"])

    def known(self, real: Bool[Tensor, "rows frames"], chances: Float[Tensor, "rows 5"]) -> Bool[Tensor, "rows frames"]:
        """Choose known frames: all but one span of some rows.

        Args:
            real: [rows, frames], True where a frame is no padding.
            chances: [rows, 5], uniform numbers that decide.

        Returns:
            [rows, frames], True where a frame is known.
        """
        some, long, where, to_end = chances[:, :4].unbind(1)
        count = real.sum(1)
        span = ((SHORTEST_SPAN + (1 - SHORTEST_SPAN) * long) * count).round().clamp_min(1)
        begin = torch.where(to_end < 0.5, count - span, ((count - span + 1) * where).floor())
        frame = torch.arange(real.shape[1])
        inside = (frame >= begin[:, None]) & (frame < (begin + span)[:, None])
        return real & ~inside & (some < self.known_share)[:, None]


def _padded(x: Float[Tensor, "frames bands"], frames: int) -> Float[Tensor, "padded bands"]:
    return torch.cat([x, x.new_zeros(frames - len(x), x.shape[1])])

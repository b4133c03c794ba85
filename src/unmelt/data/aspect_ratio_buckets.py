"""Pictures of several aspect ratios: each in a bucket of its shape, each batch from one bucket.

Shapes have nearly the same area, so that batches cost the same (aspect ratio bucketing: NovelAI, 2022; Podell et al.,
2024, SDXL, section 2.3 and appendix I). With sides that are multiples of s, the shapes for a size are

    (size, size),   and for each side w from size / 2 to 2 size     (s floor(size^2 / (w s)), w),     each also turned

Bucket b has n_b of all N pictures, and a batch has B rows. The batches of epoch e are

    floor((e + 1) n_b / B) - floor(e n_b / B) of each bucket,      in an order drawn from the seed and e

After e epochs every bucket has given e n_b pictures, less than one batch behind: all pictures come equally often. In a
bucket they come in the order of `Arrays`, each once before any comes again. Which bucket a batch is from is a pure
function of (seed, step), so that all processes take the same one. With one bucket, batches are those of `Arrays`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.data.encoded import Encoded
from unmelt.data.source import Arrays
from unmelt.data.split import SplitBy, digest, held_out_rows, items_by_class
from unmelt.errors import UsageError
from unmelt.rng import fold

FINEST = 16
"""Parts of a picture's side in which shapes differ, where multiples are no coarser."""

WIDEST = 4.0
"""The longer side of a shape in units of the shorter one, at most."""


def bucket_sizes(size: int, multiple: int = 1) -> list[tuple[int, int]]:
    """The shapes of pictures of about size * size pixels.

    Args:
        size: Side of the square shape, in pixels.
        multiple: What the sides of all other shapes are multiples of, in pixels.

    Returns:
        Heights and widths: the square first, then by area, none larger than the square.
    """
    step = multiple * max(1, round(size / FINEST / multiple))
    found = set()
    for wide in range(-(-size // (2 * step)) * step, 2 * size + 1, step):
        high = size * size // (wide * step) * step
        if high and max(high / wide, wide / high) <= WIDEST:
            found |= {(high, wide), (wide, high)}
    return [(size, size), *sorted(found - {(size, size)}, key=lambda each: (-each[0] * each[1], each))]


@final
@checked_init("um.data.AspectRatioBuckets")
class AspectRatioBuckets:
    """A finite source of pictures of several shapes. Each batch has pictures of one shape.

    Args:
        buckets: Pictures of one shape each, all with the same classes; or their latents.
        seed: Seed of the order of the buckets.
        main: Number of the bucket that stands for all where one shape is needed. None: that of the most pictures.

    Raises:
        UsageError: If there are no buckets or not that many, two have the same shape, or their classes differ.
    """

    def __init__(self, buckets: Sequence[Arrays] | Sequence[Encoded], seed: int = 0, main: int | None = None) -> None:
        self.buckets: tuple[Arrays | Encoded, ...] = tuple(buckets)
        self.seed = seed
        self._batch: int | None = None
        self._epoch: tuple[int, int, Tensor] | None = None
        if not self.buckets:
            raise UsageError("no buckets", "at least one", "AspectRatioBuckets([Arrays(pictures)])")
        if len({bucket.shape for bucket in self.buckets}) < len(self.buckets):
            raise UsageError("two buckets of one shape", "a shape of its own for each", "torch.cat([one, other])")
        if len({bucket.classes for bucket in self.buckets}) > 1:
            raise UsageError("buckets of different classes", "the same for all", "classes=('cat', 'dog')")
        numbers = range(len(self.buckets))
        self.main = max(numbers, key=lambda number: len(self.buckets[number])) if main is None else main
        if self.main not in numbers:
            raise UsageError(f"main={main} of {len(self.buckets)} buckets", "the number of one of them", "main=0")

    @property
    def main_bucket(self) -> Arrays | Encoded:
        """The bucket that stands for all where one shape is needed."""
        return self.buckets[self.main]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the pictures in the main bucket."""
        return self.main_bucket.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class."""
        return self.buckets[0].classes

    def __len__(self) -> int:
        return sum(map(len, self.buckets))

    def with_batch(self, rows: int) -> AspectRatioBuckets:
        """The same source for whole batches of a size; batches of fewer rows are then parts of these.

        Args:
            rows: Rows of a whole batch.

        Returns:
            The source.
        """
        made = copy.copy(self)
        made._batch, made._epoch = rows, None
        return made

    def batch(self, step: int, rows: int) -> tuple[Shaped[Tensor, "rows *shape"], Condition | None]:
        """Batch number `step`.

        Args:
            step: Number of the batch, from 0.
            rows: Rows in the batch.

        Returns:
            Pictures [rows, channels, height, width] of one shape, and what is known of them.

        Raises:
            UsageError: If the step is below 0, or whole batches do not consist of such batches.
        """
        whole = self._batch or rows
        if step < 0 or rows < 1 or whole % rows:
            raise UsageError(
                f"batch was asked for step={step}, rows={rows}, of whole batches of {whole} rows",
                "a step from 0, and rows that divide the whole batch",
                f"batch(0, {whole})",
            )
        number, first = divmod(step * rows, whole)
        bucket, nth = self._drawn(number, whole)
        return self.buckets[bucket].batch((nth * whole + first) // rows, rows)

    def _drawn(self, number: int, rows: int) -> tuple[int, int]:
        """Which bucket a whole batch is from, and which of the batches of that bucket it is."""
        epoch = number * rows // len(self)
        while self._before(epoch + 1, rows).sum() <= number:
            epoch += 1
        before = self._before(epoch, rows)
        if self._epoch is None or self._epoch[:2] != (epoch, rows):
            counts = self._before(epoch + 1, rows) - before
            generator = torch.Generator().manual_seed(fold(fold(self.seed, -1), epoch))
            order = torch.arange(len(counts)).repeat_interleave(counts)
            self._epoch = epoch, rows, order[torch.randperm(len(order), generator=generator)]
        order, at = self._epoch[2], number - int(before.sum())
        bucket = int(order[at])
        return bucket, int(before[bucket]) + int((order[:at] == bucket).sum())

    def _before(self, epoch: int, rows: int) -> Int64[Tensor, " buckets"]:
        """Batches of each bucket in all epochs before one."""
        return torch.tensor([epoch * len(bucket) // rows for bucket in self.buckets])

    def changed(self, change: Callable[[Arrays], Encoded]) -> AspectRatioBuckets:
        """The same source with other pictures in their places, such as their latents.

        Args:
            change: From the pictures of a bucket to what takes their place.

        Returns:
            The source.
        """
        return AspectRatioBuckets([change(bucket) for bucket in self._plain()], self.seed, self.main)

    def _plain(self) -> list[Arrays]:
        return [bucket if isinstance(bucket, Arrays) else bucket.source for bucket in self.buckets]

    def split(
        self, held_out: float = 0.1, seed: int = 0, by: SplitBy = "content"
    ) -> tuple[AspectRatioBuckets, AspectRatioBuckets]:
        """Split into a training and a held-out part, as `Arrays.split` does, whatever buckets pictures are in.

        Args:
            held_out: The held-out share, between 0 and 1.
            seed: Seed of the split.
            by: "content": each picture's side is decided by its own content. "position": by the numbers of all.

        Returns:
            (the rest, the held-out part). A bucket of which a part has no picture is not in it. Both have the main
            bucket of the whole, if they have pictures of it.

        Raises:
            UsageError: If the share is not between 0 and 1 or leaves one side empty.
        """
        plain = self._plain()
        labels = [bucket.labels for bucket in plain if bucket.labels is not None]
        groups = items_by_class(len(self), torch.cat(labels) if labels else None, len(self.classes))
        out = held_out_rows(groups, lambda: torch.cat([bucket.keys() for bucket in plain]), held_out, seed, by)
        sides: tuple[list[Arrays], list[Arrays]] = ([], [])
        for bucket, chosen in zip(plain, out.split([len(bucket) for bucket in plain]), strict=True):
            for side, which in zip(sides, (~chosen, chosen), strict=True):
                if which.any():
                    side.append(bucket.only(which.nonzero()[:, 0]))
        mains = [next((n for n, bucket in enumerate(side) if bucket.shape == self.shape), None) for side in sides]
        rest, held = (AspectRatioBuckets(side, self.seed, main) for side, main in zip(sides, mains, strict=True))
        return rest, held

    def identity(self) -> dict[str, Any]:
        """What distinguishes these data from others; see `data.identity`.

        Returns:
            Number of rows, and digests of contents, labels and captions, None where there are none.
        """
        plain = self._plain()
        if len(plain) == 1:
            return plain[0].identity()
        found = [bucket.identity() for bucket in plain]
        shapes = {"shapes": [list(bucket.shape) for bucket in self.buckets]}
        digests = {name: [each[name] for each in found] for name in ("contents", "labels", "captions")}
        joined = {name: None if None in each else digest(json.dumps(each).encode()) for name, each in digests.items()}
        return {"rows": len(self), **joined, **shapes}

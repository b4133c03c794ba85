"""Where batches come from: batch number `step` is a pure function of (seed, step).

A finite source is read as one endless sequence, epoch after epoch, each epoch a fresh permutation of all n items:

    item(i) = permutation[i div n][i mod n],      batch(step) = item(step rows), ..., item(step rows + rows - 1)

where the permutation of an epoch is drawn from fold(seed, epoch).

There is nothing to save and nothing to restore: a run that was interrupted at step 1000 asks for batch 1000 and goes
on as if nothing had happened. Every item comes exactly once an epoch, and no batch is ever short.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.data.split import SplitBy, digest, held_out_rows, items_by_class, row_keys
from unmelt.encoder import HashedCaptionEncoder, TextEncoder
from unmelt.encoder.encoder import caption_condition
from unmelt.errors import UsageError
from unmelt.rng import fold


@runtime_checkable
class Source(Protocol):
    """An endless supply of batches."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, label k being the k-th; empty if rows have no labels."""

    def batch(self, step: int, rows: int) -> tuple[Tensor, Condition | None]:
        """Batch number `step` of the endless sequence.

        Args:
            step: Number of the batch, from 0.
            rows: Rows in the batch.

        Returns:
            (x, condition): rows [rows, *shape], and their labels and captions; None if they have neither.
        """


@runtime_checkable
class SourceOfShapes(Protocol):
    """A source whose rows have several shapes, and each batch one of them.

    Where a batch is read in parts, by several processes or one after the other, all parts must have its shape. Training
    therefore tells such a source how many rows a whole batch has.
    """

    def with_batch(self, rows: int) -> Source:
        """The same source for whole batches of a size.

        Args:
            rows: Rows of a whole batch.

        Returns:
            The source, whose batches of fewer rows are parts of these.
        """


def for_batches_of(source: Source, rows: int) -> Source:
    """The source for training steps of so many rows.

    Args:
        source: Any source.
        rows: Rows of a whole batch.

    Returns:
        The source itself, unless its rows have several shapes.
    """
    return source.with_batch(rows) if isinstance(source, SourceOfShapes) else source


@runtime_checkable
class CaptionReader(Protocol):
    """A source that can tell whether a picture shows what its caption says."""

    def caption_accuracy(self, sample: Callable[[list[str]], Tensor]) -> dict[str, float]:
        """Measure how often samples show what their captions say.

        Args:
            sample: Makes a sample [n, *shape] of each of n captions.

        Returns:
            Shares by name.
        """


@final
class Arrays:
    """A finite source: arrays in memory or in a mapped file.

    Args:
        values: Items [n, *shape]. Bytes become floats in [0, 1], floats become float32, int64 tokens are kept as they
            are.
        labels: Labels [n], 0 to K - 1: integers, or floats that are whole numbers; None for no labels.
        classes: K class names; the labels themselves if empty.
        seed: Seed of the order in which items come.
        captions: n captions, None for an item without one; a batch has them encoded, as the
            sequence of its condition. None for no captions.
        encoder: Encodes the captions.

    Raises:
        UsageError: If there are no items, values are not finite or of another type, labels are out of range or not
            whole numbers, two classes have one name, or the numbers of items, labels and captions differ.
    """

    def __init__(
        self,
        values: Shaped[Tensor, "n *shape"] | np.ndarray,
        labels: Shaped[Tensor, "*any"] | np.ndarray | Sequence[int] | Sequence[float] | None = None,
        classes: Sequence[str] = (),
        seed: int = 0,
        captions: Sequence[str | None] | None = None,
        encoder: TextEncoder = HashedCaptionEncoder(),
    ) -> None:
        self._stored = _storable(_tensor(values, "values"))
        self._which = torch.arange(len(self._stored))  # items of what is stored, which may be too large to copy
        self.labels = None if labels is None else _whole(_tensor(labels, "labels"))
        self.classes = _named(len(self), self.labels, tuple(classes))
        self.seed, self.encoder = seed, encoder
        self.captions = None if captions is None else list(captions)
        if self.captions is not None and len(self.captions) != len(self):
            raise UsageError(
                f"{len(self.captions)} captions for {len(self)} items", "one for each, or None", "captions"
            )
        if odd := [each for each in self.captions or () if not isinstance(each, str | None)]:
            raise UsageError(f"the caption {odd[0]!r}", "text for each item, or None", "captions=['a cat', None]")
        self._orders: dict[int, Tensor] = {}
        self._keys: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._stored.shape[1:])

    @property
    def values(self) -> Shaped[Tensor, "n *shape"]:
        """All items as they are stored; a copy if they are part of a larger source."""
        return self._stored if len(self) == len(self._stored) else self._stored[self._which]

    def __len__(self) -> int:
        return len(self._which)

    def _order(self, epoch: int) -> Int64[Tensor, " n"]:
        if epoch not in self._orders:
            # The epoch before is kept as well, as a batch may lie across the two.
            previous = {other: order for other, order in self._orders.items() if other == epoch - 1}
            generator = torch.Generator().manual_seed(fold(self.seed, epoch))
            self._orders = previous | {epoch: torch.randperm(len(self), generator=generator)}
        return self._orders[epoch]

    def items(self, step: int, rows: int) -> Int64[Tensor, " rows"]:
        """Number the items that a batch consists of.

        Args:
            step: Number of the batch, from 0.
            rows: Rows in the batch.

        Returns:
            [rows], numbers of items.
        """
        parts, at, end = [], step * rows, (step + 1) * rows
        while at < end:
            epoch, first = divmod(at, len(self))
            parts.append(self._order(epoch)[first : first + end - at])
            at += len(parts[-1])
        return torch.cat(parts)

    def batch(self, step: int, rows: int) -> tuple[Shaped[Tensor, "rows *shape"], Condition | None]:
        if step < 0 or rows < 1:
            raise UsageError(
                f"batch was asked for step={step}, rows={rows}",
                "step counts from 0, rows from 1",
                "batch(0, 64)",
            )
        items = self.items(step, rows)
        return self.rows_of(items), self.condition(items)

    def rows_of(self, items: Int64[Tensor, " rows"]) -> Shaped[Tensor, "rows *shape"]:
        """Read items by their numbers.

        Args:
            items: [rows], numbers of items.

        Returns:
            [rows, *shape].
        """
        return _numbers(self._stored.index_select(0, self._which[items]))

    def condition(self, items: Int64[Tensor, " rows"]) -> Condition | None:
        """Look up what is known of items.

        Args:
            items: [rows], numbers of items.

        Returns:
            Their labels and captions; None if they have neither.
        """
        label = None if self.labels is None else self.labels[items]
        if self.captions is None:
            return None if label is None else Condition(label=label)
        known = caption_condition(self.encoder, [self.captions[item] for item in items.tolist()])
        return replace(known, label=label)

    def all(self) -> tuple[Shaped[Tensor, "n *shape"], Int64[Tensor, " n"] | None]:
        """Every item once, in the given order, and the labels (None if there are none)."""
        return _numbers(self.values), self.labels

    def split(self, held_out: float = 0.1, seed: int = 0, by: SplitBy = "content") -> tuple[Arrays, Arrays]:
        """Split into a training and a held-out part, each class on its own.

        The rules are those of `data.split`: hashes and integer arithmetic, no library's random number generator.

        Args:
            held_out: The held-out share, between 0 and 1.
            seed: Seed of the split.
            by: "content": each item's side is decided by its own content. "position": by the numbers of all items.

        Returns:
            (the rest, the held-out part).

        Raises:
            UsageError: If the share is not between 0 and 1 or leaves one side empty.
        """
        groups = items_by_class(len(self), self.labels, len(self.classes))
        out = held_out_rows(groups, self.keys, held_out, seed, by)
        return self.only((~out).nonzero()[:, 0]), self.only(out.nonzero()[:, 0])

    def keys(self) -> Int64[Tensor, " n"]:
        """Hash the content of every item, once: of all of its bytes as they are stored.

        Returns:
            A key for each item; items of the same content have the same.
        """
        if self._keys is None:
            self._keys = row_keys(self._stored, self._which)
        return self._keys

    def identity(self) -> dict[str, Any]:
        """What distinguishes these data from others; see `data.identity`.

        Returns:
            Number of rows, and digests of contents, labels and captions, None where there are none.
        """
        captions = None if self.captions is None else digest(json.dumps(self.captions).encode())
        return {
            "rows": len(self),
            "contents": digest(self.keys().numpy().tobytes()),
            "labels": None if self.labels is None else digest(self.labels.contiguous().numpy().tobytes()),
            "captions": captions,
        }

    def only(self, items: Int64[Tensor, " items"]) -> Arrays:
        """A source of some of the items, which shares their storage.

        Args:
            items: Indices of the items.

        Returns:
            The smaller source; classes and seed are the same.
        """
        part = copy.copy(self)
        part._which, part._orders = self._which[items], {}
        part._keys = None if self._keys is None else self._keys[items]
        part.labels = None if self.labels is None else self.labels[items]
        part.captions = None if self.captions is None else [self.captions[item] for item in items.tolist()]
        return part


def _tensor(values: Any, what: str) -> Tensor:
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        kind = getattr(values, "dtype", type(values).__name__)
        raise UsageError(f"{what} of type {kind}", "numbers", f"{what}=torch.tensor([0, 1, 1])") from None


def _whole(labels: Tensor) -> Int64[Tensor, "*shape"]:
    """Labels as int64; fractions are refused, as they would be cut."""
    if labels.dtype.is_complex or (labels.dtype.is_floating_point and not (labels == labels.round()).all()):
        wrong = next(each for each in labels.flatten().tolist() if each != each or each != round(each))
        raise UsageError(f"the label {wrong}", "whole numbers, one for each class", "labels=labels.long()")
    return labels.to(torch.int64)


def _storable(values: Tensor) -> Tensor:
    """Check the values; bytes stay bytes until a batch needs them, which takes a quarter of the memory."""
    if values.ndim == 0 or len(values) == 0:
        raise UsageError(f"values of shape {list(values.shape)}", "at least one item", "Arrays(torch.rand(100, 2))")
    if values.is_floating_point():
        if not values.isfinite().all():
            raise UsageError(
                "values with NaN or infinity among them", "finite numbers", "torch.nan_to_num(torch.as_tensor(values))"
            )
        return values.float()
    if values.dtype not in (torch.uint8, torch.int64):
        raise UsageError(
            f"values of type {values.dtype}",
            "uint8 (bytes), floats, or int64 (tokens)",
            "Arrays(values.float())",
        )
    return values


def _numbers(values: Tensor) -> Tensor:
    return values.float() / 255 if values.dtype == torch.uint8 else values


def _named(count: int, labels: Tensor | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes of labels that fit; the numbers themselves where they have no names."""
    if labels is None:
        if classes:
            raise UsageError(f"classes {classes} without labels", "both or neither", "Arrays(values, labels, classes)")
        return ()
    if labels.shape != (count,):
        raise UsageError(
            f"labels of shape {list(labels.shape)} for {count} items", "one label for each item", "labels[:len(values)]"
        )
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise UsageError(f"two classes called {twice!r}", "a name of its own for each class", "classes=['cat', 'dog']")
    low, high = int(labels.min()), int(labels.max())
    names = classes or tuple(str(label) for label in range(high + 1))
    if low < 0 or high >= len(names):
        raise UsageError(
            f"labels from {low} to {high} for {len(names)} classes",
            f"labels 0 to {len(names) - 1}",
            "a name in `classes` for every label",
        )
    return names

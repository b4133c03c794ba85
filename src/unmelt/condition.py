"""What is known about the data to be generated: one typed object for every kind of conditioning.

Row b of a condition belongs to row b of the batch. A row that is not given a field has the null condition for it, the
one that classifier-free guidance subtracts; every backbone learns what null looks like. A condition with a `negative`
has that in place of its null: what guidance is to move away from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.public_names import publish

__all__ = ["DROPPABLE", "FIELDS", "KNOWN_FRAMES", "Condition", "RowSelection"]


RowSelection: TypeAlias = slice | Tensor

FIELDS = (
    "label",
    "vector",
    "sequence",
    "sequence_mask",
    "context",
    "known_tokens",
    "guidance_scale",
    "adapter",
    "x_mask",
)
DROPPABLE = ("label", "vector", "sequence", "context")
"""Fields that have a null; the others always count."""

KNOWN_FRAMES = "known_frames"
"""Name of the extra condition that holds known frames of x: [rows, frames, features + 1], the last of them 1 where a
frame is known. `x_mask` is False there."""

NEVER_DROPPED = ("known_tokens", "guidance_scale", "adapter", "x_mask")
"""Fields that belong to a row, whatever it is conditioned on."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Label, vector, sequence, context or known tokens of each row, or any of these together.

    Args:
        label: [rows], the class, 0 to classes - 1.
        vector: [rows, features], any features of fixed size; or [rows, frames, features], some of each frame, for
            backbones over frames (the action that was taken at each).
        sequence: [rows, length, width], tokens to attend to, such as an encoded caption.
        sequence_mask: [rows, length], True where a token of the sequence is real. None: all are.
        context: [rows, channels, *space], aligned with x; the backbone concatenates it (a low-resolution image, past
            frames).
        known_tokens: [rows, *tokens], tokens of x0 that are known, -1 where one is not. Never dropped.
        guidance_scale: [rows], scale of the guidance of each row, which takes the place of the guidance's own. Never
            dropped.
        adapter: [rows], the number of the model's adapter that each row uses, -1 for none. Never dropped.
        x_mask: [rows, *places], True where x is to be generated, by leading axes of x: rows of different lengths
            share a batch. Elsewhere x0 is 0, beliefs are 0, and no loss is counted. None: everywhere. Never dropped.
        extra: Kinds of conditions of your own, by name: tensors with rows first, which a backbone of your own reads.
            They are dropped like labels, unless they are `kept`.
        kept: Names of extras that are never dropped: both beliefs that guidance combines are given them, such as the
            control pictures of networks that were trained elsewhere.
        given: For a field or an extra, [rows], True where the row is given it and False where it has the null. What has
            no entry is given to every row. Made by `drop` and `join`.
        negative: What guidance moves each row away from in place of the null condition, such as a negative prompt. A
            row to which it gives nothing is moved away from the null. None: all are.

    Raises:
        UsageError: If an extra has the name of a field, what is kept is no extra, a value is no tensor with rows first,
            labels are no whole numbers, or the negative condition has another number of rows.
    """

    label: Int64[Tensor, " rows"] | None = None
    vector: Float[Tensor, "rows *axes features"] | None = None
    sequence: Float[Tensor, "rows length width"] | None = None
    sequence_mask: Bool[Tensor, "rows length"] | None = None
    context: Float[Tensor, "rows channels *space"] | None = None
    known_tokens: Int64[Tensor, "rows *tokens"] | None = None
    guidance_scale: Float[Tensor, " rows"] | None = None
    adapter: Int64[Tensor, " rows"] | None = None
    x_mask: Bool[Tensor, "rows *places"] | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    given: Mapping[str, Bool[Tensor, " rows"]] = field(default_factory=dict)
    negative: Condition | None = None

    def __post_init__(self) -> None:
        if taken := [name for name in self.extra if name in FIELDS]:
            raise UsageError(f"an extra condition called {taken[0]!r}", "a name of its own", f"{taken[0]}=...")
        if lost := [name for name in self.kept if name not in self.extra]:
            raise UsageError(f"kept={lost[0]!r}, which is no extra", "names of extras", f"extra={{{lost[0]!r}: ...}}")
        for name, value in self._tensors().items():
            if not isinstance(value, Tensor) or value.ndim == 0:
                instead = f"{name}=torch.tensor([3])" if name == "label" else f"{name}={name}[None]"
                raise UsageError(f"a condition whose {name} is {value!r:.40}", "a tensor, rows first", instead)
        if self.label is not None and (self.label.is_floating_point() or self.label.dtype == torch.bool):
            raise UsageError(f"labels of {self.label.dtype}", "whole numbers", "label=label.long()")
        if self.negative is not None and len(self.negative) not in (0, len(self)):
            raise UsageError(
                f"a negative condition of {len(self.negative)} rows for {len(self)} rows",
                "as many rows",
                "negative=negative[torch.zeros(rows, dtype=torch.int64)]",
            )

    def is_given(self, name: str) -> Bool[Tensor, " rows"] | None:
        """Which rows are given a field.

        Args:
            name: The field.

        Returns:
            [rows], True where the row is given the field; None if every row is.
        """
        return self.given.get(name)

    def masked(self, x: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows *shape"]:
        """x with zeros where it is not to be generated.

        Args:
            x: [rows, *axes, *rest].

        Returns:
            The same shape; x itself where all of it is to be generated.
        """
        if self.x_mask is None:
            return x
        mask = self.x_mask.view(*self.x_mask.shape, *(1,) * (x.ndim - self.x_mask.ndim))
        return torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))

    @property
    def rows(self) -> int:
        """The number of rows; 0 if nothing is known. It stays a symbol where torch.export has one, unlike `len`."""
        rows = next((value.shape[0] for value in self._tensors().values()), 0)
        return rows if rows or self.negative is None else self.negative.rows

    def __len__(self) -> int:
        """The number of rows; 0 if nothing is known."""
        return self.rows

    def drop(self, rows: Bool[Tensor, " rows"], names: Sequence[str] | None = None) -> Condition:
        """The same condition with some rows made null.

        Args:
            rows: [rows], True for those to drop.
            names: Fields and extras to drop, of those in `droppable`. None: all of them.

        Returns:
            The condition, in which those rows are given no droppable field.
        """
        left = ~rows
        dropped = {name: self.given[name] & left if name in self.given else left for name in names or self.droppable}
        return replace(self, given={**self.given, **dropped})

    def null(self) -> Condition:
        """What guidance moves away from: the negative condition, or else the same one with every row made null."""
        if self.negative is not None:
            kept: dict[str, Any] = {name: getattr(self, name) for name in FIELDS if name in NEVER_DROPPED}
            extra = {name: value for name, value in self.negative.extra.items() if name not in self.negative.kept}
            given = {name: self.given[name] for name in self.kept if name in self.given}
            kept |= {"extra": {**extra, **{name: self.extra[name] for name in self.kept}}, "kept": self.kept}
            return replace(self.negative, given={**self.negative.given, **given}, **kept)
        if not len(self):
            return self
        device = next(iter(self._tensors().values())).device
        return self.drop(torch.ones(len(self), dtype=torch.bool, device=device))

    def to(self, device: torch.device | str) -> Condition:
        """The same condition on a device.

        Args:
            device: Where its tensors go.

        Returns:
            The condition there.
        """
        return self._each(lambda value: value.to(device))

    def __getitem__(self, rows: RowSelection) -> Condition:
        """Some of the rows, by slice, index or mask."""
        return self._each(lambda value: value[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        values: dict[str, Any] = {name: None if (v := getattr(self, name)) is None else change(v) for name in FIELDS}
        own = {name: change(value) for name, value in self.extra.items()}
        given = {name: change(value) for name, value in self.given.items()}
        negative = None if self.negative is None else self.negative._each(change)
        return Condition(**values, extra=own, kept=self.kept, given=given, negative=negative)

    @property
    def droppable(self) -> list[str]:
        """Names of the fields and extras that are known and have a null."""
        own = [name for name in self.extra if name not in self.kept]
        return [name for name in self._tensors() if name in DROPPABLE or name in own]

    def _tensors(self) -> dict[str, Tensor]:
        """All that is known, by name."""
        return {name: v for name in FIELDS if (v := getattr(self, name)) is not None} | dict(self.extra)

    @property
    def is_droppable(self) -> bool:
        """Whether there is anything that has a null or a negative, which guidance can move away from."""
        return bool(self.droppable) or (self.negative is not None and self.negative.is_droppable)

    @staticmethod
    def join(parts: Sequence[Condition | None], rows: Sequence[int] | None = None) -> Condition | None:
        """Rows of several conditions, one after the other, whatever each of them knows.

        A row that lacks a field which others have is null for it, and is not given what they keep: it has no known
        tokens, guidance scale 1, no adapter, and the null in place of a negative condition. Sequences are padded to the
        longest, and masked.

        Args:
            parts: The conditions; None stands for rows of which nothing is known.
            rows: The number of rows of each part; needed where a part is None or knows nothing.

        Returns:
            The joined condition; None if nothing is known of any row.

        Raises:
            UsageError: If a field has different shapes in different parts.
        """
        known = [Condition() if part is None else part for part in parts]
        sizes = [len(part) for part in known] if rows is None else list(rows)
        own = list(dict.fromkeys(name for part in known for name in part.extra))
        tensors = {name: v for name in (*FIELDS, *own) if (v := _joined(name, known, sizes)) is not None}
        present = [name for name in tensors if name in DROPPABLE or name in own]
        given = {name: flags for name in present if (flags := _flags(name, known, sizes)) is not None}
        fields: dict[str, Any] = {name: value for name, value in tensors.items() if name in FIELDS}
        extra = {name: value for name, value in tensors.items() if name in own}
        if any(part.negative is not None for part in known):
            fields["negative"] = Condition.join([part.negative for part in known], sizes)
        kept = tuple(dict.fromkeys(name for part in known for name in part.kept))
        return Condition(**fields, extra=extra, kept=kept, given=given) if fields or extra else None


def _joined(name: str, parts: Sequence[Condition], sizes: Sequence[int]) -> Tensor | None:
    """One field of all rows, filled where a part lacks it."""
    values = [part._tensors().get(name) for part in parts]
    length = max((part.sequence.shape[1] for part in parts if part.sequence is not None), default=0)
    if name == "sequence_mask" and any(part.sequence is not None for part in parts):
        uneven = len({None if part.sequence is None else part.sequence.shape[1] for part in parts}) > 1
        if uneven or any(value is not None for value in values):
            values = [_mask(part, rows, length) for part, rows in zip(parts, sizes, strict=True)]
    if name == "sequence":
        values = [None if v is None else F.pad(v, (0, 0, 0, length - v.shape[1])) for v in values]
    first = next((value for value in values if value is not None), None)
    if first is None:
        return None
    shapes = {tuple(value.shape[1:]) for value in values if value is not None}
    if len(shapes) > 1:
        raise UsageError(
            f"conditions with a {name} of shape {' and '.join(map(str, sorted(shapes)))} in one batch",
            "one shape for all rows",
            "two batches",
        )
    filler = {"known_tokens": -1, "guidance_scale": 1, "adapter": -1, "x_mask": True}.get(name, 0)
    pairs = zip(values, sizes, strict=True)
    return torch.cat([first.new_full((n, *first.shape[1:]), filler) if v is None else v for v, n in pairs])


def _mask(part: Condition, rows: int, length: int) -> Tensor:
    """Which tokens of a part's sequence are real, when all sequences are padded to one length."""
    if part.sequence is None:
        device = next((value.device for value in part._tensors().values()), None)
        return torch.zeros(rows, length, dtype=torch.bool, device=device)
    mask = part.sequence_mask
    real = part.sequence.new_ones(part.sequence.shape[:2], dtype=torch.bool) if mask is None else mask
    return F.pad(real, (0, length - real.shape[1]))


def _flags(name: str, parts: Sequence[Condition], sizes: Sequence[int]) -> Tensor | None:
    """Which of all rows are given a field; None if all are."""
    values = [(part._tensors().get(name), part.given.get(name)) for part in parts]
    if all(value is not None and flags is None for value, flags in values):
        return None
    device = next(value.device for value, _ in values if value is not None)
    of_parts = [
        torch.full((rows,), value is not None, device=device) if flags is None else flags
        for (value, flags), rows in zip(values, sizes, strict=True)
    ]
    return torch.cat(of_parts)


publish(__name__)

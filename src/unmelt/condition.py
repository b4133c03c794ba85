"""What is known about the thing to be generated: one typed object for every kind of conditioning.

Row b of a condition belongs to row b of the batch. `given[b]` is False where that row has been dropped to the null
condition, the one that classifier-free guidance subtracts; every backbone learns what null looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A class, a vector, a sequence, something laid beside x, or any of these together.

    label     which class, 0 to K - 1
    vector    any features of fixed size
    sequence  tokens to attend to (an encoded caption); `sequence_mask` is True where a token is real
    known_tokens     tokens that are known, -1 where one is not; every row's own, and never dropped
    context   channels aligned with x, concatenated to it by the backbone (a low-resolution image, past frames)
    given     True where the row has its condition, False where it is dropped to null; made by `drop`
    """

    label: Int64[Tensor, " rows"] | None = None
    vector: Float[Tensor, "rows features"] | None = None
    sequence: Float[Tensor, "rows length width"] | None = None
    sequence_mask: Bool[Tensor, "rows length"] | None = None
    context: Float[Tensor, "rows channels *space"] | None = None
    known_tokens: Int64[Tensor, "rows *tokens"] | None = None
    given: Bool[Tensor, " rows"] | None = None

    def _each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Condition(**{name: None if v is None else change(v) for name, v in values.items()})

    def __len__(self) -> int:
        """The number of rows."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                return len(value)
        return 0

    def drop(self, rows: Bool[Tensor, " rows"]) -> Condition:
        """The same condition with these rows made null."""
        return replace(self, given=~rows if self.given is None else self.given & ~rows)

    def null(self) -> Condition:
        """The same condition with every row made null."""
        return self.drop(self._every_row(True)) if len(self) else self

    def to(self, device: torch.device | str) -> Condition:
        return self._each(lambda value: value.to(device))

    def __getitem__(self, rows: slice | Tensor) -> Condition:
        return self._each(lambda value: value[rows])

    @staticmethod
    def join(parts: Sequence[Condition]) -> Condition:
        """Rows of several conditions, one after the other; parts must know the same kinds of things."""
        if any(part.given is not None for part in parts):
            parts = [part if part.given is not None else part.drop(part._every_row(False)) for part in parts]
        columns = {}
        for field in fields(Condition):
            values = [getattr(part, field.name) for part in parts]
            known = [value for value in values if value is not None]
            if known and len(known) < len(values):
                raise ValueError(f"conditions with and without {field.name!r} cannot be joined; give it to all of them")
            columns[field.name] = torch.cat(known) if known else None
        return Condition(**columns)

    def _every_row(self, value: bool) -> Bool[Tensor, " rows"]:
        device = next(v.device for f in fields(self) if (v := getattr(self, f.name)) is not None)
        return torch.full((len(self),), value, device=device)

"""A canvas: a row of a fixed number of tokens, some of which are known, and text on its way there and back.

A model that goes from left to right reads what is known in another order, if it was taught to fill middles in:

    prompt ... suffix  ->  [prefix] [suffix] suffix [middle] prompt ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.codec import Tokenizer
from unmelt.data import GAP
from unmelt.errors import UsageError

Texts: TypeAlias = str | Sequence[str]


class Gapped(NamedTuple):
    """A canvas, and the text that it has no room for before and after."""

    known: Int64[Tensor, " length"]
    start: str
    end: str


@final
@dataclass(frozen=True)
class Canvas:
    """Of one model.

    length     tokens of the longest row
    is_causal    whether what is written never sees what comes after
    middles    whether it was taught to write a middle with the suffix before it all the same
    """

    tokenizer: Tokenizer
    length: int
    is_causal: bool
    fills_middle: bool

    # From text

    def between(
        self, prompts: Sequence[str], suffixes: Sequence[str], length: int | None = None
    ) -> Int64[Tensor, "rows length"]:
        """Rows in which prompt and suffix are known, -1 standing everywhere else."""
        length = self.length if length is None else length
        if not 1 <= length <= self.length:
            raise UsageError(f"length={length}", f"1 to {self.length} tokens", f"length={self.length}")
        rows = []
        for before, after in zip(prompts, suffixes, strict=True):
            first, last = self.tokenizer.encode(before), self.tokenizer.encode(after)
            gap = length - len(first) - len(last) - self._taken(last)
            if gap < 1:
                raise UsageError(
                    f"a prompt of {len(first)} and a suffix of {len(last)} tokens",
                    f"fewer than {length} together, for which this is a canvas",
                    f"prompt[-{2 * length}:]" if len(first) > len(last) else "a shorter suffix",
                )
            row = torch.tensor([*first, *[-1] * gap, *last])
            rows.append(self._marked(row[None], len(first), len(last), gap)[0])
        return torch.stack(rows)

    def around(self, before: str, text: str, after: str) -> tuple[Int64[Tensor, "1 n"], Int64[Tensor, "1 n"]]:
        """(tokens, those of them that are known, which is all but the text)."""
        first, middle, last = (self.tokenizer.encode(each) for each in (before, text, after))
        if not middle or len(first) + len(middle) + len(last) + self._taken(last) > self.length:
            raise UsageError(
                f"{len(first)} + {len(middle)} + {len(last)} tokens of prompt, text and suffix",
                f"some text, and {self.length} tokens in all",
                "shorter pieces",
            )
        rows = [[*first, *middle, *last], [*first, *[-1] * len(middle), *last]]
        tokens, known = (self._marked(torch.tensor([row]), len(first), len(last), len(middle)) for row in rows)
        return tokens, known

    def gapped(self, text: str, marker: str, tokens: int) -> Gapped:
        """A text with so many tokens to be written for every marker; if it is too long, what is nearest to the gaps."""
        pieces = [self.tokenizer.encode(piece) for piece in text.split(marker)] if marker else []
        if len(pieces) < 2:
            raise UsageError(f"text without {marker!r}", "a marker where the gap is", f"'def area(r):\\n    {marker}'")
        first, *inner, last = pieces
        if self.is_causal and any(inner):
            raise self._cannot_look_ahead()
        middle = [token for piece in inner for token in [*[-1] * tokens, *piece]] + [-1] * tokens
        room = self.length - len(middle) - self._taken(last)
        if tokens < 1 or room < 0:
            raise UsageError(
                f"gaps that take {len(middle)} tokens with what is between them",
                f"at least 1 token a gap, and {self.length} in all",
                "fewer tokens, or the gaps one at a time",
            )
        before = min(len(first), max(room // 2, room - len(last)))
        cut, after = len(first) - before, min(len(last), room - before)
        row = torch.tensor([*first[cut:], *middle, *last[:after]])
        known = self._marked(row[None], before, after, len(middle))[0]
        return Gapped(known, self.tokenizer.decode(first[:cut]), self.tokenizer.decode(last[after:]))

    def ended(self, row: Int64[Tensor, " n"]) -> Int64[Tensor, " longer"]:
        """As far as there is room, with an end after it and padding."""
        end, padding = (torch.tensor([self.tokenizer.special(name)]) for name in ("end", "padding"))
        return torch.cat([row, end, padding.expand(self.length)])[: self.length]

    def known_ahead(self, known: Int64[Tensor, "rows n"]) -> bool:
        """Whether something stands after a gap."""
        given = (known >= 0) & (known != self.tokenizer.special("padding"))
        return bool(((known < 0).cummax(1).values & given).any())

    # To text

    def read(self, row: list[int], known: list[int]) -> str:
        """A row as text: all of it if something is known at its end, or else up to the first end that was written."""
        if row[0] == self.tokenizer.special("prefix") or known[-1] >= 0:
            return self.whole(row)
        start = len(known) - next((i for i, token in enumerate(reversed(known)) if token >= 0), len(known))
        return self._plain(row[:start] + self._cut(row[start:]))

    def whole(self, row: list[int]) -> str:
        """All of a row as text, in the order in which people read it."""
        first, second, third = (self.tokenizer.special(name) for name in ("prefix", "suffix", "middle"))
        if row and row[0] == first and second in row and third in row:
            at, then = row.index(second), row.index(third)
            row = self._cut(row[then + 1 :]) + row[at + 1 : then]
        return self._plain(row)

    def _cut(self, row: list[int]) -> list[int]:
        """What comes before the end."""
        end = self.tokenizer.special("end")
        return row[: row.index(end)] if end in row else row

    def _plain(self, row: list[int]) -> str:
        """Text with a sign for every mask."""
        mask, pieces, run = self.tokenizer.vocabulary, [], []
        for token in row:
            if token < mask:
                run.append(token)
                continue
            pieces += [self.tokenizer.decode(run), GAP]
            run = []
        return "".join([*pieces, self.tokenizer.decode(run)])

    # What is read first

    def _taken(self, suffix: list[int]) -> int:
        """Places that marks will take."""
        return 3 if suffix and self.fills_middle else 0

    def _marked(self, rows: Tensor, before: int, after: int, gap: int) -> Tensor:
        """The rows as the model reads them: for one that goes from left to right, with what is known put first."""
        if not self.is_causal or after == 0:
            return rows
        if not self.fills_middle:
            raise self._cannot_look_ahead()
        mark = [torch.full((len(rows), 1), self.tokenizer.special(name)) for name in ("prefix", "suffix", "middle")]
        prefix, middle, suffix = rows.split([before, gap, after], dim=1)
        return torch.cat([mark[0], mark[1], suffix, mark[2], prefix, middle], 1)[:, : self.length]

    def _cannot_look_ahead(self) -> UsageError:
        return UsageError(
            "a suffix for a model that reads from left to right",
            "a prompt alone, one gap for a model that was taught to fill middles, or a diffusion model",
            "unmelt train code_ar --fim-rate 0.5 --out runs/middle",
        )


def one_each(texts: Texts, rows: int, name: str) -> list[str]:
    """One text for each row."""
    if isinstance(texts, str):
        return [texts] * rows
    if len(texts) != rows:
        raise UsageError(f"{len(texts)} of {name} for {rows} rows", "one, or one for each row", f"{name}='def '")
    return list(texts)

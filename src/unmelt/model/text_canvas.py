"""A canvas: a row of a fixed number of tokens, some of which are known; from text to tokens and back.

An autoregressive model that was trained to fill in the middle gets the known tokens in another order:

    prompt ... suffix  ->  [prefix] [suffix] suffix [middle] prompt ...
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.arguments.values import shown
from unmelt.codec import Tokenizer
from unmelt.data import GAP_MARKER
from unmelt.errors import UsageError

Texts: TypeAlias = str | Sequence[str]

MOST_ADVISED = 40
"""Characters of the longest text that an error message proposes."""


class Gapped(NamedTuple):
    """A row of tokens with gaps, and the tokens before and after it that did not fit.

    They stay tokens, since a row may begin or end within a character.

    Args:
        known: [length], tokens; -1 in the gaps.
        before: Tokens of the text before the row.
        after: Tokens of the text after the row.
    """

    known: Int64[Tensor, " length"]
    before: Sequence[int]
    after: Sequence[int]


@final
@dataclass(frozen=True)
class Canvas:
    """Rows of tokens as one model takes them.

    Args:
        tokenizer: The model's tokenizer.
        length: Tokens of the longest row.
        is_causal: Whether a token never depends on later ones.
        fills_middle: Whether a causal model was trained to fill in the middle, with the suffix put before it.
    """

    tokenizer: Tokenizer
    length: int
    is_causal: bool
    fills_middle: bool

    # From text

    def between(
        self, prompts: Sequence[str], suffixes: Sequence[str], length: int | None = None
    ) -> Int64[Tensor, "rows length"]:
        """Make rows in which prompt and suffix are known.

        Args:
            prompts: The text that each row begins with.
            suffixes: The text that each row ends with.
            length: Tokens of a row; None for the longest.

        Returns:
            [rows, length], tokens; -1 where they are not known.

        Raises:
            UsageError: If the length is out of range, prompt and suffix leave no gap, or a causal model that was not
                trained to fill in the middle is given a suffix.
        """
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
                    f"fewer than {length} together, the length of a row",
                    self._shorter(before, after, length),
                )
            row = torch.tensor([*first, *[-1] * gap, *last])
            rows.append(self._marked(row[None], len(first), len(last), gap)[0])
        return torch.stack(rows)

    def around(self, before: str, text: str, after: str) -> tuple[Int64[Tensor, "1 n"], Int64[Tensor, "1 n"]]:
        """Make a row of which the text in the middle is not known, and the same row with all of it.

        Args:
            before: The prompt.
            text: The text in the middle.
            after: The suffix.

        Returns:
            (tokens [1, n], known tokens [1, n] with -1 in place of the text).

        Raises:
            UsageError: If the text is empty or all of it is longer than a row.
        """
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
        """Make a row of a text with markers. Of a text longer than a row, what is nearest to the gaps is kept.

        Args:
            text: The text, with a marker in place of every gap.
            marker: The marker.
            tokens: Tokens of each gap.

        Returns:
            The row, and the text that did not fit.

        Raises:
            UsageError: If there is no marker, the gaps are longer than a row, or a causal model is given several gaps.
        """
        pieces = [self.tokenizer.encode(piece) for piece in text.split(marker)] if marker else []
        if len(pieces) < 2:
            raise UsageError(f"text without {marker!r}", "a marker where the gap is", f"'def area(r):\\n    {marker}'")
        first, *inner, last = pieces
        if self.is_causal and any(inner):
            raise self._cannot_look_ahead()
        size = sum(map(len, inner)) + tokens * (len(inner) + 1)
        room = self.length - size - self._taken(last)
        if tokens < 1 or room < 0:
            most = tokens + room // (len(inner) + 1)
            raise UsageError(
                f"gaps that take {size} tokens with what is between them",
                f"at least 1 token a gap, and {self.length} in all; else the gaps one at a time",
                f"tokens={max(1, most)}" if tokens < 1 or most > 0 else "a text with fewer gaps, or closer ones",
            )
        middle = [token for piece in inner for token in [*[-1] * tokens, *piece]] + [-1] * tokens
        before = min(len(first), max(room // 2, room - len(last)))
        cut, after = len(first) - before, min(len(last), room - before)
        row = torch.tensor([*first[cut:], *middle, *last[:after]])
        known = self._marked(row[None], before, after, len(middle))[0]
        return Gapped(known, first[:cut], last[after:])

    def with_end(self, row: Int64[Tensor, " n"]) -> Int64[Tensor, " longer"]:
        """Append an end token and padding, as far as there is room.

        Args:
            row: [n], tokens.

        Returns:
            [longer], tokens of a row of full length.
        """
        end, padding = (torch.tensor([self.tokenizer.special(name)]) for name in ("end", "padding"))
        return torch.cat([row, end, padding.expand(self.length)])[: self.length]

    def known_after_gap(self, known: Int64[Tensor, "rows n"]) -> bool:
        """Whether any token is known after a gap.

        Args:
            known: [rows, n], tokens; -1 in the gaps.

        Returns:
            True if a row has a known token, other than padding, after an unknown one.
        """
        given = (known >= 0) & (known != self.tokenizer.special("padding"))
        return bool(((known < 0).cummax(1).values & given).any())

    # To text

    def read(self, row: list[int], known: list[int]) -> str:
        """Decode a row: all of it if its last token was known, else up to the first end token that was sampled.

        Args:
            row: Tokens.
            known: The tokens that were known; -1 in the gaps.

        Returns:
            The text.
        """
        if row[0] == self.tokenizer.special("prefix") or known[-1] >= 0:
            return self.whole(row)
        start = len(known) - next((i for i, token in enumerate(reversed(known)) if token >= 0), len(known))
        return self._plain(row[:start] + self._cut(row[start:]))

    def whole(self, row: list[int], before: Sequence[int] = (), after: Sequence[int] = ()) -> str:
        """Decode all of a row, in reading order; a suffix that was put first goes last.

        Args:
            row: Tokens.
            before: Tokens of the text before the row.
            after: Tokens of the text after the row.

        Returns:
            The text.
        """
        first, second, third = (self.tokenizer.special(name) for name in ("prefix", "suffix", "middle"))
        if row and row[0] == first and second in row and third in row:
            at, then = row.index(second), row.index(third)
            row = self._cut(row[then + 1 :]) + row[at + 1 : then]
        return self._plain([*before, *row, *after])

    def _cut(self, row: list[int]) -> list[int]:
        """The tokens before the first end token."""
        end = self.tokenizer.special("end")
        return row[: row.index(end)] if end in row else row

    def _plain(self, row: list[int]) -> str:
        """The text, with a sign for every mask."""
        mask, pieces, run = self.tokenizer.vocabulary, [], []
        for token in row:
            if token < mask:
                run.append(token)
                continue
            pieces += [self.tokenizer.decode(run), GAP_MARKER]
            run = []
        return "".join([*pieces, self.tokenizer.decode(run)])

    # Prompts that do not fit

    def _shorter(self, prompt: str, suffix: str, length: int) -> str:
        """Settings with which a row has room for a gap: more tokens if the model has them, else less text."""
        first, last = len(self.tokenizer.encode(prompt)), self.tokenizer.encode(suffix)
        room = length - 1 - self._taken(last)
        if first + len(last) < self.length - self._taken(last):
            return f"length={self.length}"
        if len(last) < room:
            return f"prompt='{self._fitting(prompt, room - len(last), of_end=True)}'"
        if first < length - 1:
            return f"suffix='{self._fitting(suffix, room - first, of_end=False)}'"
        prompt = self._fitting(prompt, (length - 1) // 2, of_end=True)
        return f"prompt='{prompt}', suffix='{self._fitting(suffix, room // 2, of_end=False)}'"

    def _fitting(self, text: str, tokens: int, of_end: bool) -> str:
        """A short end or beginning of a text, of so many tokens at most, that needs no quoting."""
        plain = re.findall(r"[\w ,.;:!?()-]+", text)
        text = (plain[-1] if of_end else plain[0]) if plain else ""
        pieces = (text[-size:] if of_end else text[:size] for size in range(min(len(text), MOST_ADVISED), 0, -1))
        return next((piece for piece in pieces if len(self.tokenizer.encode(piece)) <= tokens), "")

    # The order of a causal model that fills in the middle

    def _taken(self, suffix: list[int]) -> int:
        """Number of marker tokens that `_marked` will add."""
        return 3 if suffix and self.fills_middle else 0

    def _marked(self, rows: Tensor, before: int, after: int, gap: int) -> Tensor:
        """The rows in the order in which the model takes them: for a causal one, with the known tokens first."""
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
            "um.recipe.code_ar(fim_rate=0.5).fit(out='runs/middle')",
        )


def one_per_row(texts: Texts, rows: int, name: str) -> list[str]:
    """Repeat a text for each row, or check that there is one for each.

    Args:
        texts: One text, or one for each row.
        rows: Number of rows.
        name: The argument's name, for the error message.

    Returns:
        A text for each row.

    Raises:
        UsageError: If there is another number of texts.
    """
    if isinstance(texts, str):
        return [texts] * rows
    if len(texts) != rows:
        raise UsageError(f"{len(texts)} of {name} for {rows} rows", "one, or one for each row", f"{name}='def '")
    return list(texts)


def check_tokens(verb: str, tokens: Any) -> Tensor:
    """Refuse text, or anything else, where rows of tokens are needed.

    Args:
        verb: The method that was given them.
        tokens: What was given.

    Returns:
        The tokens as they are.

    Raises:
        UsageError: If they are no tensor.
    """
    if isinstance(tokens, Tensor):
        return tokens
    instead = f"model.codec.encode({shown(tokens)})" if isinstance(tokens, str) else "model.codec.encode('some text')"
    raise UsageError(f"model.{verb} was given {shown(tokens)}", "rows of tokens [rows, length], as a tensor", instead)

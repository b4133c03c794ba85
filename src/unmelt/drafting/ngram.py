"""Prompt lookup: the text that followed the same words before (Saxena, 2023; Yang et al., 2023).

The last n tokens of a text are looked for earlier in it, the longest n first and the latest place first; what followed
there is the draft. Nothing is drawn, so q is a point. Copies, such as names in source code, are drafted well.
"""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.drafting.draft import Draft
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds


@final
@checked_init("um.drafting.NGram")
@dataclass(frozen=True)
class NGram:
    """A drafter that looks up what followed the last tokens before.

    Args:
        longest: Largest number of tokens to look for.
        shortest: Smallest number; where fewer are found, nothing is drafted.

    Raises:
        UsageError: If `shortest` is not from 1 to `longest`.
    """

    longest: int = 3
    shortest: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            given = f"NGram with longest={self.longest}, shortest={self.shortest}"
            raise UsageError(given, "1 <= shortest <= longest", "NGram(longest=3, shortest=1)")

    @property
    def layers(self) -> tuple[int, ...]:
        """No layers of the verifier."""
        return ()

    def __call__(
        self,
        x: Int64[Tensor, "rows length"],
        lengths: Int64[Tensor, " rows"],
        hidden: Float[Tensor, "rows length features"] | None,
        k: int,
        rng: RowSeeds,
    ) -> Draft:
        draft = Draft.nothing(len(x), k, x.device)
        for row, length in enumerate(lengths.tolist()):
            found = self._continuation(x[row, :length])[:k]
            draft.tokens[row, : len(found)] = found
            draft.counts[row] = len(found)
        return draft

    def _continuation(self, text: Int64[Tensor, " length"]) -> Int64[Tensor, " rest"]:
        """What stands after the latest earlier place of the longest ending that has one; nothing if none has."""
        for n in range(min(self.longest, len(text) - 1), self.shortest - 1, -1):
            places = (text[:-1].unfold(0, n, 1) == text[-n:]).all(1).nonzero()
            if len(places):
                return text[int(places[-1]) + n :]
        return text[:0]

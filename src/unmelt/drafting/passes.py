"""What one row's passes propose, what is accepted and what is cut: for people to look at, and to count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from unmelt.drafting.speculative import Speculative
from unmelt.drafting.verifier import Verifier
from unmelt.rng import Seed


class Pass(NamedTuple):
    """One network call of the verifier.

    Args:
        drafted: The tokens that were proposed.
        accepted: How many of them were written, counted from the first.
        written: The tokens that the pass adds to the text: the accepted ones and, unless the row ended among them, the
            verifier's own token after them.
    """

    drafted: list[int]
    accepted: int
    written: list[int]

    @property
    def rejected(self) -> list[int]:
        """The proposed tokens that were not written."""
        return self.drafted[self.accepted :]


def passes(how: Speculative, verifier: Verifier, prompt: Sequence[int], tokens: int, seed: Seed = 0) -> Iterator[Pass]:
    """Write one text pass by pass.

    Args:
        how: How it is written.
        verifier: The model whose text is written.
        prompt: Tokens that it begins with.
        tokens: Tokens to write.
        seed: Its seed, as of `decode`.

    Yields:
        What each pass proposed and wrote.

    Raises:
        UsageError: As `decode` does.
    """
    state = how.init(verifier, [prompt], tokens, seed)
    while not state.ended.all():
        draft = how.propose(verifier, state)
        after = how.advance(verifier, state, draft)
        begin, end = int(state.lengths), int(after.lengths)
        drafted = draft.tokens[0, : int(draft.counts)].tolist()
        yield Pass(drafted, int(after.accepted - state.accepted), after.x[0, begin:end].tolist())
        state = after


def acceptance_by_place(found: Sequence[Pass], places: int) -> list[float]:
    """How often each token of a block is accepted where those before it are.

    Args:
        found: Passes.
        places: Tokens of a block.

    Returns:
        For each place, accepted tokens by those that were proposed and reached; 0 where none was.
    """
    reached = [sum(len(each.drafted) > i and each.accepted >= i for each in found) for i in range(places)]
    accepted = [sum(each.accepted > i for each in found) for i in range(places)]
    return [a / n if n else 0.0 for a, n in zip(accepted, reached, strict=True)]

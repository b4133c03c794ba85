"""Three independent streams of noise for each row: drafting, accepting, redrawing.

Verification is exact if u of accepting is independent of the drafted token, and the quantile of redrawing of both. One
stream for two of them shows at once: with x = F_q^-1(u), x is accepted if u < p(x) / q(x), which favours low tokens.
A stream's seed is derived from the row's seed, the step of the row and the stream's number, so that a row draws the
same numbers whatever shares its batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from unmelt.rng import RowSeeds, fold


class Streams(NamedTuple):
    """The noise of one step.

    Args:
        draft: The drafter's; it may draw several times, with `advance`.
        accept: That of accepting, drawn from once.
        redraw: That of the token after the accepted ones, drawn from once.
    """

    draft: RowSeeds
    accept: RowSeeds
    redraw: RowSeeds

    @classmethod
    def of(cls, rng: RowSeeds) -> Streams:
        """The streams of a step.

        Args:
            rng: The seed of each row, and as its number of draws the number of steps that the row has taken.

        Returns:
            The streams, none of which has been drawn from.
        """
        pairs = list(zip(rng.seeds.tolist(), rng.draws.tolist(), strict=True))

        def stream(number: int) -> RowSeeds:
            seeds = [fold(fold(seed, number), step) for seed, step in pairs]
            return RowSeeds(torch.tensor(seeds, dtype=torch.int64), torch.zeros(len(seeds), dtype=torch.int64))

        return cls(stream(0), stream(1), stream(2))

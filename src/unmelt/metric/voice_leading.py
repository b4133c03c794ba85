"""Rules of voice leading, counted on pitches at the moments of a grid.

    parallel fifths    two voices move, in one direction, from a fifth (7 semitones, and octaves) to a fifth
    parallel octaves   the same from octaves (12 semitones, or 24) to octaves, or from a unison to a unison
    crossings          a voice is below the next lower one, at a moment where either of them begins a note
    ranges             a note outside of what its voice can sing

Moves are those between neighbouring moments at which both voices sound and both change their pitch (Fux, 1725, "Gradus
ad Parnassum"; ranges of Piston, 1941, "Harmony"). Bach breaks all of them now and then: what counts is how often,
beside him.
"""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Int64
from torch import Tensor

RANGES = ((60, 81), (53, 74), (48, 69), (40, 62))
"""Lowest and highest MIDI pitch of soprano, alto, tenor and bass."""

FIFTH, OCTAVE = 7, 0
"""Intervals in semitones, less octaves."""


@final
class RuleBreaks(NamedTuple):
    """How often rules are broken.

    Args:
        fifths: Parallel fifths.
        octaves: Parallel octaves and unisons.
        crossings: Voices that cross.
        ranges: Notes out of range.
        notes: Notes in all.
    """

    fifths: int
    octaves: int
    crossings: int
    ranges: int
    notes: int

    @property
    def total(self) -> int:
        """Breaks of any rule."""
        return self.fifths + self.octaves + self.crossings + self.ranges

    @property
    def per_hundred(self) -> float:
        """Breaks in a hundred notes."""
        return 100 * self.total / max(1, self.notes)


def rule_breaks(pitches: Int64[Tensor, "moments voices"], begins: Int64[Tensor, "moments voices"]) -> RuleBreaks:
    """Count broken rules.

    Args:
        pitches: MIDI pitches that sound, 0 for none; voices from high to low.
        begins: 1 where a note begins, else 0.

    Returns:
        The counts.
    """
    p, new = pitches.numpy(), begins.numpy().astype(bool)
    fifths = octaves = crossings = ranges = 0
    voices = p.shape[1]
    moved = (p[1:] != p[:-1]) & (p[1:] > 0) & (p[:-1] > 0)
    up = p[1:] > p[:-1]
    for high in range(voices):
        for low in range(high + 1, voices):
            together = moved[:, high] & moved[:, low] & (up[:, high] == up[:, low])
            gap = np.abs(p[:, high] - p[:, low])
            same = together & (gap[1:] % 12 == gap[:-1] % 12)
            fifths += int((same & (gap[1:] % 12 == FIFTH)).sum())
            octaves += int((same & (gap[1:] % 12 == OCTAVE) & ((gap[1:] == 0) == (gap[:-1] == 0))).sum())
        if high + 1 < voices:
            both = (p[:, high] > 0) & (p[:, high + 1] > 0) & (new[:, high] | new[:, high + 1])
            crossings += int((both & (p[:, high] < p[:, high + 1])).sum())
        if high < len(RANGES):
            outside = (p[:, high] < RANGES[high][0]) | (p[:, high] > RANGES[high][1])
            ranges += int((new[:, high] & outside).sum())
    return RuleBreaks(fifths, octaves, crossings, ranges, int(new.sum()))

"""Chorales: lists of texts that say what four voices sing (`data.chorale_grid`), shown as piano rolls.

breaks             Broken rules of voice leading in a hundred notes (`metric.rule_breaks`); `breaks_floor` is that of
                   held-out pieces.
ngram_divergence   Jensen-Shannon divergence, in bits, between the frequencies of runs of eight letters (two moments of
                   all voices) in the samples and in held-out pieces; `ngram_divergence_floor` is that of training
                   pieces.

They are written as MIDI (.mid), as sound (.wav), as a picture (.png) or as the letters themselves (.txt).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Int64
from PIL.Image import Image, fromarray
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.data import Source
from unmelt.data.chorale_grid import HELD, VOICES, chorale_grid, note_events, sounding
from unmelt.data.midi import midi_bytes
from unmelt.data.organ import organ
from unmelt.data.wav import wav_bytes
from unmelt.errors import UsageError
from unmelt.metric import RuleBreaks, SampleSet, ngram_divergence, rule_breaks
from unmelt.modality.files import check_suffix, write_picture
from unmelt.modality.modality import Distance
from unmelt.train.atomic_files import write

TEMPO, SAMPLE_RATE = 80.0, 22_050
"""Quarters in a minute, and samples per second of sounds."""

PREVIEW, MOMENTS, MANY = 4, 9, 512
"""Pieces in a preview, columns of a strip, and pieces that are scored at most."""

WIDE, HIGH = 8, 4
"""Pixels of a moment and of a semitone."""

COLOURS = ((214, 64, 69), (233, 162, 59), (60, 140, 120), (58, 92, 168))
"""Of soprano, alto, tenor and bass."""


@final
@checked_init("um.modality.Chorales")
@dataclass(frozen=True)
class Chorales:
    """Texts that say what four voices sing at each moment.

    Args:
        per_quarter: Moments in a quarter.

    Raises:
        UsageError: If there is less than one.
    """

    per_quarter: int = 2

    def __post_init__(self) -> None:
        if self.per_quarter < 1:
            raise UsageError(f"Chorales({self.per_quarter})", "moments in a quarter, 1 or more", "Chorales(2)")

    @property
    def name(self) -> str:
        return "chorales"

    @property
    def suffixes(self) -> tuple[str, ...]:
        return (".mid", ".wav", ".png", ".txt")

    @property
    def hub_task(self) -> str:
        return ""

    def preview_rows(self, classes: int) -> int:
        """Choose 4 pieces."""
        return PREVIEW

    def samples_to_score(self, real: int) -> int:
        """Choose as many pieces as there are training pieces, and at most 512."""
        return min(real, MANY)

    def voices(self, text: str) -> list[list[tuple[float, float, int]]]:
        """The notes of each voice.

        Args:
            text: A piece.

        Returns:
            For each voice, (begin, length) in quarters and MIDI pitch of its notes.
        """
        found: list[list[tuple[float, float, int]]] = [[] for _ in range(VOICES)]
        for voice, begin, length, pitch in note_events(chorale_grid(text)):
            found[voice].append((begin / self.per_quarter, length / self.per_quarter, pitch))
        return found

    def breaks(self, texts: Sequence[str]) -> RuleBreaks:
        """Broken rules of voice leading.

        Args:
            texts: Pieces.

        Returns:
            The counts in all pieces together.
        """
        counts = []
        for text in texts:
            grid = chorale_grid(text)
            counts.append(rule_breaks(sounding(grid), (grid < HELD).long()))
        return RuleBreaks(*(sum(each) for each in zip(*counts, strict=True)))

    def draw(
        self,
        x: Sequence[str],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> Image:
        """Draw a piano roll of each piece, one below the other: time to the right, a colour for each voice."""
        return fromarray(np.concatenate([_roll(chorale_grid(text)) for text in x]))

    def strip(
        self,
        frames: Sequence[Sequence[str]],
        times: Sequence[float],
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
    ) -> Image:
        """Draw the first piece at up to 9 times, one below the other; what is masked is empty."""
        few = min(MOMENTS, len(frames))
        some = sorted({round(k * (len(frames) - 1) / max(few - 1, 1)) for k in range(few)})
        known = [frames[k][0].translate({ord("░"): "-"}) for k in some]
        return self.draw(known)

    def write(
        self,
        x: Sequence[str],
        path: Path,
        labels: Int64[Tensor, " rows"] | None = None,
        classes: Sequence[str] = (),
        real_data: Source | None = None,
    ) -> list[Path]:
        """Write MIDI files (.mid), sounds (.wav), one picture of all (.png), or the letters (.txt, a line for each).

        One piece becomes `path` itself; several become NAME-0.mid, NAME-1.mid, ... beside it.
        """
        check_suffix(path, self.suffixes)
        suffix = path.suffix.lower()
        if suffix == ".png":
            return write_picture(path, self.draw(x, labels, classes))
        if suffix == ".txt":
            write(path, ("\n".join(x) + "\n").encode())
            return [path]
        width = len(str(len(x) - 1))
        paths = [path] if len(x) == 1 else [path.with_stem(f"{path.stem}-{k:0{width}}") for k in range(len(x))]
        for one, text in zip(paths, x, strict=True):
            voices = self.voices(text)
            midi = suffix == ".mid"
            write(one, midi_bytes(voices, TEMPO) if midi else wav_bytes(organ(voices, TEMPO, SAMPLE_RATE), SAMPLE_RATE))
        return paths

    def score(self, made: SampleSet, real: SampleSet, held_out: SampleSet) -> dict[str, Any]:
        """Score by broken rules, and by n-gram divergence."""
        return {
            "breaks": self.breaks(made.x).per_hundred,
            "breaks_floor": self.breaks(held_out.x).per_hundred,
            "ngram_divergence": ngram_divergence(made.x, held_out.x, 2 * VOICES),
            "ngram_divergence_floor": ngram_divergence(real.x, held_out.x, 2 * VOICES),
        }

    def distance(self, real: Sequence[str], held_out: Sequence[str]) -> Distance:
        """Choose broken rules in a hundred notes."""
        return Distance(
            "broken rules in 100 notes", lambda x: self.breaks(x).per_hundred, self.breaks(real).per_hundred
        )


def _roll(grid: Int64[Tensor, "moments 4"]) -> np.ndarray:
    """A piano roll, [height, width, 3]: from the lowest to the highest pitch, notes with a gap before the next."""
    pitches = sounding(grid)
    heard = pitches[pitches > 0]
    low, high = (int(heard.min()) - 1, int(heard.max()) + 1) if len(heard) else (59, 61)
    roll = np.full(((high - low + 1) * HIGH + 2, max(1, len(grid)) * WIDE, 3), 255, np.uint8)
    for pitch in range(low, high + 1):
        if pitch % 12 in (1, 3, 6, 8, 10):
            top = (high - pitch) * HIGH
            roll[top : top + HIGH] = 240
    for voice, begin, length, pitch in reversed(note_events(grid)):
        top = (high - pitch) * HIGH
        roll[top : top + HIGH, begin * WIDE : (begin + length) * WIDE - 1] = COLOURS[voice]
    roll[-2:] = 200
    return roll

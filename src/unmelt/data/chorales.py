"""Bach's four-voice chorales, from the corpus of the music21 package, and windows of them as training rows.

Scores are read once, into a JSON file of the cache. The split is by piece: two pieces with the same melody in any
key are on the same side, since the corpus has many chorales twice. Training windows begin at bars and are transposed by
up to a fourth either way, as far as every voice stays in the range that it has in all pieces.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.cache_folder import cache_folder
from unmelt.condition import Condition
from unmelt.data.chorale_grid import HELD, LOWEST, PITCHES, REST, VOICES, excerpt, sounding, transposed
from unmelt.data.split import digest
from unmelt.errors import UsageError
from unmelt.progress import Progress
from unmelt.rng import fold

SHIFT = 5
"""Semitones of the largest transposition."""

SHORTEST = 16.0
"""Quarters of the shortest piece."""


class Chorale(NamedTuple):
    """A piece.

    Args:
        name: Its name in the corpus.
        voices: The notes of soprano, alto, tenor and bass: (begin, length) in quarters, MIDI pitch.
        bars: Where bars begin, in quarters.
    """

    name: str
    voices: tuple[tuple[tuple[float, float, int], ...], ...]
    bars: tuple[float, ...]

    @property
    def quarters(self) -> float:
        """How long it lasts."""
        return max(begin + length for voice in self.voices for begin, length, _ in voice)

    @property
    def melody(self) -> tuple[int, ...]:
        """The intervals of the soprano, in semitones: the same in any key."""
        pitches = [pitch for _, _, pitch in self.voices[0]]
        return tuple(b - a for a, b in pairwise(pitches))

    def grid(self, per_quarter: int = 2) -> Int64[Tensor, "moments 4"]:
        """The piece on a grid; notes that sound at no moment of it are lost.

        Args:
            per_quarter: Moments in a quarter: 2 for eighths, 4 for sixteenths.

        Returns:
            Tokens of every moment and voice.
        """
        grid = torch.full((round(self.quarters * per_quarter), VOICES), REST)
        for voice, notes in enumerate(self.voices):
            for begin, length, pitch in notes:
                first, end = (int(np.ceil(each * per_quarter - 1e-6)) for each in (begin, begin + length))
                if first < end:
                    grid[first:end, voice] = HELD
                    grid[first, voice] = pitch - LOWEST
        return grid


def chorales() -> list[Chorale]:
    """All chorales for four voices of music21's corpus.

    Returns:
        The pieces, in the order of their names. The first call reads the scores, which takes minutes; they are kept.

    Raises:
        UsageError: If music21 is not installed, or the cache cannot be written to.
    """
    corpus = _corpus()
    kept = cache_folder() / f"chorales-{_version()}.json"
    try:
        if known := [_piece(each) for each in json.loads(kept.read_text(encoding="utf-8"))]:
            return known
    except (OSError, ValueError, TypeError, KeyError):
        pass
    paths = sorted(corpus.getComposer("bach"))
    shown, found = Progress("reading chorales", len(paths)), []
    for path in paths:
        piece = read_chorale(path)
        found += [] if piece is None else [piece]
        shown.advance()
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_suffix(".new")
        new.write_text(json.dumps([each._asdict() for each in found]), encoding="utf-8")
        new.replace(kept)
    except OSError as error:
        raise UsageError(
            f"the cache {kept.parent} cannot be written ({error.strerror})",
            "a folder that can be",
            "UNMELT_CACHE=another/folder unmelt ...",
        ) from None
    return found


def read_chorale(path: Path) -> Chorale | None:
    """Read a score of the corpus.

    Args:
        path: The file.

    Returns:
        The piece; None if it has not four voices, is too short, has notes that no chorale has, or cannot be read.

    Raises:
        UsageError: If music21 is not installed.
    """
    corpus = _corpus()
    try:
        score = corpus.parse(path)
    except Exception:  # of a file that music21 itself cannot read
        return None
    if len(score.parts) != VOICES:
        return None
    bars = tuple(float(bar.offset) for bar in score.parts[0].getElementsByClass("Measure"))
    voices = []
    for part in score.parts:
        notes = [each for each in part.stripTies().flatten().notes if each.quarterLength > 0]
        voices.append(tuple((float(n.offset), float(n.quarterLength), max(p.midi for p in n.pitches)) for n in notes))
    pitches = [pitch for voice in voices for _, _, pitch in voice]
    if not all(voices) or min(pitches) < LOWEST or max(pitches) >= LOWEST + PITCHES:
        return None
    piece = Chorale(path.name.rsplit(".", 1)[0], tuple(voices), bars)
    return piece if piece.quarters >= SHORTEST else None


def split_chorales(pieces: Sequence[Chorale], held_out: float = 0.1) -> tuple[list[Chorale], list[Chorale]]:
    """Divide pieces; those with the same melody, in any key, are on one side.

    Args:
        pieces: The pieces.
        held_out: Share of the melodies that is held out.

    Returns:
        Pieces to train on, each melody as often as it is there; and pieces held out, one of each melody.
    """
    train, aside, seen = [], [], set()
    for piece in pieces:
        key = digest(json.dumps(piece.melody[:16]).encode())
        if int(key[:12], 16) / 16**12 >= held_out:
            train.append(piece)
        elif key not in seen:
            seen.add(key)
            aside.append(piece)
    return train, aside


def chorale_windows(
    pieces: Sequence[Chorale], per_quarter: int = 2, quarters: int = 16
) -> Int64[Tensor, "windows moments 4"]:
    """Windows that cover pieces in their own keys: from the first bar on, and one that ends with the piece.

    Args:
        pieces: The pieces.
        per_quarter: Moments in a quarter.
        quarters: Quarters of a window.

    Returns:
        The windows.

    Raises:
        UsageError: If no piece is so long.
    """
    moments, found = per_quarter * quarters, []
    for piece in pieces:
        grid = piece.grid(per_quarter)
        last = len(grid) - moments
        if last >= 0:
            starts = [*range(0, last, moments), last]
            found += [excerpt(grid, begin, moments) for begin in starts]
    if not found:
        raise UsageError(f"{len(pieces)} pieces, none of {quarters} quarters", "longer pieces", "quarters=16")
    return torch.stack(found)


@final
class ChoraleWindows:
    """An endless source of windows that begin at bars, in random keys.

    Args:
        pieces: The pieces.
        per_quarter: Moments in a quarter.
        quarters: Quarters of a window.
        seed: Seed of pieces, bars and keys.

    Raises:
        UsageError: If no piece is so long.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, pieces: Sequence[Chorale], per_quarter: int = 2, quarters: int = 16, seed: int = 0) -> None:
        self.moments, self.seed = per_quarter * quarters, seed
        self._places: list[tuple[Tensor, int, range]] = []
        long = [(piece, grid) for piece in pieces if len(grid := piece.grid(per_quarter)) >= self.moments]
        if not long:
            raise UsageError(f"{len(pieces)} pieces, none of {quarters} quarters", "longer pieces", "quarters=16")
        heard = [sounding(grid) for _, grid in long]
        low = torch.stack([torch.where(each > 0, each, 999).amin(0) for each in heard])
        high = torch.stack([each.amax(0) for each in heard])
        for number, (piece, grid) in enumerate(long):
            down = int((low.amin(0) - low[number]).max())
            up = int((high.amax(0) - high[number]).min())
            keys = range(max(-SHIFT, down), min(SHIFT, up) + 1)
            last = len(grid) - self.moments
            starts = {round(bar * per_quarter) for bar in piece.bars} | {0, last}
            self._places += [(grid, begin, keys) for begin in sorted(starts) if 0 <= begin <= last]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.moments * VOICES,)

    def batch(self, step: int, rows: int) -> tuple[Int64[Tensor, "rows tokens"], Condition | None]:
        generator = np.random.default_rng(fold(self.seed, step))
        found = []
        for place in generator.integers(len(self._places), size=rows).tolist():
            grid, begin, keys = self._places[place]
            key = keys[int(generator.integers(len(keys)))]
            found.append(transposed(excerpt(grid, begin, self.moments), key).flatten())
        return torch.stack(found), None


def _piece(said: dict[str, Any]) -> Chorale:
    voices = tuple(tuple((float(a), float(b), int(c)) for a, b, c in voice) for voice in said["voices"])
    return Chorale(str(said["name"]), voices, tuple(float(each) for each in said["bars"]))


def _corpus() -> Any:
    """The corpus of music21."""
    try:
        from music21 import corpus
    except ImportError:
        raise UsageError(
            "music21 is not installed", "it, whose corpus has the chorales", "pip install 'unmelt[music]'"
        ) from None
    return corpus


def _version() -> str:
    from importlib.metadata import version

    return version("music21")

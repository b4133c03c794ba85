"""Four voices on a grid of time: one token for each voice and moment, and the same as text.

    token   0 to 51     a note begins, of MIDI pitch 33 + token (A1 to C6)     letters A to Z, a to z
            52          the note goes on                                       .
            53          the voice rests                                        -

A grid is [moments, 4], soprano, alto, tenor, bass. As a row of tokens or as text it is read moment by moment, from
soprano to bass (after Hadjeres, Pachet and Nielsen, 2017, "DeepBach").
"""

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.errors import UsageError

VOICES = 4
"""Soprano, alto, tenor, bass."""

LOWEST, PITCHES = 33, 52
"""MIDI pitch of token 0, and how many pitches there are."""

HELD, REST, UNKNOWN = PITCHES, PITCHES + 1, -1
"""Tokens of a note that goes on and of a rest, and what stands for a token that is not known."""

LETTERS = "".join(chr(65 + k) for k in range(26)) + "".join(chr(97 + k) for k in range(26)) + ".-"
"""A letter for each token."""


def chorale_text(grid: Int64[Tensor, "moments 4"]) -> str:
    """Write a grid as text.

    Args:
        grid: Its tokens, all known.

    Returns:
        A letter for each token, moment by moment.
    """
    return "".join(LETTERS[token] for token in grid.flatten().tolist())


def chorale_grid(text: str) -> Int64[Tensor, "moments 4"]:
    """Read a grid from text.

    Args:
        text: A letter for each token, moment by moment; letters of a last moment that is not whole are left out.

    Returns:
        The tokens.

    Raises:
        UsageError: If a character is no token.
    """
    if lost := sorted(set(text) - set(LETTERS)):
        raise UsageError(f"notes with {lost[0]!r}", f"letters of {LETTERS!r}", "model.sample(1)[0]")
    tokens = [LETTERS.index(each) for each in text[: len(text) // VOICES * VOICES]]
    return torch.tensor(tokens, dtype=torch.int64).view(-1, VOICES)


def sounding(grid: Int64[Tensor, "moments 4"]) -> Int64[Tensor, "moments 4"]:
    """The pitch that each voice sounds at each moment.

    Args:
        grid: Tokens.

    Returns:
        MIDI pitches; 0 where a voice rests, is unknown, or goes on with nothing.
    """
    pitches = np.zeros(grid.shape, np.int64)
    before = np.zeros(grid.shape[1:], np.int64)
    for moment, tokens in enumerate(grid.numpy()):
        begins = (tokens >= 0) & (tokens < PITCHES)
        before = np.where(begins, tokens + LOWEST, np.where(tokens == HELD, before, 0))
        pitches[moment] = before
    return torch.from_numpy(pitches)


def excerpt(grid: Int64[Tensor, "whole 4"], begin: int, moments: int) -> Int64[Tensor, "moments 4"]:
    """Some moments of a grid; notes that go on from before them begin there.

    Args:
        grid: The whole.
        begin: First moment.
        moments: How many.

    Returns:
        The tokens of the excerpt.
    """
    part = grid[begin : begin + moments].clone()
    if begin and len(part):
        pitch = sounding(grid[: begin + 1])[begin]
        is_held = (part[0] == HELD) & (pitch > 0)
        part[0] = torch.where(is_held, pitch - LOWEST, part[0])
    return part


def transposed(grid: Int64[Tensor, "*shape"], semitones: int) -> Int64[Tensor, "*shape"]:
    """A grid in another key.

    Args:
        grid: Tokens.
        semitones: How much higher.

    Returns:
        The tokens.

    Raises:
        UsageError: If a note leaves the pitches that there are.
    """
    is_note = (grid >= 0) & (grid < PITCHES)
    moved = torch.where(is_note, grid + semitones, grid)
    if is_note.any() and not (int(moved[is_note].min()) >= 0 and int(moved[is_note].max()) < PITCHES):
        raise UsageError(f"a transposition by {semitones}", "notes from A1 to C6", "semitones=0")
    return moved


def note_events(grid: Int64[Tensor, "moments 4"]) -> list[tuple[int, int, int, int]]:
    """The notes of a grid.

    Args:
        grid: Tokens.

    Returns:
        (voice, first moment, moments, MIDI pitch) of each note, in the order of voices and of time.
    """
    pitches, found = sounding(grid).tolist(), []
    for voice in range(grid.shape[1]):
        for moment, row in enumerate(grid.tolist()):
            if 0 <= row[voice] < PITCHES:
                end = moment + 1
                while end < len(grid) and grid[end, voice] == HELD:
                    end += 1
                found.append((voice, moment, end - moment, pitches[moment][voice]))
    return found

"""A small synthesiser: every note is a sum of harmonics, as of an organ pipe.

    y(t) = sum over notes, a(t) sum_{h <= H} h^-1.5 sin(2 pi h f (t - begin)),      f = 440 2^((pitch - 69) / 12)

a(t) rises and falls as a raised cosine, so that nothing clicks; harmonics above half the sample rate are left out.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

HARMONICS, ATTACK, RELEASE, LOUDEST = 8, 0.02, 0.08, 0.8
"""H; seconds of rise and fall; the largest sample."""


def organ(
    voices: Sequence[Sequence[tuple[float, float, int]]], tempo: float = 80.0, sample_rate: int = 22_050
) -> Float[Tensor, "1 samples"]:
    """Play voices.

    Args:
        voices: The notes of each voice: (begin, length) in quarters, MIDI pitch.
        tempo: Quarters in a minute.
        sample_rate: Samples per second.

    Returns:
        The sound, in [-1, 1]; silence of a tenth of a second if there is no note.
    """
    notes = [note for voice in voices for note in voice]
    end = max((begin + length for begin, length, _ in notes), default=0.0) * 60 / tempo + RELEASE
    x = np.zeros(round(max(0.1, end) * sample_rate))
    for begin, length, pitch in notes:
        hertz, seconds = 440 * 2 ** ((pitch - 69) / 12), length * 60 / tempo
        t = np.arange(int((seconds + RELEASE) * sample_rate)) / sample_rate
        rise, fall = np.clip(t / ATTACK, 0, 1), np.clip((t - seconds) / RELEASE, 0, 1)
        envelope = (1 - np.cos(np.pi * rise)) / 2 * (1 + np.cos(np.pi * fall)) / 2
        audible = [h for h in range(1, HARMONICS + 1) if h * hertz < sample_rate / 2]
        wave = sum(h**-1.5 * np.sin(2 * np.pi * h * hertz * t) for h in audible) * envelope
        first = round(begin * 60 / tempo * sample_rate)
        part = x[first : first + len(t)]
        part += wave[: len(part)]
    most = np.abs(x).max()
    return torch.from_numpy(x * (LOUDEST / most if most > 0 else 1.0)).float()[None]

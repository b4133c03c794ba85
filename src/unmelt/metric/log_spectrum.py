"""What sounds are compared by: power over frequency and time, in decibels.

    S[k, m] = |sum_n w[n] x[m H + n] exp(-2 pi i k n / N)|^2 / (sum_n w[n] / 2)^2,      w a Hann window, H = N / 2

so that a sine of amplitude 1 at the frequency of bin k has S = 1, which is 0 dB. Silence is put at -100 dB. Frames of
about 32 ms resolve about 31 Hz, as is usual for speech (Allen and Rabiner, 1977).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from unmelt.errors import UsageError

SILENCE = -100.0
"""Decibels of what is below 1e-10 of a full sine's power."""

_SECONDS = 0.032


def window_length(sample_rate: int) -> int:
    """Choose the length of a frame: the power of two that is nearest to 32 ms.

    Args:
        sample_rate: Samples per second.

    Returns:
        Samples in a frame, at least 16.
    """
    return max(16, 2 ** round(math.log2(_SECONDS * sample_rate)))


def spectrogram(x: Float[Tensor, "*rows samples"], sample_rate: int) -> Float64[Tensor, "*rows bins frames"]:
    """Compute the power S of sounds over frequency and time.

    Args:
        x: Sounds in [-1, 1]. Zeros are put after them up to a whole number of hops.
        sample_rate: Samples per second.

    Returns:
        The power [..., bins, frames]; bin k lies at k * sample_rate / window_length(sample_rate) Hz. A sine of
        amplitude 1 has power 1.
    """
    size = window_length(sample_rate)
    hop, samples = size // 2, x.shape[-1]
    padded = F.pad(x.double(), (0, max(size, math.ceil(samples / hop) * hop) - samples))
    window = torch.hann_window(size, dtype=torch.float64, device=x.device)
    frames = torch.fft.rfft(padded.unfold(-1, size, hop) * window)
    return (frames.abs() / (window.sum() / 2)).square().mT


def decibels(power: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Express power in decibels.

    Args:
        power: Power, where 1 is a sine of amplitude 1.

    Returns:
        10 log10(power), and -100 below a power of 1e-10.
    """
    return 10 * power.clamp_min(10 ** (SILENCE / 10)).log10()


@final
@dataclass(frozen=True)
class LogSpectrum:
    """Features of sounds: each band's level in dB, as its mean and its standard deviation over time.

    Bands are spaced geometrically from the lowest bin above 0 Hz to half the sample rate. The means say which
    frequencies a sound has, the deviations how much they change. A gain g moves every mean by 20 log10 g and no
    deviation, so that it moves the squared distance of features by bands * channels * (20 log10 g)^2.

    Args:
        sample_rate: Samples per second.
        bands: Frequency bands; fewer where a frame has fewer bins.

    Raises:
        UsageError: If either number is below 1.
    """

    sample_rate: int
    bands: int = 32

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.bands) < 1:
            raise UsageError(
                f"LogSpectrum was given sample_rate={self.sample_rate}, bands={self.bands}",
                "both of at least 1",
                "LogSpectrum(sample_rate=16_000)",
            )

    @property
    def name(self) -> str:
        """The name that scores are reported under."""
        return f"log_spectrum{self.bands}"

    @property
    def edges(self) -> list[int]:
        """The first bin of every band, and one past the last bin of the last band."""
        last = window_length(self.sample_rate) // 2 + 1
        spaced = torch.logspace(0, math.log10(last), self.bands + 1, dtype=torch.float64)
        return spaced.round().long().unique().tolist()

    def __call__(self, sounds: Float[Tensor, "n channels samples"]) -> Float64[Tensor, "n features"]:
        """Compute the features.

        Args:
            sounds: Sounds in [-1, 1], [n, channels, samples].

        Returns:
            Features [n, 2 * channels * bands]: means, then standard deviations, in dB.
        """
        power = spectrogram(sounds, self.sample_rate)
        bands = torch.stack([power[..., low:high, :].sum(-2) for low, high in pairwise(self.edges)], -2)
        level = decibels(bands)
        return torch.cat([level.mean(-1).flatten(1), level.std(-1, correction=0).flatten(1)], 1)

"""Sound as frames of a mel spectrogram, and back by Griffin-Lim.

    z[m, b] = (log max(sum_k F[b, k] |X[m, k]|, e) - mean[b]) / sd[b],      e = 1e-5

with X the short-time Fourier transform (`stft.py`) and F triangles that are evenly spaced and overlap by half on the
mel scale, mel(f) = 2595 log10(1 + f / 700), each with peak 1 (Davis and Mermelstein, 1980). Bands are loud and quiet by
their own means; `measured` finds mean and sd, so that a diffusion model sees numbers of about unit size.

Phases are lost, and magnitudes within a band are mixed. `decode` looks for a sound with these frames: magnitudes by the
pseudo-inverse of F, which negative numbers are cut from, then phases by projecting in turn onto spectra with these
magnitudes and onto spectra of sounds, with momentum (Griffin and Lim, 1984; Perraudin et al., 2013, algorithm 2):

    t_n = stft(istft(|X| c_(n-1) / |c_(n-1)|)),      c_n = t_n + momentum (t_n - t_(n-1))
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.codec.stft import check_frames, istft, stft
from unmelt.errors import UsageError
from unmelt.rng import Random

QUIETEST = 1e-5
"""e above, the magnitude at which the logarithm is cut."""

LEAST_SD = 0.1
"""Smallest deviation that `measured` divides by, of bands that hold nothing."""


@final
@checked_init("um.codec.Mel")
@dataclass(frozen=True, kw_only=True)
class Mel:
    """Mel spectrogram: sounds [rows, 1, samples] to frames [rows, 1 + samples // hop, bands], and back.

    Args:
        sample_rate: Samples per second.
        n_fft: Samples of a frame; even.
        hop: Samples between frames, at most half a frame.
        bands: Bands of the mel scale.
        low: Lowest frequency, in Hz.
        high: Highest frequency, in Hz; None for half the sample rate.
        mean: What is subtracted from the logarithms: one number, or one for each band.
        sd: What they are divided by, likewise.
        iterations: Of Griffin-Lim.
        momentum: Of Griffin-Lim, at least 0 and below 1.

    Raises:
        UsageError: If numbers are out of range, there are too many bands for the frames, or means and deviations are
            not one number or one for each band.
    """

    sample_rate: int = 16_000
    n_fft: int = 1024
    hop: int = 256
    bands: int = 80
    low: float = 0.0
    high: float | None = None
    mean: tuple[float, ...] = (-6.0,)
    sd: tuple[float, ...] = (2.0,)
    iterations: int = 32
    momentum: float = 0.99

    def __post_init__(self) -> None:
        check_frames("Mel", self.n_fft, self.hop)
        if self.bands < 1 or self.iterations < 0 or not 0 <= self.momentum < 1:
            raise UsageError(
                f"Mel was given bands={self.bands}, iterations={self.iterations}, momentum={self.momentum}",
                "a band, no negative number of iterations, and a momentum below 1",
                "Mel(bands=80, iterations=32, momentum=0.99)",
            )
        if not 0 <= self.low < self.highest <= self.sample_rate / 2:
            raise UsageError(
                f"Mel was given low={self.low}, high={self.high} at {self.sample_rate} samples per second",
                "frequencies in order, up to half the sample rate",
                f"Mel(low=0.0, high={self.sample_rate / 2})",
            )
        sizes = {len(self.mean), len(self.sd)}
        if not sizes <= {1, self.bands} or not all(map(math.isfinite, self.mean)) or not min(self.sd) > 0:
            raise UsageError(
                f"Mel was given {len(self.mean)} means and {len(self.sd)} deviations for {self.bands} bands",
                "one finite number for all or one for each band, deviations above 0",
                "Mel.measured(sounds, Mel())",
            )
        if (empty := (self.filters.sum(1) == 0).nonzero()).numel():
            raise UsageError(
                f"Mel was given bands={self.bands} for frames of {self.n_fft} samples, which leaves band "
                f"{int(empty[0])} without a frequency",
                "fewer bands, or longer frames",
                f"Mel(bands={max(1, self.bands // 2)})",
            )

    @property
    def highest(self) -> float:
        """The highest frequency, in Hz."""
        return self.sample_rate / 2 if self.high is None else self.high

    @property
    def filters(self) -> Float[Tensor, "bands bins"]:
        """F above."""
        return _filters(self.sample_rate, self.n_fft, self.bands, self.low, self.highest)

    @classmethod
    def measured(cls, sounds: Iterable[Float[Tensor, " _"]], like: Mel) -> Mel:
        """The codec with the mean and the deviation of each band of some sounds.

        Args:
            sounds: Sounds, at least one.
            like: All other settings.

        Returns:
            The codec.
        """
        plain = replace(like, mean=(0.0,), sd=(1.0,))
        count, total, square = 0, torch.zeros(like.bands).double(), torch.zeros(like.bands).double()
        for sound in sounds:
            z = plain.encode(sound[None, None])[0].double()
            count, total, square = count + len(z), total + z.sum(0), square + z.square().sum(0)
        mean = total / count
        sd = (square / count - mean.square()).clamp_min(0).sqrt().clamp_min(LEAST_SD)
        return replace(like, mean=tuple(_rounded(mean)), sd=tuple(_rounded(sd)))

    def frames(self, samples: int) -> int:
        """How many frames a sound has.

        Args:
            samples: Its samples.

        Returns:
            The number.
        """
        return 1 + samples // self.hop

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        if len(shape) != 2 or shape[0] != 1:
            raise UsageError(f"sounds of shape {tuple(shape)}", "one channel: (1, samples)", "x.mean(1, keepdim=True)")
        return (self.frames(shape[1]), self.bands)

    def magnitudes(self, x: Float[Tensor, "*rows samples"]) -> Float[Tensor, "*rows frames bands"]:
        """F |X|, the magnitudes of bands before the logarithm.

        Args:
            x: [*rows, samples].

        Returns:
            [*rows, frames, bands].
        """
        return stft(x, self.n_fft, self.hop).abs() @ self.filters.to(x).T

    def encode(
        self, x: Float[Tensor, "rows channels samples"], rng: Random | None = None
    ) -> Float[Tensor, "rows frames bands"]:
        self.latent_shape(x.shape[1:])
        return self.normalized(self.magnitudes(x[:, 0]))

    def normalized(self, magnitudes: Float[Tensor, "*rows frames bands"]) -> Float[Tensor, "*rows frames bands"]:
        """z of magnitudes.

        Args:
            magnitudes: [*rows, frames, bands], as `magnitudes` returns them.

        Returns:
            Their logarithms, less the mean, divided by the deviation.
        """
        mean, sd = (torch.tensor(each).to(magnitudes) for each in (self.mean, self.sd))
        return (magnitudes.clamp_min(QUIETEST).log() - mean) / sd

    def denormalized(self, z: Float[Tensor, "*rows frames bands"]) -> Float[Tensor, "*rows frames bands"]:
        """The magnitudes of z.

        Args:
            z: [*rows, frames, bands].

        Returns:
            Magnitudes of bands, at most those of the loudest sound in [-1, 1].
        """
        mean, sd = (torch.tensor(each).to(z) for each in (self.mean, self.sd))
        most = math.log(self.n_fft)
        return (z * sd + mean).clamp_max(most).exp()

    def spectrum(self, z: Float[Tensor, "*rows frames bands"]) -> Float[Tensor, "*rows frames bins"]:
        """Magnitudes |X| by the pseudo-inverse of F, which negative ones are cut from.

        Args:
            z: [*rows, frames, bands].

        Returns:
            [*rows, frames, bins].
        """
        inverse = _inverse(self.sample_rate, self.n_fft, self.bands, self.low, self.highest)
        return (self.denormalized(z) @ inverse.to(z).T).clamp_min(0)

    def decode(self, z: Float[Tensor, "rows frames bands"]) -> Float[Tensor, "rows 1 samples"]:
        magnitude = self.spectrum(z)
        phase = self.phases(magnitude, self.iterations)
        return istft(magnitude * phase, self.n_fft, self.hop)[:, None].clamp(-1, 1)

    def phases(
        self, magnitude: Float[Tensor, "rows frames bins"], iterations: int
    ) -> Complex[Tensor, "rows frames bins"]:
        """Phases for magnitudes by Griffin-Lim, from those of sines at the frequencies of the bins.

        Args:
            magnitude: [rows, frames, bins].
            iterations: How often the phases are improved.

        Returns:
            Complex numbers of size 1.
        """
        frame, bin_ = (torch.arange(n, device=magnitude.device).to(magnitude) for n in magnitude.shape[1:])
        angle = (2 * math.pi / self.n_fft * self.hop) * frame[:, None] * bin_
        phase = torch.polar(torch.ones_like(angle), angle).expand_as(magnitude)
        before = torch.zeros_like(phase)
        for _ in range(iterations):
            consistent = stft(istft(magnitude * phase, self.n_fft, self.hop), self.n_fft, self.hop)
            ahead = consistent + self.momentum * (consistent - before)
            phase, before = ahead / ahead.abs().clamp_min(1e-12), consistent
        return phase


def _rounded(values: Tensor) -> list[float]:
    """Numbers that a configuration shows in a few digits."""
    return [round(each, 4) for each in values.tolist()]


@lru_cache(maxsize=8)
def _filters(sample_rate: int, n_fft: int, bands: int, low: float, high: float) -> Float[Tensor, "bands bins"]:
    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    points = 700 * (10 ** (torch.linspace(mel(low), mel(high), bands + 2, dtype=torch.float64) / 2595) - 1)
    frequency = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    below, centre, above = (each[:, None] for each in (points[:-2], points[1:-1], points[2:]))
    rising, falling = (frequency - below) / (centre - below), (above - frequency) / (above - centre)
    return torch.minimum(rising, falling).clamp_min(0).float()


@lru_cache(maxsize=8)
def _inverse(sample_rate: int, n_fft: int, bands: int, low: float, high: float) -> Float[Tensor, "bins bands"]:
    return torch.linalg.pinv(_filters(sample_rate, n_fft, bands, low, high).double()).float()

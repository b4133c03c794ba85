"""A learned vocoder: mel frames to sound by one inverse Fourier transform (Vocos: Siuzdak, 2024).

    m = first(z, |X0|),      phase0 = griffin_lim(|X0| exp(m)),      (n, p) = second(z, |X0| exp(m), phase0)
    x = istft(|X0| exp(m + n) * phase0 * exp(i p))

Vocos has a network give every magnitude and phase of a spectrum, and leaves the way from frames to samples to the
inverse transform. Here networks correct a spectrum that is there already: |X0| by the pseudo-inverse of the mel bands,
and phases by a few iterations of Griffin-Lim, since a convolution cannot count by how much the phase of a steady tone
has advanced. The first network parts the tones that lie in one band. The second also sees how the spectrum of the sound
that these magnitudes and phases make differs from them. Before they have learned anything, the vocoder is Griffin-Lim.
Blocks are those of ConvNeXt, along time (Liu et al., 2022).
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.codec.mel import Mel
from unmelt.codec.stft import istft, stft
from unmelt.errors import UsageError
from unmelt.rng import Random

FLOOR = 1e-4
"""Magnitude that is added before logarithms are taken."""

MOST = 3.0
"""Largest change of the logarithm of a magnitude."""


class TimeBlock(nn.Module):
    """A ConvNeXt block: each feature convolved along time, then a perceptron at each time.

    Args:
        width: Features.
        hidden: Features of the perceptron's hidden layer.
        kernel: Times that a convolution reaches over; odd.
    """

    def __init__(self, width: int, hidden: int, kernel: int = 7) -> None:
        super().__init__()
        self.along = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, h: Float[Tensor, "rows frames width"]) -> Float[Tensor, "rows frames width"]:
        """The features after the block.

        Args:
            h: [rows, frames, width].

        Returns:
            [rows, frames, width].
        """
        return h + self.scale * self.mlp(self.along(h.mT).mT)


@final
@checked_init("um.codec.Vocoder")
class Vocoder(CallRepr, nn.Module):
    """Codec of sounds: encodes to mel frames as `Mel`, and decodes by a network.

    Args:
        mel: The frames.
        width: Features of the networks.
        depth: Blocks of both networks together, half of them in each.
        start_iterations: Iterations of Griffin-Lim between them.

    Raises:
        UsageError: If a size is below 1, or iterations are negative.
    """

    def __init__(self, mel: Mel, *, width: int = 192, depth: int = 6, start_iterations: int = 4) -> None:
        super().__init__()
        if min(width, depth) < 1 or start_iterations < 0:
            raise UsageError(
                f"Vocoder was given width={width}, depth={depth}, start_iterations={start_iterations}",
                "sizes of at least 1, and no negative number",
                "Vocoder(mel, width=192, depth=6, start_iterations=4)",
            )
        self.mel, self.width, self.depth, self.start_iterations = mel, width, depth, start_iterations
        bins = mel.n_fft // 2 + 1
        self.first = _Head(mel.bands + bins, bins, width, depth - depth // 2)
        self.second = _Head(mel.bands + 4 * bins, 2 * bins, width, depth // 2)

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.mel.sample_rate

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        return self.mel.latent_shape(shape)

    def encode(
        self, x: Float[Tensor, "rows channels samples"], rng: Random | None = None
    ) -> Float[Tensor, "rows frames bands"]:
        return self.mel.encode(x)

    def decode(self, z: Float[Tensor, "rows frames bands"]) -> Float[Tensor, "rows 1 samples"]:
        return self.reconstruct(z.to(next(self.parameters()).dtype)).float().clamp(-1, 1)

    def reconstruct(self, z: Float[Tensor, "rows frames bands"]) -> Float[Tensor, "rows 1 samples"]:
        """The sound of frames, not clamped.

        Args:
            z: [rows, frames, bands], normalised.

        Returns:
            [rows, 1, (frames - 1) * hop].
        """
        n_fft, hop = self.mel.n_fft, self.mel.hop
        start = self.mel.spectrum(z)
        change = self.first(torch.cat([z, _log(start)], -1))
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):  # of which nothing is learned
            magnitude = start * _factor(change)
            phase = self.mel.phases(magnitude, self.start_iterations)
            heard = stft(istft(magnitude * phase, n_fft, hop), n_fft, hop)
            turned = heard * phase.conj() / heard.abs().clamp_min(FLOOR)
            features = torch.cat([z, _log(magnitude), _log(heard.abs()), turned.real, turned.imag], -1)
        further, turn = self.second(features).chunk(2, -1)
        return istft(start * phase * torch.polar(_factor(change + further), turn), n_fft, hop)[:, None]


class _Head(nn.Module):
    """A network of blocks whose output begins at 0, in float32."""

    def __init__(self, features: int, out: int, width: int, depth: int) -> None:
        super().__init__()
        self.into = nn.Sequential(nn.Linear(features, width), nn.LayerNorm(width))
        self.blocks = nn.Sequential(*(TimeBlock(width, 3 * width) for _ in range(depth)))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out))
        for parameter in self.out[1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        return self.out(self.blocks(self.into(features))).float()


def _log(magnitude: Tensor) -> Tensor:
    """Logarithms of magnitudes, of about unit size."""
    return (magnitude + FLOOR).log() / 2 + 2


def _factor(change: Tensor) -> Tensor:
    """What magnitudes are multiplied by."""
    return (MOST * (change / MOST).tanh()).exp()

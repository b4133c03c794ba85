"""What a vocoder minimises: how far the sound that it makes of frames is from the sound that they were made of.

    mel |z' - z|  +  mean over resolutions of  [ ||S' - S|| / ||S||  +  mean |log S' - log S| ]

with z the normalised mel frames and S magnitudes of short-time Fourier transforms (Yamamoto, Song and Kim, 2020,
equations 4 to 6). Several resolutions see what each alone is blind to: long frames the pitch, short ones the moments
at which sounds begin.
"""

import math
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.codec.stft import check_frames, stft
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.rng import Random

FLOOR = 1e-4
"""Magnitude that is added before logarithms are taken; 1 is a sine of amplitude 1."""


@final
@checked_init("um.objective.SpectralLoss")
@dataclass(frozen=True, kw_only=True)
class SpectralLoss:
    """Distance of a vocoder's sounds to those that they were made of: one number a row.

    Args:
        mel: Weight of the error of mel frames.
        frames: Samples of the frames of each resolution; hops are a quarter of them.

    Raises:
        UsageError: If the weight is negative, there is no resolution, or a frame cannot be divided by 4.
    """

    mel: float = 2.0
    frames: tuple[int, ...] = (256, 512, 1024, 2048)

    def __post_init__(self) -> None:
        if not 0 <= self.mel < math.inf or not self.frames or any(each % 4 for each in self.frames):
            raise UsageError(
                f"SpectralLoss was given mel={self.mel}, frames={self.frames}",
                "a weight of at least 0, and a resolution or more, each a multiple of 4",
                "SpectralLoss(mel=2.0, frames=(256, 512, 1024, 2048))",
            )
        for each in self.frames:
            check_frames("SpectralLoss", each, each // 4)

    def __call__(
        self, denoiser: Any, x0: Float[Tensor, "rows 1 samples"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        """The loss of each row.

        Args:
            denoiser: The vocoder, which stands where other objectives have a denoiser.
            x0: [rows, 1, samples], sounds.
            condition: What is known of each row, which makes no difference.
            rng: Source of randomness, of which there is none.

        Returns:
            [rows].
        """
        z = denoiser.encode(x0)
        made = denoiser.reconstruct(z)
        real = x0[..., : made.shape[-1]]
        again = (denoiser.encode(made) - denoiser.encode(real)).abs().flatten(1).mean(1)
        return self.mel * again + spectral_distance(made[:, 0].float(), real[:, 0].float(), self.frames)


def spectral_distance(
    made: Float[Tensor, "rows samples"], real: Float[Tensor, "rows samples"], frames: tuple[int, ...]
) -> Float[Tensor, " rows"]:
    """The multi-resolution distance of sounds, without the error of mel frames.

    Args:
        made: [rows, samples].
        real: [rows, samples], what it is compared with.
        frames: Samples of the frames of each resolution.

    Returns:
        [rows].
    """
    total = made.new_zeros(len(made))
    for n_fft in frames:
        one, other = (stft(x, n_fft, n_fft // 4).abs().flatten(1) for x in (made, real))
        convergence = (one - other).norm(dim=1) / other.norm(dim=1).clamp_min(FLOOR)
        total = total + convergence + ((one + FLOOR).log() - (other + FLOOR).log()).abs().mean(1)
    return total / len(frames)

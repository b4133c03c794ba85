"""The short-time Fourier transform and its inverse, which loses nothing.

    X[m, k] = 2 / sum w  sum_n w[n] x[m H + n - N/2] exp(-2 pi i k n / N)

with a Hann window w of N samples, hop H and zeros before and after x. A sine of amplitude 1 at the frequency of bin k
has |X[m, k]| = 1. The inverse adds the windowed frames and divides by the sum of the squared windows, which is the
least-squares solution where X is the transform of no sound (Griffin and Lim, 1984, equation 6).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from unmelt.errors import UsageError


def check_frames(owner: str, n_fft: int, hop: int) -> None:
    """Refuse frames that do not overlap enough for the inverse to exist.

    Args:
        owner: Who was given them.
        n_fft: Samples of a frame, N.
        hop: Samples between frames, H.

    Raises:
        UsageError: If a number is below 1, N is odd, or H is above N / 2.
    """
    if hop < 1 or n_fft < 2 * hop or n_fft % 2:
        raise UsageError(
            f"{owner} was given n_fft={n_fft}, hop={hop}",
            "an even frame of at least two hops",
            f"{owner}(n_fft={4 * max(1, hop)}, hop={max(1, hop)})",
        )


def stft(x: Float[Tensor, "*rows samples"], n_fft: int, hop: int) -> Complex[Tensor, "*rows frames bins"]:
    """Transform sounds.

    Args:
        x: [*rows, samples].
        n_fft: Samples of a frame, N.
        hop: Samples between frames, H.

    Returns:
        [*rows, 1 + samples // hop, N / 2 + 1]. Zeros after a sound add frames and change none of its own.
    """
    window = torch.hann_window(n_fft, dtype=x.dtype, device=x.device)
    frames = F.pad(x, (n_fft // 2, n_fft // 2)).unfold(-1, n_fft, hop)
    return torch.fft.rfft(frames * (window * (2 / window.sum())))


def istft(spectrum: Complex[Tensor, "*rows frames bins"], n_fft: int, hop: int) -> Float[Tensor, "*rows samples"]:
    """Transform back.

    Args:
        spectrum: [*rows, frames, N / 2 + 1].
        n_fft: Samples of a frame, N.
        hop: Samples between frames, H.

    Returns:
        [*rows, (frames - 1) * hop]: the sound, but for its last samples that fill no hop.
    """
    rows, count = spectrum.shape[:-2], spectrum.shape[-2]
    flat = torch.fft.irfft(spectrum.reshape(-1, *spectrum.shape[-2:]), n_fft)
    window = torch.hann_window(n_fft, dtype=flat.dtype, device=flat.device)
    length = n_fft + (count - 1) * hop

    def added(frames: Tensor) -> Tensor:
        """Frames added where they overlap."""
        return F.fold(frames.mT, (1, length), (1, n_fft), stride=(1, hop))[:, 0, 0]

    total = added(flat * (window * (window.sum() / 2)))
    weight = added(window.square().expand(1, count, -1))
    inner = slice(n_fft // 2, length - n_fft // 2)
    return (total[:, inner] / weight[:, inner]).view(*rows, length - n_fft)

"""Sounds at another sample rate, by band-limited interpolation.

    y(m) = sum_n x(n) h(m / r - n),      r = new rate / old rate
    h(t) = c sinc(c t) w(t / T),         c = b min(1, r)

with a Kaiser window w of half-length T = Z / c (Smith, 2002, "Digital Audio Resampling"). Of a rate that is lowered,
frequencies above half the new rate are removed first: otherwise they would be heard as others. The response falls from
1 to 1e-4 between about 0.9 and 1.0 of the lower Nyquist frequency.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.errors import UsageError

ZEROS, ROLL_OFF, BETA = 64, 0.95, 9.0
"""Z and b above, and the shape of the window, whose side lobes are 90 dB below."""


def resample(x: Float[Tensor, "*rows samples"], old: int, new: int) -> Float[Tensor, "*rows resampled"]:
    """Change the sample rate of sounds.

    Args:
        x: [*rows, samples].
        old: Their samples per second.
        new: Samples per second wanted.

    Returns:
        [*rows, ceil(samples * new / old)], float32. x itself where the rates are equal.

    Raises:
        UsageError: If a rate is below 1.
    """
    if min(old, new) < 1:
        raise UsageError(f"resample from {old} to {new} samples per second", "both of at least 1", "16_000")
    if old == new:
        return x
    from scipy.signal import resample_poly  # slow to import

    common = math.gcd(old, new)
    up, down = new // common, old // common
    made = resample_poly(x.detach().cpu().double().numpy(), up, down, axis=-1, window=_filter(up, down))
    return torch.from_numpy(made).float().to(x.device)


@lru_cache(maxsize=16)
def _filter(up: int, down: int) -> np.ndarray:
    """The samples of h on the grid of both rates."""
    from scipy.signal import firwin

    slower = max(up, down)
    taps: np.ndarray = firwin(2 * ZEROS * slower + 1, ROLL_OFF / slower, window=("kaiser", BETA))
    return taps

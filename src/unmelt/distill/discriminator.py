"""A discriminator that reads the features of a denoiser.

    d(x_t, t) = mean over blocks b of head_b(h_b),      head(h) = mean over places of w . silu(W norm(h) + c)

h_b being the output of block b of the denoiser's network for x_t (`denoiser/features.py`). Small heads are enough:
discriminators on the features of a diffusion network (Sauer et al., 2024, "Fast High-Resolution Image Synthesis with
Latent Adversarial Diffusion Distillation"; Yin et al., 2024, section 4.3).
"""

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@final
class Heads(nn.Module):
    """The learned part of a discriminator: a small head on each block's features.

    Args:
        widths: Width of each block's features.
        hidden: Hidden features of each head.
    """

    def __init__(self, widths: Sequence[int], hidden: int = 64) -> None:
        super().__init__()
        self.into = nn.ModuleList(nn.Linear(width, hidden) for width in widths)
        self.out = nn.ModuleList(nn.Linear(hidden, 1) for _ in widths)

    def forward(self, features: Sequence[Tensor]) -> Float[Tensor, " rows"]:
        """The logit of real against generated data, d above.

        Args:
            features: Of each block, [rows, places, width].

        Returns:
            [rows].
        """
        logits = [
            out(F.silu(into(F.layer_norm(each, each.shape[-1:])))).mean((1, 2))
            for each, into, out in zip(features, self.into, self.out, strict=True)
        ]
        return torch.stack(logits).mean(0)

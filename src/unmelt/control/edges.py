"""Edges: how steep the brightness of a picture is at each pixel.

    G = |(S * x, S^T * x)|,      S = (1, 2, 1)^T (-1, 0, 1)        (Sobel and Feldman, 1968)

G is given relative to the steepest place of each picture, so that edges are white whatever the contrast. A picture of
one brightness has no edges.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unmelt.control.gray import luminance

SMOOTH, SLOPE = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)

FAINTEST = 1e-3
"""Steepness below which there are no edges: a sixteenth of one step of 8 bits."""


@final
@dataclass(frozen=True, kw_only=True)
class Edges:
    """White edges on black."""

    name: ClassVar[str] = "edges"
    channels: ClassVar[int] = 1

    def __call__(self, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows 1 h w"]:
        across = torch.outer(x.new_tensor(SMOOTH), x.new_tensor(SLOPE))
        kernels = torch.stack([across, across.T])[:, None]
        slopes = F.conv2d(F.pad(luminance(x), (1, 1, 1, 1), mode="replicate"), kernels)
        steepness = slopes.square().sum(1, keepdim=True).sqrt()
        return steepness / steepness.amax((1, 2, 3), keepdim=True).clamp_min(FAINTEST)

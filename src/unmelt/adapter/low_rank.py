"""The low-rank change of one layer.

    y = W x + b + s B A x,      A [rank, in],  B [out, rank],  B = 0 at first          Hu et al., 2021, eq. 3

A convolution is the same, its weight seen as a matrix [out, in * kernel]: A is a convolution with the layer's kernel,
stride and padding to `rank` channels, and B is a 1 x 1 convolution. In a convolution with groups, A is shared by them.
"""

from __future__ import annotations

import math
from typing import TypeAlias, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@final
class LowRank(nn.Module):
    """The factors of B A for one layer. A begins as N(0, 1 / fan-in) numbers, B as zeros.

    Args:
        layer: The layer that is changed; its weight's shape and device are taken over.
        rank: The rank of the change.
    """

    def __init__(self, layer: Layer, rank: int) -> None:
        super().__init__()
        weight = layer.weight
        fine = torch.promote_types(weight.dtype, torch.float32)
        self.A = nn.Parameter(torch.empty(rank, *weight.shape[1:], dtype=fine, device=weight.device))
        self.B = nn.Parameter(torch.zeros(weight.shape[0], rank, dtype=fine, device=weight.device))
        nn.init.normal_(self.A, std=1 / math.sqrt(weight[0].numel()))

    def fits(self, layer: nn.Module) -> bool:
        """Check whether a module has a weight of the shape that these factors were made for.

        Args:
            layer: Any module.

        Returns:
            Whether it is a layer whose weight B A can be added to.
        """
        weight = getattr(layer, "weight", None)
        return isinstance(layer, Layer) and weight is not None and weight.shape == (len(self.B), *self.A.shape[1:])

    def product(self) -> Float[Tensor, "outer *inner"]:
        """The matrix B A, in the shape of the layer's weight."""
        return (self.B @ self.A.flatten(1)).view(-1, *self.A.shape[1:])

    def forward(self, layer: Layer, x: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows *outer"]:
        """Compute B A x.

        Args:
            layer: The layer, which says how x is walked over by a convolution.
            x: The layer's input.

        Returns:
            B A x, in the layer's output shape.
        """
        A: Tensor = self.A
        B: Tensor = self.B
        if not torch.is_autocast_enabled(x.device.type):  # which would choose the type itself
            fine = torch.promote_types(x.dtype, A.dtype)
            x, A, B = x.to(fine), A.to(fine), B.to(fine)
        if isinstance(layer, nn.Linear):
            return F.linear(F.linear(x, A), B)
        space = A.ndim - 2
        inner = layer._conv_forward(x, A.repeat(layer.groups, *[1] * (A.ndim - 1)), None)
        return CONV[space](inner, B.view(*B.shape, *[1] * space), groups=layer.groups)

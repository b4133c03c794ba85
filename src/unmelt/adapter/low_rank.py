"""The low-rank change of one layer.

    LoRA    y = W x + b + s B A x,      A [rank, in],  B [out, rank],  B = 0 at first     Hu et al., 2021, eq. 3
    DoRA    y = W' x + b,   W' = m (W + s B A) / |W + s B A|,   m = |W| at first          Liu et al., 2024, eq. 5

s is alpha / rank. A convolution is the same, its weight seen as a matrix [out, in * kernel]: A is a convolution with
the layer's kernel, stride and padding to `rank` channels, and B is a 1 x 1 convolution. In a convolution with groups, A
is shared by them.

The norm |.| of DoRA is one number for each output (peft, LyCORIS) or for each input (OneTrainer), and m has as many
magnitudes. It is a constant to the gradient (section 4.3). DoRA's change of a layer, W' - W, depends on the weight W
that it meets, so it is computed from the layer's own weight in each call. It is linear in x and additive in the output,
as LoRA's is: rows take it with scales of their own, and the changes of several adapters to one W add up. Scale 0 is W,
and scale 1 is W'.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

Axis: TypeAlias = Literal["output", "input"]


@final
class LowRank(nn.Module):
    """The factors of B A for one layer. A begins as N(0, 1 / fan-in) numbers, B as zeros, magnitudes as norms of W.

    Args:
        layer: The layer that is changed; its weight's shape and device are taken over.
        rank: The rank of the change.
        factor: alpha / rank, by which B A is multiplied.
        magnitudes: "output" or "input" for DoRA with a magnitude for each of them; None for LoRA.
    """

    magnitude: Tensor | None

    def __init__(self, layer: Layer, rank: int, factor: float = 1.0, magnitudes: Axis | None = None) -> None:
        super().__init__()
        self.factor, self.magnitudes = factor, magnitudes
        weight = layer.weight
        fine = torch.promote_types(weight.dtype, torch.float32)
        self.A = nn.Parameter(torch.empty(rank, *weight.shape[1:], dtype=fine, device=weight.device))
        self.B = nn.Parameter(torch.zeros(weight.shape[0], rank, dtype=fine, device=weight.device))
        nn.init.normal_(self.A, std=1 / math.sqrt(weight[0].numel()))
        if magnitudes is None:
            self.register_parameter("magnitude", None)
        else:
            self.magnitude = nn.Parameter(self._norm(weight.detach().to(fine)).flatten().clone())

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

    def change(self, weight: Float[Tensor, "outer *inner"]) -> Float[Tensor, "outer *inner"]:
        """Compute s B A, or W' - W with magnitudes.

        Args:
            weight: The layer's weight, W.

        Returns:
            The change of the weight, on the factors' device and in float32 or finer.
        """
        weight = weight.to(self.A.device, torch.promote_types(weight.dtype, self.A.dtype))
        change = self.factor * self.product().to(weight.dtype)
        if self.magnitude is None:
            return change
        norm = self._norm((weight + change).detach())
        ratio = self.magnitude.to(weight.dtype).view(norm.shape) / torch.where(norm == 0, 1, norm)
        return ratio * (weight + change) - weight

    def forward(self, layer: Layer, x: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows *outer"]:
        """Compute the change of the layer's output.

        Args:
            layer: The layer, which says how x is walked over by a convolution.
            x: The layer's input.

        Returns:
            s B A x, or W' x - W x with magnitudes, in the layer's output shape.
        """
        if self.magnitude is not None:
            change = self.change(layer.weight).to(x.dtype)
            return F.linear(x, change) if isinstance(layer, nn.Linear) else layer._conv_forward(x, change, None)
        A: Tensor = self.A
        B: Tensor = self.B
        if not torch.is_autocast_enabled(x.device.type):  # which would choose the type itself
            fine = torch.promote_types(x.dtype, A.dtype)
            x, A, B = x.to(fine), A.to(fine), B.to(fine)
        if isinstance(layer, nn.Linear):
            return self.factor * F.linear(F.linear(x, A), B)
        space = A.ndim - 2
        inner = layer._conv_forward(x, A.repeat(layer.groups, *[1] * (A.ndim - 1)), None)
        return self.factor * CONV[space](inner, B.view(*B.shape, *[1] * space), groups=layer.groups)

    def _norm(self, weight: Tensor) -> Tensor:
        """One norm for each output or input, in a shape that broadcasts over the weight."""
        kept = 0 if self.magnitudes == "output" else 1
        others = [axis for axis in range(weight.ndim) if axis != kept]
        return torch.linalg.vector_norm(weight, dim=others, keepdim=True)

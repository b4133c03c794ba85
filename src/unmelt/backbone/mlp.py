"""A residual multilayer perceptron: for points in the plane and other small, flat data.

    h <- h + gate * W2 silu(W1 adaptive_norm(h))

with a straight line from x to the output past every block, so that far from the data it stays linear.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least, level_of_rows
from unmelt.backbone.embed import Conditioner
from unmelt.backbone.modulation import adaptive_norm, zeroed
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError


@checked_init("um.backbone.MLP")
class MLP(CallRepr, nn.Module):
    """Residual multilayer perceptron on x of any fixed shape, taken as one flat vector.

    Args:
        shape: Of one row of x.
        width: Features.
        depth: Number of residual blocks.
        classes: Number of labels; 0 if no label can be given, as for the two that follow.
        vector_width: Numbers in a vector.
        sequence_width: Numbers in each token of a sequence.
        with_arrival: Whether the network is also given the noise level that a jump arrives at (`denoiser.FlowMap`).
        with_guidance: Whether the network is also given the guidance scale of each row (`Condition.guidance_scale`).

    Raises:
        UsageError: If a size is below 1.
    """

    feature_axis: ClassVar[int] = -1
    """The axis of features in the outputs of `feature_modules`."""

    def __init__(
        self,
        *,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 4,
        classes: int = 0,
        vector_width: int = 0,
        sequence_width: int = 0,
        with_arrival: bool = False,
        with_guidance: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, "MLP", width=width, depth=depth, dimensions=len(shape), numbers=math.prod(shape))
        self.shape, self.width, self.depth = tuple(shape), width, depth
        self.classes, self.vector_width, self.sequence_width = classes, vector_width, sequence_width
        self.with_arrival, self.with_guidance = with_arrival, with_guidance

        flat = math.prod(self.shape)
        self.told = Conditioner(  # named so in the weights of run folders
            width,
            classes=classes,
            vector_width=vector_width,
            sequence_width=sequence_width,
            with_arrival=with_arrival,
            with_guidance=with_guidance,
        )
        self.modulation = zeroed(nn.Linear(width, 3 * depth * width))
        self.into = nn.Linear(flat, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.out = zeroed(nn.Linear(width, flat))

    @property
    def feature_modules(self) -> list[nn.Module]:
        """The blocks, in order; the outputs of each are features, [rows, width]."""
        return list(self.blocks)

    def forward(
        self,
        x: Float[Tensor, "rows *shape"],
        level: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
        arrival: Float[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """The output.

        Args:
            x: [rows, *shape], inputs of unit size.
            level: [rows], noise levels.
            condition: What is known of each row.
            arrival: [rows], noise levels to arrive at; None where there is none.

        Returns:
            [rows, *shape].

        Raises:
            UsageError: If x, the level or the condition does not fit what the network was made for.
        """
        level_of_rows("MLP", level)
        if x.shape[1:] != self.shape:
            raise UsageError(
                f"x has rows of shape {tuple(x.shape[1:])}",
                f"this MLP was made for {self.shape}",
                f"MLP(shape={tuple(x.shape[1:])}, ...)",
            )
        flat, vector, _ = self.told(x.flatten(1), level, condition, arrival)
        modulation = iter(self.modulation(vector).chunk(3 * self.depth, dim=1))
        h = self.into(flat)
        for block in self.blocks:
            scale, shift, gate = next(modulation), next(modulation), next(modulation)
            h = torch.addcmul(h, gate, block(adaptive_norm(h, scale, shift)))
        return self.out(h).view_as(x)

"""A residual multilayer perceptron: for points in the plane and other small, flat data.

    h <- h + gate * W2 silu(W1 adaptive_norm(h))

with a straight line from x to the output past every block, so that far from the data it stays linear.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.backbone.arguments import at_least
from unmelt.backbone.embed import Conditioner
from unmelt.backbone.modulation import adaptive_norm, zeroed
from unmelt.condition import Condition
from unmelt.errors import UsageError


class MLP(nn.Module):
    """x of any fixed shape, seen as one flat vector.

    shape            of one row of x
    width, depth     features, and residual blocks
    classes          labels; 0 for none, as in the two that follow
    features         numbers in a vector
    sequence_width   numbers in each token of a sequence
    """

    def __init__(
        self,
        *,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 4,
        classes: int = 0,
        features: int = 0,
        sequence_width: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, "MLP", width=width, depth=depth, dimensions=len(shape), numbers=math.prod(shape))
        self.shape, self.width, self.depth = tuple(shape), width, depth
        self.classes, self.features, self.sequence_width = classes, features, sequence_width

        flat = math.prod(self.shape)
        self.told = Conditioner(width, classes=classes, features=features, sequence_width=sequence_width)
        self.modulation = zeroed(nn.Linear(width, 3 * depth * width))
        self.into = nn.Linear(flat, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.out = zeroed(nn.Linear(width, flat))

    def forward(
        self,
        x: Float[Tensor, "rows *shape"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        if x.shape[1:] != self.shape:
            raise UsageError(
                f"x has rows of shape {tuple(x.shape[1:])}",
                f"this MLP was made for {self.shape}",
                f"MLP(shape={tuple(x.shape[1:])}, ...)",
            )
        flat, vector, _ = self.told(x.flatten(1), level, condition)
        steering = iter(self.modulation(vector).chunk(3 * self.depth, dim=1))
        h = self.into(flat)
        for block in self.blocks:
            scale, shift, gate = next(steering), next(steering), next(steering)
            h = torch.addcmul(h, gate, block(adaptive_norm(h, scale, shift)))
        return self.out(h).view_as(x)

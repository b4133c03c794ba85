"""A multilayer perceptron on short sequences of frames, each of which may stand at its own noise level.

    vector = conditioner(mean level, condition) + W [embedding of the level of each frame]
    h <- h + gate * W2 silu(W1 adaptive_norm(h)),       h from all frames at once

A plan of a few dozen actions is a few dozen numbers: one matrix sees them all, where a transformer over the same frames
takes many times the arithmetic. Levels that are equal are those of rows; a frame at level 0 is known.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.embed import WAVES, Conditioner, LevelEmbedding
from unmelt.backbone.modulation import adaptive_norm, zeroed
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError

LEVEL_FEATURES = 8
"""Features of the level of each frame."""


@checked_init("um.backbone.FrameMLP")
class FrameMLP(CallRepr, nn.Module):
    """Residual multilayer perceptron on a fixed number of frames.

    Args:
        frames: Number of frames of a row.
        shape: Of one frame.
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
        frames: int,
        shape: Sequence[int],
        width: int = 256,
        depth: int = 4,
        classes: int = 0,
        vector_width: int = 0,
        sequence_width: int = 0,
        with_arrival: bool = False,
        with_guidance: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, "FrameMLP", frames=frames, width=width, depth=depth, numbers=math.prod(shape))
        self.frames, self.shape, self.width, self.depth = frames, tuple(shape), width, depth
        self.classes, self.vector_width, self.sequence_width = classes, vector_width, sequence_width
        self.with_arrival, self.with_guidance = with_arrival, with_guidance

        numbers = frames * math.prod(self.shape)
        self.conditioner = Conditioner(
            width,
            classes=classes,
            vector_width=vector_width,
            sequence_width=sequence_width,
            with_arrival=with_arrival,
            with_guidance=with_guidance,
        )
        self.level = nn.Sequential(LevelEmbedding(), nn.Linear(2 * WAVES, LEVEL_FEATURES))
        self.levels = nn.Linear(frames * LEVEL_FEATURES, width)
        self.modulation = zeroed(nn.Linear(width, 3 * depth * width))
        self.into = nn.Linear(numbers, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.out = zeroed(nn.Linear(width, numbers))

    @property
    def feature_modules(self) -> list[nn.Module]:
        """The blocks, in order; the outputs of each are features, [rows, width]."""
        return list(self.blocks)

    def forward(
        self,
        x: Float[Tensor, "rows frames *shape"],
        level: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
        arrival: Float[Tensor, "rows *axes"] | None = None,
    ) -> Float[Tensor, "rows frames *shape"]:
        """The output.

        Args:
            x: [rows, frames, *shape], inputs of unit size.
            level: [rows] or [rows, frames], noise levels.
            condition: What is known of each row.
            arrival: Noise levels to arrive at, of the shape of level; None where there is none.

        Returns:
            [rows, frames, *shape].

        Raises:
            UsageError: If x, the level or the condition does not fit what the network was made for.
        """
        if x.shape[1:] != (self.frames, *self.shape):
            raise UsageError(
                f"x has rows of shape {tuple(x.shape[1:])}",
                f"this FrameMLP was made for {self.frames} frames of shape {self.shape}",
                f"FrameMLP(frames={x.shape[1] if x.ndim > 1 else 1}, shape={tuple(x.shape[2:])}, ...)",
            )
        if level.shape not in (x.shape[:1], x.shape[:2]):
            raise UsageError(
                f"levels of shape {tuple(level.shape)} for x of shape {tuple(x.shape)}",
                "one level a row, or one a frame",
                f"levels of shape {tuple(x.shape[:2])}",
            )
        fine = level if level.ndim == 2 else level[:, None].expand(-1, self.frames)
        ends = arrival.mean(1) if arrival is not None and arrival.ndim == 2 else arrival
        row_level = fine.mean(1) if level.ndim == 2 else level
        flat, vector, _ = self.conditioner(x.flatten(1), row_level, condition, ends)
        vector = vector + self.levels(self.level(fine).flatten(1))
        modulation = iter(self.modulation(vector).chunk(3 * self.depth, dim=1))
        h = self.into(flat)
        for block in self.blocks:
            scale, shift, gate = next(modulation), next(modulation), next(modulation)
            h = torch.addcmul(h, gate, block(adaptive_norm(h, scale, shift)))
        return self.out(h).view_as(x)

"""A transformer over the frames of a row, each of which may stand at its own noise level.

    h_f <- h_f + gate1_f * attention(adaptive_norm1_f(h))_f
    h_f <- h_f + cross_attention(norm(h_f), sequence)                  where a sequence can be given
    h_f <- h_f + gate2_f * mlp(adaptive_norm2_f(h_f))

Scale, shift and gate of frame f come from its own level, so that clean frames can stand beside noisy ones (diffusion
forcing: Chen et al., 2024). With causal attention frame f depends on frames up to f alone.

The keys and values of causal frames that are final need not be computed again. They are handed over as parts of the
condition, FRAME_KV and FRAMES_READ, with a slot for each frame of a row; x then holds the frames after them. As a
condition's rows are split and joined with those of x, rows may stand at different frames.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.dit import Block
from unmelt.backbone.embed import Conditioner, position_embedding
from unmelt.backbone.modulation import adaptive_norm, zeroed
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError

FRAME_KV, FRAMES_READ = "frame_kv", "frames_read"
"""In `condition.extra`: keys and values, [rows, depth, 2, heads, frames, features]; how many are final, [rows]."""


@checked_init("um.backbone.FrameTransformer")
class FrameTransformer(CallRepr, nn.Module):
    """Transformer on sequences of frames: trajectories, actions, latents of video. One token a frame.

    Args:
        frames: Largest number of frames of a row; a row may have fewer.
        shape: Of one frame.
        width: Features; a multiple of `heads`.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden features of each block's perceptron, as a multiple of width.
        qk_norm: Whether queries and keys are normalised, for long trainings in low precision.
        is_causal: Whether a frame attends only to itself and to the frames before it.
        classes: Number of labels; 0 if no label can be given, as for the two that follow.
        vector_width: Numbers in a vector.
        sequence_width: Numbers in each token of a sequence.
        with_arrival: Whether the network is also given the noise level that a jump arrives at (`denoiser.FlowMap`).
        with_guidance: Whether the network is also given the guidance scale of each row (`Condition.guidance_scale`).

    Raises:
        UsageError: If a size is below 1, or heads do not divide width.
    """

    position: Tensor

    feature_axis: ClassVar[int] = -1
    """The axis of features in the outputs of `feature_modules`."""

    def __init__(
        self,
        *,
        frames: int,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        qk_norm: bool = False,
        is_causal: bool = False,
        classes: int = 0,
        vector_width: int = 0,
        sequence_width: int = 0,
        with_arrival: bool = False,
        with_guidance: bool = False,
    ) -> None:
        super().__init__()
        at_least(1, "FrameTransformer", frames=frames, width=width, depth=depth, heads=heads)
        at_least(1, "FrameTransformer", numbers=math.prod(shape), hidden=int(mlp_ratio * width))
        self.frames, self.shape, self.width, self.depth = frames, tuple(shape), width, depth
        self.heads, self.mlp_ratio, self.qk_norm, self.is_causal = heads, mlp_ratio, qk_norm, is_causal
        self.classes, self.vector_width, self.sequence_width = classes, vector_width, sequence_width
        self.with_arrival, self.with_guidance = with_arrival, with_guidance

        numbers, source = math.prod(self.shape), width if sequence_width else 0
        self.register_buffer("position", position_embedding((frames,), width), persistent=False)
        self.conditioner = Conditioner(
            width,
            classes=classes,
            vector_width=vector_width,
            sequence_width=sequence_width,
            with_arrival=with_arrival,
            with_guidance=with_guidance,
            of_frames=True,
        )
        self.into = nn.Linear(numbers, width)
        self.blocks = nn.ModuleList(Block(width, heads, int(mlp_ratio * width), source, qk_norm) for _ in range(depth))
        self.modulation = zeroed(nn.Linear(width, (6 * depth + 2) * width))
        self.out = zeroed(nn.Linear(width, numbers))

    @property
    def feature_modules(self) -> list[nn.Module]:
        """The blocks, in order; the outputs of each are features, [rows, frames, width]."""
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
            condition: What is known of each row; with the keys and values of earlier frames, where some were read.
            arrival: Noise levels to arrive at, of the shape of level; None where there is none.

        Returns:
            [rows, frames, *shape].

        Raises:
            UsageError: If x, the level or the condition does not fit what the network was made for.
        """
        return self._read(x, level, condition, arrival, keep=False)[0]

    def keys_and_values(
        self, x: Float[Tensor, "rows frames *shape"], level: Float[Tensor, "rows *axes"], condition: Condition | None
    ) -> Float[Tensor, "rows depth 2 heads frames features"]:
        """Keys and values of frames, for the frames after them to attend to.

        Args:
            x: [rows, frames, *shape], inputs of unit size.
            level: [rows] or [rows, frames], noise levels.
            condition: What is known of each row; with the keys and values of earlier frames, where some were read.

        Returns:
            [rows, depth, 2, heads, frames, features].

        Raises:
            UsageError: If attention is not causal, so that these would change with the frames after them.
        """
        if not self.is_causal:
            raise UsageError(
                "a cache of frames for a network in which frames attend to later ones",
                "causal attention",
                "FrameTransformer(is_causal=True, ...)",
            )
        return torch.stack(self._read(x, level, condition, None, keep=True)[1], 1)

    def _read(
        self, x: Tensor, level: Tensor, condition: Condition | None, arrival: Tensor | None, keep: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """The output, and the keys and values of every block if they are to be kept."""
        extra = {} if condition is None else condition.extra
        past, done = extra.get(FRAME_KV), extra.get(FRAMES_READ)
        count = x.shape[1] if x.ndim > 1 else 0
        most = count if done is None or torch.compiler.is_compiling() else count + int(done.max())
        if x.shape[2:] != self.shape or not 1 <= count <= most <= self.frames:
            raise UsageError(
                f"x has rows of shape {tuple(x.shape[1:])}" + f" after {most - count} others" * (most > count),
                f"this FrameTransformer was made for at most {self.frames} frames of shape {self.shape}",
                f"FrameTransformer(frames={most}, shape={tuple(x.shape[2:])}, ...)",
            )
        if level.shape not in (x.shape[:1], x.shape[:2]):
            raise UsageError(
                f"levels of shape {tuple(level.shape)} for x of shape {tuple(x.shape)}",
                "one level a row, or one a frame",
                f"levels of shape {tuple(x.shape[:2])}",
            )
        flat, vector, tokens = self.conditioner(x.flatten(2) if self.shape else x[..., None], level, condition, arrival)
        vector = vector if vector.ndim == 3 else vector[:, None]
        modulation = self.modulation(vector).chunk(6 * self.depth + 2, dim=-1)
        h = self.into(flat)
        of_blocks: list[Tensor] = []
        places = torch.arange(count, device=x.device)
        h = h + self.position[places if done is None else done[:, None] + places].to(h)
        mask = places <= places[:, None] if self.is_causal else None
        if mask is not None and past is not None and done is not None:
            read = torch.arange(past.shape[4], device=x.device) < done[:, None]
            mask = torch.cat([read[:, None, None].expand(-1, 1, count, -1), mask.expand(len(x), 1, -1, -1)], -1)
        blocks: Any = self.blocks
        for i, block in enumerate(blocks):
            of_block = modulation[6 * i : 6 * i + 6]
            if past is None and not keep:
                h = block(h, of_block, tokens, mask)
            else:
                h, kv = block.after(h, of_block, tokens, None if past is None else past[:, i], mask)
                of_blocks.append(kv)
        scale, shift = modulation[-2:]
        return self.out(adaptive_norm(h, scale, shift)).view_as(x), of_blocks

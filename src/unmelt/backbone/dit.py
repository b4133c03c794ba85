"""A transformer on patches of x, conditioned by adaLN-zero.

    h <- h + gate1 * attention(adaptive_norm1(h))
    h <- h + cross_attention(norm(h), sequence)                    where a sequence can be given
    h <- h + gate2 * mlp(adaptive_norm2(h))

(Peebles and Xie, 2023, section 3; cross-attention as in PixArt-alpha, Chen et al., 2024.) Space may have any
number of dimensions: a patch is a small box, and every place has a fixed sinusoidal embedding. On grids of other sizes
coordinates are interpolated: a place has the embedding of one as far along each axis (PixArt-sigma, Chen et al., 2024).
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least, check_grid, level_of_rows
from unmelt.backbone.attention import AttendedSequence, CrossAttention, SelfAttention
from unmelt.backbone.embed import Conditioner, position_embedding
from unmelt.backbone.modulation import adaptive_norm, zeroed
from unmelt.backbone.patches import from_patches, to_patches
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError

_interpolated = lru_cache(maxsize=64)(position_embedding)


class Block(nn.Module):
    """One block: self-attention, cross-attention to the sequence if there can be one, and a perceptron.

    Args:
        width: Features.
        heads: Attention heads.
        hidden: Hidden features of the perceptron.
        source: Features of the sequence's tokens; 0 for none.
        qk_norm: Whether queries and keys are normalised.
    """

    def __init__(self, width: int, heads: int, hidden: int, source: int, qk_norm: bool) -> None:
        super().__init__()
        self.places = SelfAttention(width, heads, qk_norm)
        self.sequence = CrossAttention(width, source, heads, qk_norm) if source else None
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU("tanh"), nn.Linear(hidden, width))

    def forward(
        self,
        h: Float[Tensor, "rows places width"],
        modulation: Sequence[Tensor],
        tokens: AttendedSequence | None,
        mask: Bool[Tensor, "places places"] | None = None,
    ) -> Float[Tensor, "rows places width"]:
        """The features after the block.

        Args:
            h: [rows, places, width], features.
            modulation: Scale, shift and gate of attention and of the perceptron, each [rows, places or 1, width].
            tokens: The sequence.
            mask: [places, places], True where the first may attend to the second. None: everywhere.

        Returns:
            [rows, places, width].
        """
        scale1, shift1 = modulation[:2]
        return self._rest(h, self.places(adaptive_norm(h, scale1, shift1), mask), modulation, tokens)

    def after(
        self,
        h: Float[Tensor, "rows places width"],
        modulation: Sequence[Tensor],
        tokens: AttendedSequence | None,
        past: Float[Tensor, "rows 2 heads past features"] | None,
        mask: Bool[Tensor, "places places"] | Bool[Tensor, "rows 1 places keys"] | None,
    ) -> tuple[Float[Tensor, "rows places width"], Float[Tensor, "rows 2 heads places features"]]:
        """The features after the block, where places also attend to others that were read before.

        Args:
            h: [rows, places, width], features.
            modulation: As of `forward`.
            tokens: The sequence.
            past: [rows, 2, heads, past, features], keys and values of what was read before. None: nothing was.
            mask: [rows, 1, places, past + places], True where a place may attend; [places, places] without a past.

        Returns:
            The features, and the keys and values of these places.
        """
        scale1, shift1 = modulation[:2]
        answer, kv = self.places.after(adaptive_norm(h, scale1, shift1), past, mask)
        return self._rest(h, answer, modulation, tokens), kv

    def _rest(self, h: Tensor, answer: Tensor, modulation: Sequence[Tensor], tokens: AttendedSequence | None) -> Tensor:
        """The block once its places have attended to one another."""
        _, _, gate1, scale2, shift2, gate2 = modulation
        h = torch.addcmul(h, gate1, answer)
        if self.sequence is not None:
            h = h + self.sequence(F.layer_norm(h, h.shape[-1:]), tokens)
        return torch.addcmul(h, gate2, self.mlp(adaptive_norm(h, scale2, shift2)))


@checked_init("um.backbone.DiT")
class DiT(CallRepr, nn.Module):
    """Diffusion transformer on a grid of a fixed size, or of any: images, video, sound.

    Args:
        channels: Of x.
        size: Sides of the grid.
        any_size: Whether grids of other sizes are taken too, with interpolated coordinates.
        patch: Sides of a patch; each must divide its side of the grid. One number serves for all.
        width: Features; a multiple of `heads`.
        depth: Number of blocks.
        heads: Attention heads.
        mlp_ratio: Hidden features of each block's perceptron, as a multiple of width.
        qk_norm: Whether queries and keys are normalised, for long trainings in low precision.
        context_channels: Channels of `condition.context`; 0 for none.
        classes: Number of labels; 0 if no label can be given, as for the two that follow.
        vector_width: Numbers in a vector.
        sequence_width: Numbers in each token of a sequence.
        sequence_depth: Blocks in which the tokens of a sequence attend to one another before x attends to them.
        sequence_queries: Learned queries that read the tokens of a sequence and stand in their place (`resampler`). 0:
            x attends to the tokens.
        with_arrival: Whether the network is also given the noise level that a jump arrives at (`denoiser.FlowMap`).
        with_guidance: Whether the network is also given the guidance scale of each row (`Condition.guidance_scale`).

    Raises:
        UsageError: If a size is below 1, patches do not fit the grid, or heads do not divide width.
    """

    position: Tensor

    feature_axis: ClassVar[int] = -1
    """The axis of features in the outputs of `feature_modules`."""

    def __init__(
        self,
        *,
        channels: int,
        size: Sequence[int],
        any_size: bool = False,
        patch: int | Sequence[int] = 2,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        qk_norm: bool = False,
        context_channels: int = 0,
        classes: int = 0,
        vector_width: int = 0,
        sequence_width: int = 0,
        sequence_depth: int = 0,
        sequence_queries: int = 0,
        with_arrival: bool = False,
        with_guidance: bool = False,
    ) -> None:
        super().__init__()
        self.channels, self.size, self.width, self.depth = channels, tuple(size), width, depth
        self.any_size = any_size
        self.patch = (patch,) * len(self.size) if isinstance(patch, int) else tuple(patch)
        self.heads, self.mlp_ratio, self.qk_norm, self.context_channels = heads, mlp_ratio, qk_norm, context_channels
        self.classes, self.vector_width = classes, vector_width
        self.sequence_width, self.sequence_depth = sequence_width, sequence_depth
        self.sequence_queries = sequence_queries
        self.with_arrival, self.with_guidance = with_arrival, with_guidance
        self._check_arguments()

        hidden, source = int(mlp_ratio * width), width if sequence_width else 0
        box = math.prod(self.patch)
        grid = [n // p for n, p in zip(self.size, self.patch, strict=True)]
        self.register_buffer("position", position_embedding(grid, width), persistent=False)
        self.told = Conditioner(  # named so in the weights of run folders
            width,
            classes=classes,
            vector_width=vector_width,
            sequence_width=sequence_width,
            sequence_depth=sequence_depth,
            sequence_queries=sequence_queries,
            context_channels=context_channels,
            with_arrival=with_arrival,
            with_guidance=with_guidance,
        )
        self.into = nn.Linear((channels + context_channels) * box, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, source, qk_norm) for _ in range(depth))
        self.modulation = zeroed(nn.Linear(width, (6 * depth + 2) * width))
        self.out = zeroed(nn.Linear(width, channels * box))

    @property
    def takes_any_size(self) -> bool:
        """Whether x may be of another size than `size`."""
        return self.any_size

    @property
    def feature_modules(self) -> list[nn.Module]:
        """The blocks, in order; the outputs of each are features, [rows, places, width]."""
        return list(self.blocks)

    def _check_arguments(self) -> None:
        at_least(1, "DiT", channels=self.channels, width=self.width, depth=self.depth, heads=self.heads)
        at_least(1, "DiT", dimensions=len(self.size), patch=min(self.patch, default=1))
        if self.mlp_ratio * self.width < 1:
            raise UsageError(
                f"DiT was given mlp_ratio={self.mlp_ratio}", "the perceptron needs a feature", "DiT(..., mlp_ratio=4.0)"
            )
        sides = zip(self.size, self.patch, strict=False)
        if len(self.patch) != len(self.size) or any(side % of_patch for side, of_patch in sides):
            fits = tuple(math.gcd(n, max(self.patch)) for n in self.size)
            raise UsageError(
                f"DiT was given size={self.size} and patch={self.patch}",
                "each side of the grid must be a whole number of patches",
                f"DiT(..., size={self.size}, patch={fits})",
            )

    def forward(
        self,
        x: Float[Tensor, "rows channels *space"],
        level: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
        arrival: Float[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows channels *space"]:
        """The output.

        Args:
            x: [rows, channels, *size], inputs of unit size.
            level: [rows], noise levels.
            condition: What is known of each row.
            arrival: [rows], noise levels to arrive at; None where there is none.

        Returns:
            [rows, channels, *size].

        Raises:
            UsageError: If x, the level or the condition does not fit what the network was made for.
        """
        self._check_x(x, level)
        size = x.shape[2:]
        inputs, vector, tokens = self.told(x, level, condition, arrival)
        modulation = self.modulation(vector).view(x.shape[0], -1, 1, self.width).unbind(1)
        h = self.into(to_patches(inputs, self.patch))
        h = h + self._position(tuple(size)).to(h)  # in low precision if products are: half the memory to move
        for i, block in enumerate(self.blocks):
            h = block(h, modulation[6 * i : 6 * i + 6], tokens)
        scale, shift = modulation[-2:]
        return from_patches(self.out(adaptive_norm(h, scale, shift)), size, self.patch)

    def _check_x(self, x: Tensor, level: Tensor) -> None:
        if self.any_size:
            check_grid("DiT", x, level, self.channels, self.patch)
            return
        level_of_rows("DiT", level)
        if x.shape[1:] != (self.channels, *self.size):
            raise UsageError(
                f"x has rows of shape {tuple(x.shape[1:])}",
                f"this DiT was made for {(self.channels, *self.size)}",
                f"DiT(channels={x.shape[1]}, size={tuple(x.shape[2:])}, ...)",
            )

    def _position(self, size: tuple[int, ...]) -> Float[Tensor, "places width"]:
        """The embedding of each place of a grid."""
        if size == self.size:
            return self.position
        own, grid = (tuple(n // p for n, p in zip(sides, self.patch, strict=True)) for sides in (self.size, size))
        return _interpolated(grid, self.width, own).to(self.position.device)

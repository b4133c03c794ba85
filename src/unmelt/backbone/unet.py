"""A residual U-Net: down through coarser and coarser grids, and back up, joined by skip connections.

    block(x) = x + conv(silu((1 + scale) * norm(conv(silu(norm(x)))) + shift)),      then attention, if any

Each block going down leaves its output for the block across from it going up. Between levels the grid is halved by
averaging and doubled by repetition. With patches, the finest level is a grid of boxes of x.
(Ronneberger et al., 2015; Dhariwal and Nichol, 2021, section 3.)
"""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import forward_ad

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least, check_grid
from unmelt.backbone.attention import AttendedSequence, CrossAttention, SelfAttention
from unmelt.backbone.embed import PLACE_WAVES, Conditioner, place_waves
from unmelt.backbone.modulation import zeroed
from unmelt.backbone.patches import from_patches, to_patches
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError

CONV: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class _GroupNorm(nn.GroupNorm):
    """Group normalisation whose forward-mode derivative exists for every layout of the input."""

    def forward(self, x: Float[Tensor, "rows channels *space"]) -> Float[Tensor, "rows channels *space"]:
        if not torch.compiler.is_compiling() and forward_ad.unpack_dual(x).tangent is not None:
            x = x.contiguous()  # PyTorch's derivative takes no other; patches come with channels last
        return super().forward(x)


def _norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """Group normalisation over four channels a group or more, in at most 32 groups."""
    return _GroupNorm(math.gcd(channels // 4, 32), channels, affine=affine)


class _Attention(nn.Module):
    """Self-attention over places, and cross-attention to the sequence if there can be one. Its output starts at 0."""

    def __init__(self, channels: int, heads: int, source: int, axes: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.positions = nn.Linear(axes * PLACE_WAVES, channels, bias=False) if axes else None
        self.places = SelfAttention(channels, heads)
        self.sequence = CrossAttention(channels, source, heads) if source else None
        zeroed(self.places.out)

    def forward(
        self, x: Float[Tensor, "rows channels *space"], tokens: AttendedSequence | None
    ) -> Float[Tensor, "rows channels *space"]:
        h = self.norm(x).flatten(2).transpose(1, 2)
        if self.positions is not None:
            h = h + self.positions(place_waves(tuple(x.shape[2:])).to(h))
        out = self.places(h)
        if self.sequence is not None:
            out = out + self.sequence(h, tokens)
        return x + out.transpose(1, 2).view_as(x)


class _Block(nn.Module):
    """Two convolutions around an adaptive group norm, added to what came in; then attention, if any."""

    def __init__(self, space: int, inner: int, outer: int, dropout: float, attention: _Attention | None) -> None:
        super().__init__()
        conv = CONV[space]
        self.norm = _norm(inner)
        self.first = conv(inner, outer, 3, padding=1)
        self.adapt = _norm(outer, affine=False)
        self.dropout = nn.Dropout(dropout)
        self.second = zeroed(conv(outer, outer, 3, padding=1))
        self.skip = conv(inner, outer, 1) if inner != outer else nn.Identity()
        self.attention = attention

    def forward(
        self,
        x: Float[Tensor, "rows inner *space"],
        scale: Float[Tensor, "rows outer *ones"],
        shift: Float[Tensor, "rows outer *ones"],
        tokens: AttendedSequence | None,
    ) -> Float[Tensor, "rows outer *space"]:
        h = self.first(F.silu(self.norm(x)))
        h = F.silu(torch.addcmul(shift, self.adapt(h), 1 + scale))
        h = self.skip(x) + self.second(self.dropout(h))
        return h if self.attention is None else self.attention(h, tokens)


@checked_init("um.backbone.UNet")
class UNet(CallRepr, nn.Module):
    """Residual U-Net on a grid of one, two or three dimensions, of any size.

    Args:
        channels: Of x.
        space: Dimensions of the grid: 1, 2 or 3.
        patch: Sides of the boxes of x that are the places of the finest level; they divide the sides of x. One number
            serves for all. At the same widths, 2 makes it about four times as fast on images.
        width: Channels on the finest level, a multiple of 4.
        multipliers: Of the width, one for each level from the finest to the coarsest.
        blocks: Residual blocks on each level, each way.
        attention: Whether each level has attention.
        heads: Attention heads; they must divide the channels of every level that has attention.
        positions: Whether attention is given an embedding of the coordinates of each place, whatever the size of x.
        dropout: Probability with which features are dropped in training.
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
        UsageError: If sizes do not fit one another, or the dropout is not in [0, 1).
    """

    feature_axis: ClassVar[int] = 1
    """The axis of features in the outputs of `feature_modules`."""

    takes_any_size: ClassVar[bool] = True
    """Whether x may be larger than what the network was trained on."""

    def __init__(
        self,
        *,
        channels: int,
        space: int = 2,
        patch: int | Sequence[int] = 1,
        width: int = 64,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 2,
        attention: Sequence[bool] = (False, False, True),
        heads: int = 4,
        positions: bool = False,
        dropout: float = 0.0,
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
        self.channels, self.space, self.width = channels, space, width
        self.patch = (patch,) * space if isinstance(patch, int) else tuple(patch)
        self.multipliers, self.blocks, self.attention = tuple(multipliers), blocks, tuple(attention)
        self.heads, self.positions, self.dropout = heads, positions, dropout
        self.context_channels = context_channels
        self.classes, self.vector_width = classes, vector_width
        self.sequence_width, self.sequence_depth = sequence_width, sequence_depth
        self.sequence_queries = sequence_queries
        self.with_arrival, self.with_guidance = with_arrival, with_guidance
        self._check_arguments()

        embedding_width, widths = 4 * width, [width * multiplier for multiplier in self.multipliers]
        source, box = embedding_width if sequence_width else 0, math.prod(self.patch)
        self.parts: list[int] = []

        def attention_of(channels: int) -> _Attention:
            return _Attention(channels, heads, source, space if positions else 0)

        def block(inner: int, outer: int, attend: bool) -> _Block:
            self.parts += [outer, outer]
            return _Block(space, inner, outer, dropout, attention_of(outer) if attend else None)

        self.told = Conditioner(  # named so in the weights of run folders
            embedding_width,
            classes=classes,
            vector_width=vector_width,
            sequence_width=sequence_width,
            sequence_depth=sequence_depth,
            sequence_queries=sequence_queries,
            context_channels=context_channels,
            with_arrival=with_arrival,
            with_guidance=with_guidance,
        )
        self.into = CONV[space]((channels + context_channels) * box, width, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inner = width
        for outer, attend in zip(widths, self.attention, strict=True):
            for _ in range(blocks):
                self.down.append(block(inner, outer, attend))
                inner = outer
        self.middle = block(inner, inner, self.attention[-1])
        for outer, attend in zip(reversed(widths), reversed(self.attention), strict=True):
            for _ in range(blocks):
                self.up.append(block(inner + outer, outer, attend))
                inner = outer
        self.norm = _norm(inner)
        self.out = zeroed(CONV[space](inner, channels * box, 3, padding=1))
        self.modulation = zeroed(nn.Linear(embedding_width, sum(self.parts)))

    @property
    def feature_modules(self) -> list[nn.Module]:
        """The blocks, in order; the outputs of each are features, [rows, channels, *space]."""
        return [*self.down, self.middle, *self.up]

    def _check_arguments(self) -> None:
        at_least(1, "UNet", channels=self.channels, patch=min(self.patch, default=1), width=self.width)
        at_least(1, "UNet", blocks=self.blocks, heads=self.heads)
        at_least(1, "UNet", levels=len(self.multipliers), multiplier=min(self.multipliers, default=1))
        if self.space not in CONV:
            raise UsageError(
                f"UNet was given space={self.space}", "space has 1, 2 or 3 dimensions", "UNet(..., space=2)"
            )
        if len(self.patch) != self.space:
            raise UsageError(
                f"UNet was given patch={self.patch} and space={self.space}",
                "a side of the patch for each dimension",
                f"UNet(..., space={len(self.patch)})",
            )
        if self.width % 4:
            near = self.width + 4 - self.width % 4
            raise UsageError(
                f"UNet was given width={self.width}",
                "features are normalised in groups of four or more, so width must be a multiple of 4",
                f"UNet(..., width={near})",
            )
        if len(self.attention) != len(self.multipliers):
            some = (len(self.multipliers) - 1) * (False,) + (True,)
            raise UsageError(
                f"UNet was given attention={self.attention} and multipliers={self.multipliers}",
                "each level needs one of each",
                f"UNet(..., multipliers={self.multipliers}, attention={some})",
            )
        if not 0 <= self.dropout < 1:
            raise UsageError(
                f"UNet was given dropout={self.dropout}",
                "dropout is a probability below 1",
                "UNet(..., dropout=0.1)",
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
            x: [rows, channels, *space], inputs of unit size.
            level: [rows], noise levels.
            condition: What is known of each row.
            arrival: [rows], noise levels to arrive at; None where there is none.

        Returns:
            [rows, channels, *space].

        Raises:
            UsageError: If x, the level or the condition does not fit what the network was made for.
        """
        check_grid("UNet", x, level, self.channels, self.patch)
        size = x.shape[2:]
        h, vector, tokens = self.told(x, level, condition, arrival)
        modulation = iter(self.modulation(vector).view(x.shape[0], -1, *self.space * (1,)).split(self.parts, dim=1))
        coarse = [side // p for side, p in zip(size, self.patch, strict=True)]
        h = self.into(to_patches(h, self.patch).mT.unflatten(2, coarse))
        skips = []
        for i, block in enumerate(self.down):
            if i > 0 and i % self.blocks == 0:
                h = POOL[self.space](h, 2, ceil_mode=True)
            h = block(h, next(modulation), next(modulation), tokens)
            skips.append(h)
        h = self.middle(h, next(modulation), next(modulation), tokens)
        for i, block in enumerate(self.up):
            if i > 0 and i % self.blocks == 0:
                h = F.interpolate(h, skips[-1].shape[2:])
            h = block(torch.cat([h, skips.pop()], dim=1), next(modulation), next(modulation), tokens)
        return from_patches(self.out(F.silu(self.norm(h))).flatten(2).mT, size, self.patch)

"""Everything a backbone is given in addition to x, as vectors.

A number becomes waves of many lengths, so that layers can tell near values apart (Vaswani et al., 2017, section
3.5; Tancik et al., 2020):

    level      sin(2 pi f level + phase),      f from 1/16 to 4, phase 0 or pi / 2
    position   sin(w n), cos(w n) in each dimension of space,      w from 1 down to 1 / 10000

The level, a quarter of log noise, moves from about -2.5 to 2.5: the longest wave is rising over all of it, and the
shortest comes round when the noise grows by a factor e. Every kind of condition has a learned null, which stands
where a row was not given it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.attention import AttendedSequence, CrossAttention
from unmelt.backbone.resampler import Resampler
from unmelt.backbone.sequence_blocks import SequenceBlock
from unmelt.condition import Condition
from unmelt.errors import UsageError

SLOWEST, FASTEST, WAVES = 1 / 16, 4.0, 32

LEAST_SCALE = 0.1
"""Guidance scale below which a network that is given one cannot tell the difference."""


class LevelEmbedding(nn.Module):
    """The noise level as waves, a sine and a cosine of each length, computed in float32 at least."""

    frequency: Tensor
    phase: Tensor

    def __init__(self) -> None:
        super().__init__()
        frequency, phase = _waves()
        self.register_buffer("frequency", frequency, persistent=False)
        self.register_buffer("phase", phase, persistent=False)

    def forward(self, level: Float[Tensor, "*n"]) -> Float[Tensor, "*n waves"]:
        """Waves of the level.

        Args:
            level: [rows, *axes], noise levels as `precondition.noise_level` gives them.

        Returns:
            [rows, *axes, waves], in the precision of the module.
        """
        fine = torch.promote_types(level.dtype, torch.float32)
        # Half precision, which a module may be converted to, would round the frequencies.
        waves = (self.frequency, self.phase) if self.frequency.dtype.itemsize >= 4 else _waves()
        frequency, phase = (each.to(level.device, fine) for each in waves)
        angle = torch.addcmul(phase, level[..., None].to(fine), frequency)
        return angle.sin().to(self.frequency.dtype)


def _waves() -> tuple[Tensor, Tensor]:
    """Frequency and phase of each wave."""
    frequency = torch.logspace(math.log2(SLOWEST), math.log2(FASTEST), WAVES, base=2)
    return 2 * math.pi * frequency.repeat(2), torch.tensor([0.0, math.pi / 2]).repeat_interleave(WAVES)


PLACE_WAVES = 8
"""Features of a place along each axis; see `place_waves`."""


@lru_cache(maxsize=64)
def place_waves(size: tuple[int, ...]) -> Float[Tensor, "places waves"]:
    """Where each place of a grid is, whatever the size of the grid: waves of its coordinates in [0, 1].

    Args:
        size: Sides of the grid.

    Returns:
        [places, axes * 8]: along each axis, sines and cosines of 1, 2, 4 and 8 half turns.
    """
    axes = [(torch.arange(side) + 0.5) / side for side in size]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
    angle = (place[..., None] * math.pi * 2.0 ** torch.arange(PLACE_WAVES // 2)).flatten(1)
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def position_embedding(
    size: Sequence[int], width: int, spread_over: Sequence[int] | None = None
) -> Float[Tensor, "places width"]:
    """Sinusoidal embedding of the places of a grid.

    Args:
        size: Sides of the grid, of any number of dimensions; the last runs fastest.
        width: Features of each place.
        spread_over: Sides of another grid, over whose coordinates the places are spread evenly. None: its own.

    Returns:
        [places, width].

    Raises:
        UsageError: If the width has no room for a sine and a cosine of each dimension.
    """
    share = width // (2 * len(size))
    if share == 0:
        raise UsageError(
            f"position_embedding was given width={width} for {len(size)} dimensions of space",
            "width must hold a sine and a cosine for each dimension",
            f"width={2 * len(size)}",
        )
    frequency = 10_000.0 ** (-torch.arange(share, dtype=torch.float64) / share)
    axes = (torch.arange(n, dtype=torch.float64) for n in size)
    if spread_over is not None:  # centres of places lie where they lie on the other grid
        axes = ((axis + 0.5) * (m / n) - 0.5 for axis, n, m in zip(axes, size, spread_over, strict=True))
    places = torch.cartesian_prod(*axes).view(-1, len(size))
    angle = (places[..., None] * frequency).flatten(1)
    waves = torch.cat([angle.sin(), angle.cos()], dim=1)
    return F.pad(waves, (0, width - waves.shape[1])).float()


class Conditioning(NamedTuple):
    """What a backbone works from.

    Args:
        x: [rows, channels, *space], x with its context concatenated.
        vector: [rows, *axes, width], the level and all that is known, in one vector.
        tokens: The sequence, to be read by cross-attention.
    """

    x: Tensor
    vector: Float[Tensor, "rows *axes width"]
    tokens: AttendedSequence | None


class _Field(NamedTuple):
    """A field of a condition: the argument that sets its size, that size, and the axis of the tensor that has it."""

    argument: str
    size: int
    axis: int | None


class Conditioner(nn.Module):
    """Turns (x, level, condition) into what a backbone works from.

    The vector holds a summary of the sequence, so that a backbone without cross-attention uses it too. The order of a
    sequence is whatever its encoder wrote into the tokens.

    Args:
        width: Features of the vector.
        classes: Number of labels; 0 if no label can be given, as for the three that follow.
        vector_width: Numbers in a vector.
        sequence_width: Numbers in each token of a sequence.
        sequence_depth: Blocks in which the tokens of a sequence attend to one another first.
        sequence_queries: Learned queries that read the tokens and stand in their place; 0 for none.
        context_channels: Channels of the context.
        with_arrival: Whether the network is also given the noise level that a jump arrives at (`denoiser.FlowMap`).
            Both levels are then embedded in float32, under autocast too, as a flow map is differentiated by them.
        with_guidance: Whether the network is also given the guidance scale that it has learned (`distill`).
        of_frames: Whether x is [rows, frames, numbers], so that a vector may be given for each frame.
    """

    def __init__(
        self,
        width: int,
        *,
        classes: int = 0,
        vector_width: int = 0,
        sequence_width: int = 0,
        sequence_depth: int = 0,
        sequence_queries: int = 0,
        context_channels: int = 0,
        with_arrival: bool = False,
        with_guidance: bool = False,
        of_frames: bool = False,
    ) -> None:
        super().__init__()
        self.of_frames = of_frames
        at_least(
            0,
            "backbone",
            classes=classes,
            vector_width=vector_width,
            sequence_width=sequence_width,
            sequence_depth=sequence_depth,
            sequence_queries=sequence_queries,
            context_channels=context_channels,
        )
        self.fields = {
            "label": _Field("classes", classes, None),
            "vector": _Field("vector_width", vector_width, -1),
            "sequence": _Field("sequence_width", sequence_width, 2),
            "context": _Field("context_channels", context_channels, 1),
        }
        self.level = nn.Sequential(LevelEmbedding(), nn.Linear(2 * WAVES, width))
        self.arrival = nn.Sequential(LevelEmbedding(), nn.Linear(2 * WAVES, width)) if with_arrival else None
        self.guidance = nn.Sequential(LevelEmbedding(), nn.Linear(2 * WAVES, width)) if with_guidance else None
        if classes:
            self.label = nn.Embedding(1 + classes, width)  # null first: label K is then an error, not null
        if vector_width:
            self.vector = nn.Linear(vector_width, width)
            self.null_vector = nn.Parameter(torch.zeros(width))
        if sequence_width:
            self.sequence = nn.Sequential(nn.Linear(sequence_width, width), nn.LayerNorm(width))
            heads = math.gcd(width, 4)
            self.resampler = Resampler(width, sequence_queries, heads) if sequence_queries else None
            self.sequence_blocks = nn.ModuleList(SequenceBlock(width, heads) for _ in range(sequence_depth))
            self.summary = CrossAttention(width, width, heads)
        if context_channels:
            self.null_context = nn.Parameter(torch.zeros(context_channels))
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(
        self,
        x: Float[Tensor, "rows channels *space"],
        level: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
        arrival: Float[Tensor, "rows *axes"] | None = None,
    ) -> Conditioning:
        """Embed the level and the condition.

        Args:
            x: [rows, channels, *space].
            level: [rows, *axes], noise levels.
            condition: What is known of each row.
            arrival: [rows, *axes], noise levels to arrive at. None: the level itself, a jump of no length.

        Returns:
            x with its context, the vector, and the sequence's tokens.

        Raises:
            UsageError: If the condition does not fit x or what the backbone was made for, or an arrival level is given
                to a backbone made without one.
        """
        known = Condition() if condition is None else condition
        self._check(x, known)
        vector, tokens = self._levels(level, arrival), None
        finer = level.ndim - 1
        if self.guidance is not None:
            vector = vector + _along_axes(self._scales(known, level), finer)
        if self.fields["label"].size:
            label = None if known.label is None else 1 + known.label
            null = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
            vector = vector + _along_axes(self.label(_or_null(label, known.is_given("label"), null)), finer)
        if self.fields["vector"].size:
            value = None if known.vector is None else self.vector(known.vector)
            if value is not None and value.ndim == 3 and finer == 0:
                vector, finer = vector[:, None], 1
            null = self.null_vector.expand(x.shape[0] if value is None else value.shape[:-1].numel(), -1)
            null = null if value is None else null.view_as(value)
            value = _or_null(value, known.is_given("vector"), null)
            vector = vector + (value if value.ndim == 3 else _along_axes(value, finer))
        if self.fields["sequence"].size:
            tokens = self._tokens(known)
            queries = vector.view(x.shape[0], -1, vector.shape[-1])
            vector = vector + self.summary(queries, tokens).view_as(vector)
        if self.fields["context"].size:
            null = self.null_context.view(-1, *(1,) * (x.ndim - 2)).expand(x.shape[0], -1, *x.shape[2:])
            x = torch.cat([x, _or_null(known.context, known.is_given("context"), null)], dim=1)
        return Conditioning(x, self.mix(vector), tokens)

    def _levels(self, level: Tensor, arrival: Tensor | None) -> Tensor:
        if self.arrival is None:
            if arrival is not None:
                raise UsageError(
                    "an arrival level", "a backbone that was made to be given one", "MLP(..., with_arrival=True)"
                )
            return self.level(level)
        with torch.autocast(level.device.type, enabled=False):
            return self.level(level) + self.arrival(level if arrival is None else arrival)

    def _scales(self, known: Condition, level: Tensor) -> Tensor:
        """The guidance scale of each row, embedded by its logarithm; 1 where none is given."""
        assert self.guidance is not None
        scale = known.guidance_scale
        log_scale = level.new_zeros(level.shape[0]) if scale is None else scale.clamp_min(LEAST_SCALE).log().to(level)
        with torch.autocast(level.device.type, enabled=False):
            return self.guidance(log_scale)

    def _tokens(self, known: Condition) -> AttendedSequence | None:
        """The sequence to read from; None where no row has any."""
        if known.sequence is None or known.sequence.shape[1] == 0:
            return None
        real = known.sequence_mask
        if (given := known.is_given("sequence")) is not None:
            given = given[:, None].expand(known.sequence.shape[:2])
            real = given if real is None else real & given
        tokens = AttendedSequence.of(self.sequence(known.sequence), real)
        if self.resampler is not None:
            tokens = self.resampler(tokens)
        for block in self.sequence_blocks:
            tokens = replace(tokens, values=block(tokens.values, tokens.mask))
        return tokens

    def _check(self, x: Tensor, known: Condition) -> None:
        """Shapes only: nothing here waits for the device."""
        if known.rows not in (0, x.shape[0]):
            raise UsageError(
                f"the condition has {known.rows} rows and x has {len(x)}",
                "each row of x must have its own",
                f"Condition(label=torch.full(({len(x)},), 3))",
            )
        for name, field in self.fields.items():
            value = getattr(known, name)
            if value is None:
                continue
            found = value.shape[field.axis] if field.axis else "..."
            if field.size == 0:
                raise UsageError(
                    f"the condition has a {name}",
                    f"the backbone was made to know none, which is {field.argument}=0",
                    f"{field.argument}={found}",
                )
            if field.axis and found != field.size:
                raise UsageError(
                    f"the condition has a {name} of {found} numbers",
                    f"the backbone was made for {field.size}",
                    f"{field.argument}={found}",
                )
        if (
            known.vector is not None
            and known.vector.ndim > 2
            and not (self.of_frames and known.vector.shape[1:-1] == x.shape[1:2])
        ):
            raise UsageError(
                f"the condition has vectors of shape {tuple(known.vector.shape)} for x of shape {tuple(x.shape)}",
                "one vector a row" + (", or one for each frame of x" if self.of_frames else ""),
                f"vector of shape {(x.shape[0], *x.shape[1 : 1 + self.of_frames], known.vector.shape[-1])}",
            )
        if known.context is not None and known.context.shape[2:] != x.shape[2:]:
            raise UsageError(
                f"the context lies over {tuple(known.context.shape[2:])} and x over {tuple(x.shape[2:])}",
                "context is concatenated to x, and must be of its size",
                f"F.interpolate(context, {tuple(x.shape[2:])})",
            )


def _along_axes(vector: Float[Tensor, "rows width"], axes: int) -> Tensor:
    """One vector a row, shaped to be added to one for each of finer times."""
    return vector.view(vector.shape[0], *(1,) * axes, -1)


def _or_null(value: Tensor | None, given: Tensor | None, null: Tensor) -> Tensor:
    """The value in rows that were given it, null in all the others."""
    if value is None:
        return null
    if given is None:
        return value
    return torch.where(given.view(-1, *(1,) * (value.ndim - 1)), value, null)

"""Everything a backbone is told beside x, as vectors.

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
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.backbone.arguments import at_least
from unmelt.backbone.attention import CrossAttention, Tokens
from unmelt.condition import Condition
from unmelt.errors import UsageError

SLOWEST, FASTEST, WAVES = 1 / 16, 4.0, 32


class LevelEmbedding(nn.Module):
    """The noise level as waves, a sine and a cosine of each length; worked out in float32 at least."""

    frequency: Tensor
    phase: Tensor

    def __init__(self) -> None:
        super().__init__()
        frequency = torch.logspace(math.log2(SLOWEST), math.log2(FASTEST), WAVES, base=2)
        phase = torch.tensor([0.0, math.pi / 2]).repeat_interleave(WAVES)
        self.register_buffer("frequency", 2 * math.pi * frequency.repeat(2), persistent=False)
        self.register_buffer("phase", phase, persistent=False)

    def forward(self, level: Float[Tensor, " rows"]) -> Float[Tensor, "rows waves"]:
        fine = torch.promote_types(level.dtype, torch.float32)
        angle = torch.addcmul(self.phase.to(fine), level[:, None].to(fine), self.frequency.to(fine))
        return angle.sin().to(level.dtype)


def position_embedding(size: Sequence[int], width: int) -> Float[Tensor, "places width"]:
    """One vector for each place of a grid of any number of dimensions, the last running fastest."""
    share = width // (2 * len(size))
    if share == 0:
        raise UsageError(
            f"position_embedding was given width={width} for {len(size)} dimensions of space",
            "width must hold a sine and a cosine for each dimension",
            f"width={2 * len(size)}",
        )
    frequency = 10_000.0 ** (-torch.arange(share, dtype=torch.float64) / share)
    places = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in size)).view(-1, len(size))
    angle = (places[..., None] * frequency).flatten(1)
    waves = torch.cat([angle.sin(), angle.cos()], dim=1)
    return F.pad(waves, (0, width - waves.shape[1])).float()


class Told(NamedTuple):
    """What a backbone works from."""

    x: Tensor
    """[rows, channels, *space]: x with its context concatenated."""

    vector: Float[Tensor, "rows width"]
    """The level and all that is known, in one vector."""

    tokens: Tokens | None
    """The sequence, to be read by cross-attention."""


class _Kind(NamedTuple):
    """A kind of condition: the argument that sets its size, that size, and the axis of the tensor that has it."""

    argument: str
    size: int
    axis: int | None


class Conditioner(nn.Module):
    """Turns (x, level, condition) into what a backbone works from.

    classes, features, sequence_width and context are the sizes of the label, vector, sequence and context it can
    be given; 0 where it knows no such thing. The vector holds a summary of the sequence, so that a backbone
    without cross-attention hears it too. The order of a sequence is whatever its encoder wrote into the tokens.
    """

    def __init__(
        self, width: int, *, classes: int = 0, features: int = 0, sequence_width: int = 0, context: int = 0
    ) -> None:
        super().__init__()
        at_least(0, "backbone", classes=classes, features=features, sequence_width=sequence_width, context=context)
        self.kinds = {
            "label": _Kind("classes", classes, None),
            "vector": _Kind("features", features, 1),
            "sequence": _Kind("sequence_width", sequence_width, 2),
            "context": _Kind("context", context, 1),
        }
        self.level = nn.Sequential(LevelEmbedding(), nn.Linear(2 * WAVES, width))
        if classes:
            self.label = nn.Embedding(1 + classes, width)  # null first: label K is then an error, not null
        if features:
            self.vector = nn.Linear(features, width)
            self.null_vector = nn.Parameter(torch.zeros(width))
        if sequence_width:
            self.sequence = nn.Sequential(nn.Linear(sequence_width, width), nn.LayerNorm(width))
            self.summary = CrossAttention(width, width, heads=math.gcd(width, 4))
        if context:
            self.null_context = nn.Parameter(torch.zeros(context))
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(
        self,
        x: Float[Tensor, "rows channels *space"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Told:
        known = Condition() if condition is None else condition
        self._check(x, known)
        vector, tokens = self.level(level), None
        if self.kinds["label"].size:
            label = None if known.label is None else 1 + known.label
            null = torch.zeros_like(level, dtype=torch.int64)
            vector = vector + self.label(_or_null(label, known.is_given("label"), null))
        if self.kinds["vector"].size:
            seen = None if known.vector is None else self.vector(known.vector)
            vector = vector + _or_null(seen, known.is_given("vector"), self.null_vector.expand_as(vector))
        if self.kinds["sequence"].size:
            tokens = self._tokens(known)
            vector = vector + self.summary(vector[:, None], tokens)[:, 0]
        if self.kinds["context"].size:
            null = self.null_context.view(-1, *(1,) * (x.ndim - 2)).expand(len(x), -1, *x.shape[2:])
            x = torch.cat([x, _or_null(known.context, known.is_given("context"), null)], dim=1)
        return Told(x, self.mix(vector), tokens)

    def _tokens(self, known: Condition) -> Tokens | None:
        """The sequence to read from; None where no row has any."""
        if known.sequence is None or known.sequence.shape[1] == 0:
            return None
        real = known.sequence_mask
        if (given := known.is_given("sequence")) is not None:
            given = given[:, None].expand(known.sequence.shape[:2])
            real = given if real is None else real & given
        return Tokens.of(self.sequence(known.sequence), real)

    def _check(self, x: Tensor, known: Condition) -> None:
        """Shapes only: nothing here waits for the device."""
        if len(known) not in (0, len(x)):
            raise UsageError(
                f"the condition has {len(known)} rows and x has {len(x)}",
                "each row of x must have its own",
                f"Condition(label=torch.full(({len(x)},), 3))",
            )
        for name, kind in self.kinds.items():
            value = getattr(known, name)
            if value is None:
                continue
            found = value.shape[kind.axis] if kind.axis else "..."
            if kind.size == 0:
                raise UsageError(
                    f"the condition has a {name}",
                    f"the backbone was made to know none, which is {kind.argument}=0",
                    f"{kind.argument}={found}",
                )
            if kind.axis and found != kind.size:
                raise UsageError(
                    f"the condition has a {name} of {found} numbers",
                    f"the backbone was made for {kind.size}",
                    f"{kind.argument}={found}",
                )
        if known.context is not None and known.context.shape[2:] != x.shape[2:]:
            raise UsageError(
                f"the context lies over {tuple(known.context.shape[2:])} and x over {tuple(x.shape[2:])}",
                "context is concatenated to x, and must be of its size",
                f"F.interpolate(context, {tuple(x.shape[2:])})",
            )


def _or_null(value: Tensor | None, given: Tensor | None, null: Tensor) -> Tensor:
    """The value in rows that were given it, null in all the others."""
    if value is None:
        return null
    if given is None:
        return value
    return torch.where(given.view(-1, *(1,) * (value.ndim - 1)), value, null)

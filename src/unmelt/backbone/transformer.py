"""A transformer on tokens: one network for masked diffusion, for blocks of it, and for autoregression.

    h <- h + attention(norm(h)),      h <- h + W3 (silu(W1 norm(h)) * W2 norm(h))

(Touvron et al., 2023.) A place begins with its own token and a share of the two beside it, e + l e_left + r e_right, so
that what follows from a neighbour need not wait until attention has learned where it stands (the horizontal links of
Allen-Zhu, 2025, at the input alone). What tells the three apart is who reads from whom: i from j where

    j // block <= i // block          block = 1 is causal, a block as long as the sequence is bidirectional

and neighbours are read under the same rule. Where a level or a class is to be told, the norms are adaptive and the
branches gated, as in the DiT.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.backbone.arguments import at_least
from unmelt.backbone.embed import Conditioner
from unmelt.backbone.modulation import zeroed
from unmelt.backbone.rotary import Past, RotaryAttention, angles
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError

SMALL = 0.02
"""Standard deviation of the first embeddings."""


class _Block(nn.Module):
    """Places read from one another; then each thinks for itself."""

    def __init__(self, width: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.attention = RotaryAttention(width, heads)
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.norm1, self.norm2 = (nn.RMSNorm(width, elementwise_affine=False) for _ in range(2))
        for last in (self.attention.out, self.down):  # a sum that begins no larger for being deep
            nn.init.normal_(last.weight, std=SMALL / math.sqrt(2 * depth))

    def forward(
        self,
        h: Float[Tensor, "rows n width"],
        angle: Float[Tensor, "n half"],
        mask: Bool[Tensor, "n all"] | None,
        past: Past | None,
        steering: Sequence[Tensor] | None,
        pair: tuple[int, int] | None,
    ) -> Float[Tensor, "rows n width"]:
        """pair   (places of a row, those of a block), if h is a clean row with melted ones after it"""
        if steering is None:
            h = h + self.attention(self.norm1(h), angle, mask, past, pair)
            return h + self._think(self.norm2(h))
        scale1, shift1, gate1, scale2, shift2, gate2 = steering
        h = torch.addcmul(h, 1 + gate1, self.attention(self.norm1(h) * (1 + scale1) + shift1, angle, mask, past, pair))
        return torch.addcmul(h, 1 + gate2, self._think(self.norm2(h) * (1 + scale2) + shift2))

    def _think(self, h: Tensor) -> Tensor:
        gate, value = self.up(h).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Transformer(CallRepr, nn.Module):
    """Logits for every place of a sequence.

    symbols        that go in: the vocabulary, and a mask where there is one
    vocabulary     tokens that logits come out for
    length         the longest sequence
    width, depth   features, and blocks
    heads          of attention; twice their number must divide width
    mlp_ratio      hidden features of each block's gated perceptron, as a multiple of width
    block          places that read from one another; later blocks read from earlier ones. None: all from all
    time           whether the level is told; masks say it themselves, by their number
    classes        labels; 0 for none
    coordinates    where each place stands, a row of whole numbers for each, such as its line and its column, of which
                   distances count; None: its number in the sequence
    """

    at: Tensor

    def __init__(
        self,
        *,
        symbols: int,
        vocabulary: int,
        length: int,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 8 / 3,
        block: int | None = None,
        time: bool = False,
        classes: int = 0,
        coordinates: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, "Transformer", symbols=symbols, vocabulary=vocabulary, length=length, width=width, depth=depth)
        at_least(1, "Transformer", heads=heads, block=1 if block is None else block)
        self.symbols, self.vocabulary, self.length = symbols, vocabulary, length
        self.width, self.depth, self.heads, self.mlp_ratio = width, depth, heads, mlp_ratio
        self.block, self.time, self.classes = block, time, classes
        self.coordinates = coordinates
        self.register_buffer("at", self._places(), persistent=False)
        hidden = max(8, 8 * round(mlp_ratio * width / 8))
        self.into = nn.Embedding(symbols, width)
        nn.init.normal_(self.into.weight, std=SMALL)
        self.left, self.right = (nn.Parameter(torch.full((width,), 0.5)) for _ in range(2))
        self.blocks = nn.ModuleList(_Block(width, heads, hidden, depth) for _ in range(depth))
        self.norm = nn.RMSNorm(width, elementwise_affine=False)
        self.out = zeroed(nn.Linear(width, vocabulary, bias=False))
        if time or classes:
            self.told = Conditioner(width, classes=classes)
            self.modulation = zeroed(nn.Linear(width, 6 * depth * width))

    def forward(
        self,
        x: Int64[Tensor, "rows n"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
        *,
        past: Past | None = None,
        places: Int64[Tensor, " n"] | None = None,
        beside: Int64[Tensor, "rows melted"] | None = None,
        whole: bool = False,
        where: Bool[Tensor, "rows places"] | None = None,
        edges: tuple[Tensor | None, Tensor | None] = (None, None),
    ) -> Float[Tensor, "*places vocabulary"]:
        """Logits [rows, n, vocabulary], or [places, vocabulary] of the places asked for.

        level    in [0, 1]; not looked at unless `time`
        past     of places that came before these, in blocks that are over
        places   where each token stands; one after the other, after the past, if not given
        beside   the same row melted, once or several times, one after the other: the logits are then of it, every block
                 seeing x in the blocks before it
        whole    all read from all, whatever the block
        where    True where logits are asked for, everywhere if not given; the others cost nothing
        edges    tokens [rows] that stand just before and just after x, if it is part of a row
        """
        first, mask, pair = 0 if past is None else past.length, None, None
        if places is None:
            places = torch.arange(first, first + x.shape[1], device=x.device)
            self._check(first + x.shape[1])
            mask = None if whole or beside is not None else self._rule(places, first)
        steering = self._steering(x, level, condition)
        block = self.length if whole or self.block is None else self.block
        h = self._with_neighbours(x, beside, places, block, edges)
        if beside is not None:
            pair = x.shape[1], block
            places = places.repeat(1 + beside.shape[1] // x.shape[1])
        angle = angles(self.at[places], self.width // self.heads)
        for number, each in enumerate(self.blocks):
            h = each(h, angle, mask, past, None if steering is None else steering[6 * number : 6 * number + 6], pair)
        h = h if beside is None else h[:, x.shape[1] :]
        return self.out(self.norm(h if where is None else h[where]))

    def _with_neighbours(
        self, x: Tensor, beside: Tensor | None, places: Tensor, block: int, edges: tuple[Tensor | None, Tensor | None]
    ) -> Float[Tensor, "rows n width"]:
        """What each place begins with; of several rows, one after the other."""
        each = self.into(x)
        before, after = (torch.zeros_like(each[:, 0]) if edge is None else self.into(edge) for edge in edges)
        begins, ends = places % block == 0, (places + 1) % block == 0
        left = torch.cat([before[:, None], each[:, :-1]], 1)
        clean = self._mixed(each, left, after, ends)
        if beside is None:
            return clean
        rows = [clean]
        for melted in beside.split(x.shape[1], 1):
            each = self.into(melted)
            own = torch.cat([before[:, None], each[:, :-1]], 1)
            rows.append(self._mixed(each, torch.where(begins[:, None], left, own), after, ends))
        return torch.cat(rows, 1)

    def _mixed(self, each: Tensor, left: Tensor, after: Tensor, ends: Tensor) -> Tensor:
        right = torch.cat([each[:, 1:], after[:, None]], 1)
        return each + self.left * left + self.right * torch.where(ends[:, None], 0.0, right)

    def _places(self) -> Int64[Tensor, "length axes"]:
        if self.coordinates is None:
            return torch.arange(self.length)[:, None]
        pairs, axes = self.width // self.heads // 2, {len(each) for each in self.coordinates}
        if len(self.coordinates) != self.length or len(axes) > 1 or not 1 <= max(axes) <= pairs:
            raise UsageError(
                f"coordinates of {len(self.coordinates)} places with {sorted(axes)} numbers each",
                f"as many for each of {self.length} places, and no more than the {pairs} pairs of features of a head",
                "coordinates=[(row, column) for row in range(9) for column in range(9)]",
            )
        return torch.tensor([list(map(int, each)) for each in self.coordinates])

    def _check(self, length: int) -> None:
        if length > self.length:
            raise UsageError(
                f"a sequence of {length} tokens", f"at most {self.length}, for which it was made", f"length={length}"
            )

    def _rule(self, places: Tensor, first: int) -> Tensor | None:
        """Who reads from whom, where not everyone does from everyone."""
        if self.block is None or int(places[0]) // self.block == int(places[-1]) // self.block:
            return None
        every = torch.arange(first + len(places), device=places.device)
        return every[None] // self.block <= places[:, None] // self.block

    def _steering(self, x: Tensor, level: Tensor, condition: Condition | None) -> Sequence[Tensor] | None:
        if not (self.time or self.classes):
            return None
        nothing = level.new_zeros(len(x), 1, 1)  # to be laid beside a context, of which there is none
        told = self.told(nothing, level if self.time else torch.zeros_like(level), condition)
        return self.modulation(told.vector).view(len(x), -1, 1, self.width).unbind(1)

"""A transformer on tokens: one network for masked diffusion, for block diffusion and for autoregression.

    h <- h + attention(norm(h))
    h <- h + cross_attention(norm(h), sequence)                   where a sequence can be given
    h <- h + W3 (silu(W1 norm(h)) * W2 norm(h))

(Touvron et al., 2023.) The embedding of a position is that of its token plus a share of its two neighbours',
e + l e_left + r e_right, so that what follows from a neighbour does not wait until attention has learned positions (the
horizontal links of Allen-Zhu, 2025, at the input alone). The three models differ in who attends to whom: position i to
position j where

    j // block <= i // block          block = 1 is causal, a block as long as the row is bidirectional

and neighbours are added under the same rule. Where a level, a class or a sequence is given, the norms are adaptive and
the branches gated, as in the DiT.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.attention import AttendedSequence, CrossAttention
from unmelt.backbone.embed import Conditioner
from unmelt.backbone.kv_cache import KVCache
from unmelt.backbone.modulation import zeroed
from unmelt.backbone.places import head_at
from unmelt.backbone.rotary import (
    Attend,
    RotaryAttention,
    attention,
    block_diffusion_attention,
    cached_attention,
    rotary_angles,
)
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError

SMALL = 0.02
"""Standard deviation of the initial embeddings."""


class _Block(nn.Module):
    """Attention, then cross-attention to the sequence if there can be one, then a gated perceptron."""

    def __init__(self, width: int, heads: int, hidden: int, depth: int, source: int) -> None:
        super().__init__()
        self.attention = RotaryAttention(width, heads)
        self.sequence = CrossAttention(width, source, heads) if source else None
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.norm1, self.norm2 = (nn.RMSNorm(width, elementwise_affine=False) for _ in range(2))
        for last in (self.attention.out, self.down):  # the sum over depth begins no larger in a deep network
            nn.init.normal_(last.weight, std=SMALL / math.sqrt(2 * depth))

    def forward(
        self,
        h: Float[Tensor, "rows n width"],
        angle: Float[Tensor, "*more n half"],
        attend: Attend,
        modulation: Sequence[Tensor] | None,
        tokens: AttendedSequence | None,
    ) -> Float[Tensor, "rows n width"]:
        if modulation is None:
            h = h + self.attention(self.norm1(h), angle, attend)
            return h + self._perceptron(self.norm2(h))
        scale1, shift1, gate1, scale2, shift2, gate2 = modulation
        h = torch.addcmul(h, 1 + gate1, self.attention(self.norm1(h) * (1 + scale1) + shift1, angle, attend))
        if self.sequence is not None:
            h = h + self.sequence(self.norm1(h), tokens)
        return torch.addcmul(h, 1 + gate2, self._perceptron(self.norm2(h) * (1 + scale2) + shift2))

    def _perceptron(self, h: Tensor) -> Tensor:
        gate, value = self.up(h).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


@checked_init("um.backbone.Transformer")
class Transformer(CallRepr, nn.Module):
    """A transformer that gives logits for every position of a row.

    Args:
        input_vocabulary: Tokens that go in: the vocabulary, and a mask where there is one.
        vocabulary: Tokens that logits come out for.
        length: Positions of the longest row.
        width: Features of a position.
        depth: Number of blocks of attention and perceptron.
        heads: Attention heads; twice their number must divide the width.
        mlp_ratio: Hidden features of the gated perceptron, as a multiple of the width.
        block: Tokens per attention block; a token attends to its own block and to earlier ones. None: full
            bidirectional attention.
        time: Whether the network reads the level. Masks say it themselves, by their number.
        classes: Number of labels; 0 for none.
        sequence_width: Numbers in each token of a sequence, such as a caption's, that the network reads by
            cross-attention; 0 for none.
        coordinates: Coordinates of each position, whole numbers such as its row and its column, of which only
            differences count. None: its number in the row.

    Raises:
        UsageError: If a size is below 1, the heads do not fit the width, or the coordinates do not fit the length.
    """

    coordinates_of: Tensor

    def __init__(
        self,
        *,
        input_vocabulary: int,
        vocabulary: int,
        length: int,
        width: int = 256,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 8 / 3,
        block: int | None = None,
        time: bool = False,
        classes: int = 0,
        sequence_width: int = 0,
        coordinates: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        at_least(
            1,
            "Transformer",
            input_vocabulary=input_vocabulary,
            vocabulary=vocabulary,
            length=length,
            width=width,
            depth=depth,
        )
        at_least(1, "Transformer", heads=heads, block=1 if block is None else block)
        self.input_vocabulary, self.vocabulary, self.length = input_vocabulary, vocabulary, length
        self.width, self.depth, self.heads, self.mlp_ratio = width, depth, heads, mlp_ratio
        self.block, self.time, self.classes, self.sequence_width = block, time, classes, sequence_width
        self.coordinates = coordinates
        self.register_buffer("coordinates_of", self._coordinates(), persistent=False)
        hidden = max(8, 8 * round(mlp_ratio * width / 8))
        self.into = nn.Embedding(input_vocabulary, width)
        nn.init.normal_(self.into.weight, std=SMALL)
        self.left, self.right = (nn.Parameter(torch.full((width,), 0.5)) for _ in range(2))
        self.blocks = nn.ModuleList(
            _Block(width, heads, hidden, depth, width if sequence_width else 0) for _ in range(depth)
        )
        self.norm = nn.RMSNorm(width, elementwise_affine=False)
        self.out = zeroed(nn.Linear(width, vocabulary, bias=False))
        if time or classes or sequence_width:
            self.told = Conditioner(width, classes=classes, sequence_width=sequence_width)
            self.modulation = zeroed(nn.Linear(width, 6 * depth * width))

    def init_cache(self, rows: int, length: int, device: torch.device | str = "cpu") -> KVCache:
        """An empty cache for rows of this network.

        Args:
            rows: Number of rows.
            length: Positions of a row.
            device: Where the cache is allocated.

        Returns:
            The cache, in the type of the network's parameters.
        """
        return KVCache.empty(
            rows=rows,
            layers=self.depth,
            heads=self.heads,
            length=length,
            features=self.width // self.heads,
            dtype=self.into.weight.dtype,
            device=device,
        )

    def forward(
        self,
        x: Int64[Tensor, "rows *shape"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
        *,
        noisy: Int64[Tensor, "rows copies_length"] | None = None,
        bidirectional: bool = False,
        cache: KVCache | None = None,
        positions: Int64[Tensor, "rows n"] | None = None,
        where: Bool[Tensor, "rows *side"] | None = None,
        with_features: bool = False,
    ) -> Float[Tensor, "*places vocabulary"] | tuple[Tensor, Float[Tensor, "rows n width"]]:
        """Logits at every position, or at those asked for.

        Args:
            x: Tokens of the whole row, in one line or, without `noisy` and `cache`, over several sides.
            level: Level in [0, 1]; read only with `time`.
            condition: What is known of each row.
            noisy: One or several noisy copies of x, one after the other. The logits are then theirs, and every block
                attends to x, the clean row, in earlier blocks.
            bidirectional: Full bidirectional attention, whatever the block.
            cache: Keys and values of positions that were read before. Those of the positions read now are written to
                it in place.
            positions: With a cache, the positions of x that are read now; a row may have its own.
            where: True where logits are asked for, among the positions that are read. None: everywhere.
            with_features: Whether to return the features of all positions too, from which logits are computed.

        Returns:
            Logits [rows, n, vocabulary] or [rows, *shape, vocabulary]; with `where`, [places, vocabulary], row by row.
            With features, (logits, [rows, n, width]), the positions of several sides in one line.

        Raises:
            UsageError: If x is longer than the network was made for.
        """
        if x.ndim > 2:
            where = None if where is None else where.flatten(1)
            logits, features = self.forward(x.flatten(1), level, condition, where=where, with_features=True)
            logits = logits if where is not None else logits.view(*x.shape, -1)
            return (logits, features) if with_features else logits
        self._check(x.shape[1])
        block = self.length if bidirectional or self.block is None else self.block
        attend: list[Attend]
        if cache is not None and positions is not None:
            h = self._embed_at(x, positions, block)
            attend = self._attend_to_cache(cache, positions, block)
            angle = rotary_angles(self.coordinates_of[positions], self.width // self.heads)[:, None]
        else:
            every = torch.arange(x.shape[1], device=x.device)
            h = self._embed(x, noisy, every, block)
            if noisy is None:
                number = every // block
                mask = None if block >= len(every) else number[None] <= number[:, None]
                attend = [partial(attention, mask=mask)] * self.depth
            else:
                attend = [partial(block_diffusion_attention, length=len(every), block=block)] * self.depth
                every = every.repeat(1 + noisy.shape[1] // x.shape[1])
            angle = rotary_angles(self.coordinates_of[every], self.width // self.heads)
        modulation, tokens = self._conditioning(x, level, condition)
        for layer, each in enumerate(self.blocks):
            mine = None if modulation is None else modulation[6 * layer : 6 * layer + 6]
            h = each(h, angle, attend[layer], mine, tokens)
        if cache is not None and where is not None and not with_features:
            return head_at(lambda chosen: self.out(self.norm(chosen)), h, where)
        h = h if noisy is None else h[:, x.shape[1] :]
        if with_features:
            h = self.norm(h)
            return self.out(h if where is None else h[where]), h
        return self.out(self.norm(h if where is None else h[where]))

    def _attend_to_cache(self, cache: KVCache, positions: Tensor, block: int) -> list[Attend]:
        """Attention of every layer, from these positions to the slots of their own and earlier blocks."""
        keys = min((int(positions.max()) // block + 1) * block, cache.length)
        slots = torch.arange(keys, device=positions.device)
        mask = (slots // block <= positions[..., None] // block)[:, None]
        attend = partial(
            cached_attention, cache=cache, positions=positions, keys=keys, mask=None if mask.all() else mask
        )
        return [partial(attend, layer=layer) for layer in range(self.depth)]

    def _embed(self, x: Tensor, noisy: Tensor | None, every: Tensor, block: int) -> Float[Tensor, "rows n width"]:
        """Embeddings of the row; of a clean row with its noisy copies, one after the other.

        The left neighbour of a noisy block's first position is the clean one, which is in an earlier block.
        """
        clean = self.into(x)
        clean_left, ends = F.pad(clean[:, :-1], (0, 0, 1, 0)), (every + 1) % block == 0
        embedded = [self._mix(clean, clean_left, F.pad(clean[:, 1:], (0, 0, 0, 1)), ends)]
        begins = (every % block == 0)[:, None]
        for copy in () if noisy is None else noisy.split(x.shape[1], 1):
            each = self.into(copy)
            left = torch.where(begins, clean_left, F.pad(each[:, :-1], (0, 0, 1, 0)))
            embedded.append(self._mix(each, left, F.pad(each[:, 1:], (0, 0, 0, 1)), ends))
        return embedded[0] if noisy is None else torch.cat(embedded, 1)

    def _embed_at(self, x: Tensor, positions: Tensor, block: int) -> Float[Tensor, "rows n width"]:
        """Embeddings of some positions of the row."""
        last = x.shape[1] - 1
        here, left, right = (
            self.into(x.gather(1, each.clamp(0, last))) for each in (positions, positions - 1, positions + 1)
        )
        ends = ((positions + 1) % block == 0) | (positions == last)
        return self._mix(here, torch.where((positions == 0)[..., None], 0.0, left), right, ends)

    def _mix(self, here: Tensor, left: Tensor, right: Tensor, ends: Bool[Tensor, "*rows n"]) -> Tensor:
        return here + self.left * left + self.right * torch.where(ends[..., None], 0.0, right)

    def _coordinates(self) -> Int64[Tensor, "length axes"]:
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

    def _conditioning(
        self, x: Tensor, level: Tensor, condition: Condition | None
    ) -> tuple[Sequence[Tensor] | None, AttendedSequence | None]:
        """The modulation of all blocks, and the sequence's tokens; None for what the network is not told."""
        if not (self.time or self.classes or self.sequence_width):
            return None, None
        nothing = level.new_zeros(x.shape[0], 1, 1)  # the place of x, beside which a context would be laid
        told = self.told(nothing, level if self.time else torch.zeros_like(level), condition)
        return self.modulation(told.vector).view(x.shape[0], -1, 1, self.width).unbind(1), told.tokens

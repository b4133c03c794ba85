"""A light head by which tokens that are drawn in one pass of a network depend on each other.

The network reads a row once and gives features f_i and logits at every position. Tokens y_j that are drawn from them
are read by the head alone:

    key_j = norm(K f_j + K'[y_j]),    value_j = V f_j + V'[y_j],      j among the drawn positions
    h_i = f_i + attention(norm(Q f_i), keys, values) + A N[y_(i-1)] + B N[y_(i+1)]        a neighbour, where it is drawn
    logits of position i, given the drawn tokens = U norm(h_i + perceptron(norm(h_i)))

Projections of f are computed once for all positions, so that reading one more token is two look-ups and a position
costs a single layer. Neighbours are added to h directly, as most of what a token says is about the next one. Such
sequentially dependent heads draft tokens for autoregressive models (Hydra: Ankner et al., 2024), and self-speculative
masked diffusion has a causal block of this kind (Campbell et al., 2025).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.argument_checks import at_least
from unmelt.backbone.modulation import zeroed
from unmelt.backbone.rotary import attention, rotary_angles, rotate
from unmelt.call_repr import CallRepr

INITIAL = 1.0
"""Standard deviation of the initial embeddings: that of the features, of which every position has some."""


@checked_init("um.backbone.TokenHead")
class TokenHead(CallRepr, nn.Module):
    """Logits of positions given tokens that were drawn from the same features. At first they change nothing.

    Args:
        vocabulary: Number of tokens.
        width: Features of a position.
        heads: Attention heads; twice their number must divide the width.
        mlp_ratio: Hidden features of the gated perceptron, as a multiple of the width.
        coordinates: Coordinates of each position, as `Transformer` has them. None: its number in the row.

    Raises:
        UsageError: If a size is below 1.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        heads: int = 4,
        mlp_ratio: float = 8 / 3,
        coordinates: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        at_least(1, "TokenHead", vocabulary=vocabulary, width=width, heads=heads)
        self.vocabulary, self.width, self.heads, self.mlp_ratio = vocabulary, width, heads, mlp_ratio
        self.coordinates = coordinates
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.tokens = nn.Embedding(vocabulary, 3 * width)
        nn.init.normal_(self.tokens.weight, std=INITIAL)
        self.nothing = nn.Parameter(torch.zeros(width))
        self.attended = zeroed(nn.Linear(width, width, bias=False))
        self.left, self.right = (zeroed(nn.Linear(width, width, bias=False)) for _ in range(2))
        hidden = max(8, 8 * round(mlp_ratio * width / 8))
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = zeroed(nn.Linear(hidden, width, bias=False))
        self.norm = nn.RMSNorm(width, elementwise_affine=False)
        self.head_norm = nn.RMSNorm(width // heads, elementwise_affine=False)
        self.out = nn.Linear(width, vocabulary, bias=False)

    def projected(self, features: Float[Tensor, "rows n width"]) -> Float[Tensor, "rows n four_widths"]:
        """What every position gives to the head, whatever is drawn: its features, query, key and value.

        Args:
            features: Features of the network, normalised.

        Returns:
            [rows, n, 4 width].
        """
        return torch.cat([features, self.project(features)], -1)

    def forward(
        self,
        projected: Float[Tensor, "rows n four_widths"],
        x: Int64[Tensor, "rows n"],
        drawn: Bool[Tensor, "rows n"],
        places: Int64[Tensor, "rows m"],
    ) -> Float[Tensor, "rows m width"]:
        """Features of some positions after reading the drawn tokens; `out` gives their logits.

        Args:
            projected: From `projected`.
            x: Tokens; those that are not drawn do not count.
            drawn: True where a token is drawn; at least one in each row.
            places: Positions that are asked for.

        Returns:
            [rows, m, width], normalised.
        """
        most = int(drawn.sum(1).max()) if len(drawn) else 0
        order = drawn.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        real = drawn.gather(1, order)
        features, query = _rows(projected[..., : 2 * self.width], places).chunk(2, -1)
        own = _rows(projected[..., 2 * self.width :], order)
        read = self.tokens(torch.where(real, x.gather(1, order), 0))
        key, value = (own + read[..., : 2 * self.width]).chunk(2, -1)
        h = features + self._attended(query, key, value, real, places, order)
        for linear, shift in ((self.left, -1), (self.right, 1)):
            beside, inside = places + shift, (places + shift >= 0) & (places + shift < x.shape[1])
            beside = beside.clamp(0, x.shape[1] - 1)
            known = (drawn.gather(1, beside) & inside)[..., None]
            near = self.tokens(torch.where(known[..., 0], x.gather(1, beside), 0))[..., 2 * self.width :]
            h = h + linear(torch.where(known, near, 0.0))
        gate, through = self.up(self.norm(h)).chunk(2, -1)
        return self.norm(h + self.down(F.silu(gate) * through))

    def _attended(
        self, query: Tensor, key: Tensor, value: Tensor, real: Tensor, places: Tensor, order: Tensor
    ) -> Float[Tensor, "rows m width"]:
        """Attention to the drawn tokens, or to a key without a value."""
        query, key, value = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (query, key, value))
        query, key = self.head_norm(query), self.head_norm(key)
        query = rotate(query, self._angles(places)).to(value.dtype)
        key = rotate(key, self._angles(order)).to(value.dtype)
        nothing = self.nothing.view(self.heads, 1, -1).to(key.dtype).expand(len(key), -1, -1, -1)
        key, value = torch.cat([nothing, key], 2), F.pad(value, (0, 0, 1, 0))
        mask = F.pad(real, (1, 0), value=True)[:, None, None]
        return self.attended(attention(query, key, value, mask).transpose(1, 2).flatten(2))

    def _angles(self, places: Tensor) -> Tensor:
        """Rotary angles, [rows, 1, n, half]."""
        of = places[..., None]
        if self.coordinates is not None:
            of = torch.tensor([list(map(int, each)) for each in self.coordinates], device=places.device)[places]
        return rotary_angles(of, self.width // self.heads)[:, None]


def _rows(values: Tensor, places: Int64[Tensor, "rows m"]) -> Tensor:
    """Values [rows, n, width] at some positions of each row."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))

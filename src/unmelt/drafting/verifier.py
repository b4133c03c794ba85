"""A verifier: a causal model that gives the laws of several next tokens in one pass, with a cache that can be cut.

    read      logits of the tokens at begin, begin + 1, ..., begin + n - 1 of each row, each given all tokens before it
    retain    the cache of the tokens before begin - 1; whatever was read of later tokens is forgotten

Rows stand at places of their own. What is written at a slot of the cache from `kv_length` on is never read again, so
rejected tokens are forgotten by a smaller number.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unmelt.backbone.kv_cache import KVCache


class Reading(NamedTuple):
    """What one pass gives.

    Args:
        logits: Logits of the asked tokens; 0 for those after the end of the rows.
        cache: The cache after the pass, of which `retain` keeps what is right.
        hidden: Hidden states at the tokens that were read, and the positions of these; None if not asked for.
    """

    logits: Float[Tensor, "rows n vocabulary"]
    cache: KVCache
    hidden: tuple[Float[Tensor, "rows read features"], Int64[Tensor, "rows read"]] | None = None


@runtime_checkable
class Verifier(Protocol):
    """A causal model of tokens. `AutoregressiveVerifier` and `TransformersVerifier` are verifiers."""

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        ...

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        ...

    @property
    def shortest_prompt(self) -> int:
        """Tokens that a row must begin with."""
        ...

    def init_cache(self, rows: int, length: int) -> KVCache:
        """A cache in which nothing has been read, on the model's device.

        Args:
            rows: Number of rows.
            length: Positions of a row.

        Returns:
            The cache.
        """
        ...

    def read(
        self,
        x: Int64[Tensor, "rows length"],
        begin: Int64[Tensor, " rows"],
        n: int,
        cache: KVCache,
        layers: tuple[int, ...] = (),
    ) -> Reading:
        """Logits of n tokens of each row. Runs without autograd.

        Args:
            x: The whole rows. What stands at begin + n - 1 and after it is not read.
            begin: Position of the first token whose logits are asked for.
            n: Number of tokens.
            cache: What was read before. It stays valid.
            layers: Layers whose hidden states are asked for.

        Returns:
            Logits, cache and hidden states.
        """
        ...

    def retain(self, cache: KVCache, begin: Int64[Tensor, " rows"]) -> KVCache:
        """The cache of a pass without what was read of tokens that turned out otherwise.

        Args:
            cache: The cache of a `Reading`.
            begin: Position of the next token to ask for. The token before it may not have been read, all others have.

        Returns:
            The cache, in the same buffer.
        """
        ...


class Window(NamedTuple):
    """Positions that a pass reads.

    Args:
        positions: The positions of each row.
        where: True at those whose logits are asked for.
        inside: True at those of n places from `first` on that are positions of a row.
        cache: The cache to write to.
    """

    positions: Int64[Tensor, "rows read"]
    where: Bool[Tensor, "rows read"]
    inside: Bool[Tensor, "rows n"]
    cache: KVCache


def window(first: Int64[Tensor, " rows"], n: int, cache: KVCache, length: int) -> Window:
    """The positions that have not been read up to n places from `first` on, as many for all rows.

    Args:
        first: First position of each row whose logits are asked for.
        n: Number of positions.
        cache: What was read before.
        length: Positions of a row.

    Returns:
        The window.
    """
    end = (first + n).clamp_max(length)
    cache = cache.appendable(torch.minimum(cache.kv_length, first))
    count = int((end - cache.kv_length).max())
    positions = (end - count).clamp_min(0)[:, None] + torch.arange(count, device=first.device)
    where = (positions >= first[:, None]) & (positions < end[:, None])
    inside = first[:, None] + torch.arange(n, device=first.device) < length
    return Window(positions, where, inside, cache)

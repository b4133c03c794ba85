"""This library's cache in the place of the own cache of a model of `transformers`.

Its slots are numbered, so that each row may have read another number of positions, and rows can be rolled back one by
one. The model is given the positions of what it reads and a mask; the cache does no more than write and return.
"""

from __future__ import annotations

import inspect
from typing import Any, final

from jaxtyping import Int64
from torch import Tensor

from unmelt.backbone.kv_cache import KVCache


@final
class TransformersCache:
    """What the model takes for its cache: it writes new keys and values to their slots, and returns all up to the last.

    Args:
        cache: The cache, written in place.
        positions: Slots of the tokens that are read.
    """

    is_compileable = False

    def __init__(self, cache: KVCache, positions: Int64[Tensor, "rows n"]) -> None:
        self.cache, self.positions, self.keys = cache, positions, int(positions.max()) + 1

    def update(self, key: Tensor, value: Tensor, layer: int, *rest: Any, kwargs: Any = None) -> tuple[Tensor, Tensor]:
        """Write and read one layer.

        Args:
            key: New keys.
            value: New values.
            layer: Number of the layer.
            rest: Not read.
            kwargs: Not read.

        Returns:
            Keys and values of all slots.
        """
        self.cache.write(layer, self.positions, key, value)
        slots = self.cache.kv[:, layer, :, :, : self.keys]
        return slots[:, 0], slots[:, 1]

    def get_seq_length(self, layer: int = 0) -> int:
        """Number of slots before the first position that is read.

        Args:
            layer: Number of the layer.

        Returns:
            The number.
        """
        return int(self.positions.min())


def cache_argument(model: Any) -> str:
    """What a model calls its cache: "cache" in newer versions of transformers.

    Args:
        model: The model.

    Returns:
        The name of the argument.
    """
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"

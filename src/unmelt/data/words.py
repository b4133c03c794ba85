"""Captions as tokens to attend to, without a vocabulary: each word is a hash of its pieces.

A word's features are the signed hashes of its runs of three to five letters and of the whole word, scaled to unit
length (Bojanowski et al., 2017; Weinberger et al., 2009), and beside them sines of its place. Words never seen still
resemble those they are made like. Nothing here is learned; the network learns what the features mean.
"""

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

HASHED, PLACED, LENGTH = 240, 16, 32
WIDTH = HASHED + PLACED
"""Numbers in a token, and words in a caption; those after are cut."""


class Words(NamedTuple):
    sequence: Float[Tensor, "rows length width"]
    mask: Bool[Tensor, "rows length"]


def words(captions: Sequence[str | None]) -> Words:
    """Tokens of each caption; a row without one has none to attend to."""
    split = [re.findall(r"\w+|[^\w\s]", (caption or "").lower())[:LENGTH] for caption in captions]
    length = max(1, max(map(len, split), default=1))
    sequence = torch.zeros(len(split), length, WIDTH)
    mask = torch.zeros(len(split), length, dtype=torch.bool)
    for row, each in enumerate(split):
        if each:
            sequence[row, : len(each), :HASHED] = torch.stack([_hashed(word) for word in each])
            sequence[row, : len(each), HASHED:] = _places()[: len(each)]
            mask[row, : len(each)] = True
    return Words(sequence, mask)


@lru_cache(maxsize=65_536)
def _hashed(word: str) -> Float[Tensor, " hashed"]:
    inside, features = f"<{word}>", torch.zeros(HASHED)
    pieces = {inside[i : i + n] for n in (3, 4, 5) for i in range(len(inside) - n + 1)} | {inside}
    for piece in pieces:
        hashed = zlib.crc32(piece.encode())
        features[hashed % HASHED] += 1.0 if hashed >> 31 else -1.0
    return features / features.norm().clamp_min(1e-6)


@lru_cache(maxsize=1)
def _places() -> Float[Tensor, "length placed"]:
    angles = torch.arange(LENGTH)[:, None] * torch.pi / LENGTH * 2.0 ** torch.arange(PLACED // 2)
    return torch.cat([angles.sin(), angles.cos()], 1) / (PLACED // 2) ** 0.5

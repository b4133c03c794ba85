"""Captions as hashed words, without a vocabulary and without anything learned.

A word's features are the signed hashes of its runs of three to five letters and of the whole word, scaled to unit
length (Bojanowski et al., 2017; Weinberger et al., 2009):

    features(word) = u / |u|,      u[h(piece) mod 240] += sign(h(piece))      for each different piece of "<word>"

where h is CRC-32 and its highest bit is the sign. Sines and cosines of the word's position stand after them. A word
that was never seen in training still resembles the words that share its pieces. The network learns what the features
mean.
"""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.encoder.encoder import EncodedText

_HASHED, _POSITION, _LENGTH = 240, 16, 32
"""Hashed features of a word, features of its position, and words in a caption; those after are cut."""


@final
@dataclass(frozen=True)
class HashedCaptionEncoder:
    """Encodes a caption as one vector a word: hashed letters and the word's position. Frozen, no parameters.

    Letters are lower-cased, punctuation marks are words of their own, and a caption is cut after 32 words.
    """

    @property
    def width(self) -> int:
        """The number of features of each word: 256."""
        return _HASHED + _POSITION

    def __call__(self, captions: Sequence[str | None]) -> EncodedText:
        """Encode captions as hashed words.

        Args:
            captions: One caption a row; None or an empty one leaves the row without tokens.

        Returns:
            sequence [rows, length, 256] and mask [rows, length]; the length is that of the longest caption, at least 1.
        """
        split = [re.findall(r"\w+|[^\w\s]", (caption or "").lower())[:_LENGTH] for caption in captions]
        length = max(1, max(map(len, split), default=1))
        sequence = torch.zeros(len(split), length, self.width)
        mask = torch.zeros(len(split), length, dtype=torch.bool)
        for row, words in enumerate(split):
            if words:
                sequence[row, : len(words), :_HASHED] = torch.stack([_hashed(word) for word in words])
                sequence[row, : len(words), _HASHED:] = _positions()[: len(words)]
                mask[row, : len(words)] = True
        return EncodedText(sequence, mask)


@lru_cache(maxsize=65_536)
def _hashed(word: str) -> Float[Tensor, " hashed"]:
    bounded, features = f"<{word}>", torch.zeros(_HASHED)
    pieces = {bounded[i : i + n] for n in (3, 4, 5) for i in range(len(bounded) - n + 1)} | {bounded}
    for piece in pieces:
        code = zlib.crc32(piece.encode("utf-8", "surrogatepass"))
        features[code % _HASHED] += 1.0 if code >> 31 else -1.0
    return features / features.norm().clamp_min(1e-6)


@lru_cache(maxsize=1)
def _positions() -> Float[Tensor, "length features"]:
    angles = torch.arange(_LENGTH)[:, None] * torch.pi / _LENGTH * 2.0 ** torch.arange(_POSITION // 2)
    return torch.cat([angles.sin(), angles.cos()], 1) / (_POSITION // 2) ** 0.5

"""Captions as hashed words, without a vocabulary and without anything learned.

A word's features are the signed hashes of its runs of three to five letters and of the whole word, scaled to unit
length (Bojanowski et al., 2017; Weinberger et al., 2009):

    features(word) = u / |u|,      u[h(piece) mod 240] += sign(h(piece))      for each different piece of "<word>"

where h is CRC-32 and its highest bit is the sign. Sines and cosines of the word's position stand after them. A word
that was never seen in training still resembles the words that share its pieces. The network learns what the features
mean.

With context, each word also has what stands before and after it in its clause, every word half as loud as the next
nearer one, so that "red" and "star" in "a red star; a blue cat" say that they belong together:

    before(i) = (features(i - 1) + before(i - 1)) / 2,      after(i) = (features(i + 1) + after(i + 1)) / 2
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

from unmelt.arguments import checked_init
from unmelt.encoder.encoder import EncodedText

_HASHED, _POSITION, _LENGTH = 240, 16, 32
"""Hashed features of a word, features of its position, and words in a caption; those after are cut."""

_ENDS = frozenset(";|.")
"""Marks between clauses."""


@final
@checked_init("um.encoder.HashedCaptionEncoder")
@dataclass(frozen=True)
class HashedCaptionEncoder:
    """Encodes a caption as one vector a word: hashed letters and the word's position. Frozen, no parameters.

    Letters are lower-cased, punctuation marks are words of their own, and a caption is cut after 32 words.

    Args:
        context: Whether each word also has the features of the words around it. A network that attends to words then
            learns sooner which of them belong together.
    """

    context: bool = False

    @property
    def width(self) -> int:
        """The number of features of each word: 256, with context 736."""
        return (3 if self.context else 1) * _HASHED + _POSITION

    def __call__(self, captions: Sequence[str | None]) -> EncodedText:
        """Encode captions as hashed words.

        Args:
            captions: One caption a row; None or an empty one leaves the row without tokens.

        Returns:
            sequence [rows, length, width] and mask [rows, length]; the length is that of the longest caption, or 1.
        """
        split = [re.findall(r"\w+|[^\w\s]", (caption or "").lower())[:_LENGTH] for caption in captions]
        length = max(1, max(map(len, split), default=1))
        sequence = torch.zeros(len(split), length, self.width)
        mask = torch.zeros(len(split), length, dtype=torch.bool)
        for row, words in enumerate(split):
            if words:
                hashed = [_hashed(word) for word in words]
                around = [_before(words, hashed), _before(words[::-1], hashed[::-1]).flip(0)] if self.context else []
                features = torch.cat([torch.stack(hashed), _positions()[: len(words)], *around], dim=1)
                sequence[row, : len(words)] = features
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


def _before(words: Sequence[str], hashed: Sequence[Tensor]) -> Float[Tensor, "words hashed"]:
    """What stands before each word in its clause; nothing for the marks that end clauses."""
    found = [torch.zeros(_HASHED)]
    for word, features in zip(words[:-1], hashed[:-1], strict=True):
        found.append(torch.zeros(_HASHED) if word in _ENDS else (found[-1] + features) / 2)
    return torch.stack(
        [torch.zeros(_HASHED) if word in _ENDS else each for word, each in zip(words, found, strict=True)]
    )


@lru_cache(maxsize=1)
def _positions() -> Float[Tensor, "length features"]:
    angles = torch.arange(_LENGTH)[:, None] * torch.pi / _LENGTH * 2.0 ** torch.arange(_POSITION // 2)
    return torch.cat([angles.sin(), angles.cos()], 1) / (_POSITION // 2) ** 0.5

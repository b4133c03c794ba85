"""Text as UTF-8 bytes: 256 tokens, nothing to learn, the same for every language."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.codec.tokenizer import SPECIAL, utf8


@final
@dataclass(frozen=True)
class Bytes:
    """A tokenizer with one token for each byte of UTF-8."""

    @property
    def vocabulary(self) -> int:
        return 256 + len(SPECIAL)

    @property
    def sizes(self) -> Int64[Tensor, " vocabulary"]:
        return (torch.arange(self.vocabulary) < 256).long()

    def encode(self, text: str) -> list[int]:
        return list(utf8(text))

    def decode(self, tokens: Iterable[int]) -> str:
        """Decode bytes. Those that are not UTF-8, which samples may contain, become replacement characters."""
        return bytes(token for token in tokens if token < 256).decode(errors="replace")

    def special(self, name: str) -> int:
        return 256 + SPECIAL.index(name)

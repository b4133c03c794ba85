"""Text in a small alphabet: one token for each of its letters."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.codec.tokenizer import SPECIAL
from unmelt.errors import UsageError


@final
@dataclass(frozen=True)
class Symbols:
    """letters   all that there are, each once; letter k is token k"""

    letters: str

    def __post_init__(self) -> None:
        if not self.letters or len(set(self.letters)) < len(self.letters):
            raise UsageError(f"Symbols({self.letters!r})", "letters, each of them once", "Symbols('0123456789')")

    @property
    def vocabulary(self) -> int:
        return len(self.letters) + len(SPECIAL)

    @property
    def sizes(self) -> Int64[Tensor, " vocabulary"]:
        return torch.tensor([len(letter.encode()) for letter in self.letters] + [0] * len(SPECIAL))

    def encode(self, text: str) -> list[int]:
        strange = sorted(set(text) - set(self.letters))
        if strange:
            raise UsageError(f"text with {''.join(strange[:10])!r} in it", f"letters of {self.letters!r} alone")
        return [self.letters.index(letter) for letter in text]

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.letters[token] for token in tokens if token < len(self.letters))

    def special(self, name: str) -> int:
        return len(self.letters) + SPECIAL.index(name)

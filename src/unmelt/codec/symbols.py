"""Text in a small alphabet: one token for each letter."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.codec.tokenizer import SPECIAL
from unmelt.errors import UsageError


@final
@checked_init("um.codec.Symbols")
@dataclass(frozen=True)
class Symbols:
    """A tokenizer with one token for each letter of an alphabet.

    Args:
        letters: The alphabet, each letter once; letter k is token k.

    Raises:
        UsageError: If there is no letter or one is repeated.
    """

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
        unknown = sorted(set(text) - set(self.letters))
        if unknown:
            raise UsageError(f"text with {''.join(unknown[:10])!a} in it", f"letters of {self.letters!r} alone")
        return [self.letters.index(letter) for letter in text]

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.letters[token] for token in tokens if token < len(self.letters))

    def special(self, name: str) -> int:
        return len(self.letters) + SPECIAL.index(name)

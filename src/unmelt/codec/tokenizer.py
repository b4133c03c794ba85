"""Text to tokens and back."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from jaxtyping import Int64
from torch import Tensor

SPECIAL = ("end", "padding", "prefix", "suffix", "middle")
"""Tokens that stand for no text, after all that do: the end of a document; what fills a row up after it; and the marks
of a row that is written out of order, its suffix first."""


@runtime_checkable
class Tokenizer(Protocol):
    """Lossless: decode(encode(text)) is the text. Specials decode to nothing."""

    @property
    def vocabulary(self) -> int:
        """All tokens, specials too."""

    @property
    def sizes(self) -> Int64[Tensor, " vocabulary"]:
        """Bytes of text that each token stands for."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, tokens: Iterable[int]) -> str: ...

    def special(self, name: str) -> int:
        """One of `SPECIAL`."""

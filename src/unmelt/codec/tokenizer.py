"""The interface of tokenizers, from text to tokens and back."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from jaxtyping import Int64
from torch import Tensor

from unmelt.errors import UsageError

SPECIAL = ("end", "padding", "prefix", "suffix", "middle")
"""Tokens that stand for no text, numbered after all others: the end of a document, padding after it, and the markers of
a row that is rearranged to fill in the middle, with its suffix first."""


@runtime_checkable
class Tokenizer(Protocol):
    """A lossless tokenizer: decode(encode(text)) is the text. Special tokens decode to nothing."""

    @property
    def vocabulary(self) -> int:
        """The number of tokens, special ones included."""

    @property
    def sizes(self) -> Int64[Tensor, " vocabulary"]:
        """[vocabulary], the bytes of text that each token stands for; 0 for special tokens."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a text.

        Args:
            text: Any text that the tokenizer can represent.

        Returns:
            The tokens, without special ones.
        """

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens.

        Args:
            tokens: Any tokens; special ones are left out.

        Returns:
            The text.
        """

    def special(self, name: str) -> int:
        """The number of a special token.

        Args:
            name: One of `SPECIAL`.

        Returns:
            The token.
        """


def utf8(text: str) -> bytes:
    """The UTF-8 bytes of a text.

    Args:
        text: The text.

    Returns:
        Its bytes.

    Raises:
        UsageError: If it holds half of a surrogate pair, which UTF-8 cannot express. Python makes such halves of bytes
            that are not UTF-8, in arguments and names of files.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"text with {text[error.start]!a} at position {error.start}",
            "text that UTF-8 can express, without halves of surrogate pairs",
            "text.encode('utf-8', 'replace').decode()",
        ) from None

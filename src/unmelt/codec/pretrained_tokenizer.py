"""A tokenizer of somebody else's language model, in the form of the `tokenizers` library (a tokenizer.json).

Its token numbers are the model's own. The file is kept as bytes among the weights of a model, so that a run folder is
complete without the folder that the tokenizer came from. Special tokens have no bytes and decode to nothing.

Not every such tokenizer is lossless: one that lowers letters or joins blanks decodes to the text as it sees it.
"""

from collections.abc import Iterable
from typing import Any, final

import torch
from torch import nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.codec.bpe import tokenizers_library
from unmelt.codec.tokenizer import utf8
from unmelt.errors import UsageError

ABSENT = -1
"""What stands for a special token that a tokenizer does not have; no token has this number."""


@final
@checked_init("um.codec.PretrainedTokenizer")
class PretrainedTokenizer(CallRepr, nn.Module):
    """A tokenizer.json as a tokenizer. `PretrainedTokenizer.of` makes one; its bytes are loaded like weights.

    Args:
        size: Bytes of the file.
        vocabulary: Number of tokens. A number that the file does not know stands for no text.
        end: Number of the token that ends a text.
        padding: Number of the token that fills rows up.
        special_tokens_in_text: Whether the name of a special token in a text, such as "<|im_start|>", is read as that
            token. False: it is text like any other.

    Raises:
        UsageError: If there are no bytes, or a token is not in the vocabulary.
    """

    file: torch.Tensor
    sizes: torch.Tensor

    def __init__(
        self, *, size: int, vocabulary: int, end: int, padding: int, special_tokens_in_text: bool = False
    ) -> None:
        super().__init__()
        if size < 1 or not (0 <= end < vocabulary and 0 <= padding < vocabulary):
            raise UsageError(
                f"size={size}, end={end} and padding={padding} for {vocabulary} tokens",
                "the bytes of a file, and tokens of the vocabulary",
                "PretrainedTokenizer.of(json, vocabulary=..., end=..., padding=...)",
            )
        self.size, self.vocabulary, self.end, self.padding = size, vocabulary, end, padding
        self.special_tokens_in_text = special_tokens_in_text
        self.register_buffer("file", torch.zeros(size, dtype=torch.uint8))
        self.register_buffer("sizes", torch.zeros(vocabulary, dtype=torch.int64))
        self._read: Any = None

    @classmethod
    def of(
        cls, json: str, *, vocabulary: int, end: int, padding: int, special_tokens_in_text: bool = False
    ) -> "PretrainedTokenizer":
        """Make a tokenizer of the content of a tokenizer.json.

        Args:
            json: The content.
            vocabulary: Number of tokens, at least those of the file.
            end: Number of the token that ends a text.
            padding: Number of the token that fills rows up.
            special_tokens_in_text: Whether names of special tokens in a text are read as those tokens.

        Returns:
            The tokenizer.

        Raises:
            UsageError: If the content cannot be read.
        """
        content = json.encode()
        made = cls(
            size=len(content),
            vocabulary=vocabulary,
            end=end,
            padding=padding,
            special_tokens_in_text=special_tokens_in_text,
        )
        made.file.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        made.sizes.copy_(made._bytes_of_tokens())
        return made

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(utf8(text).decode(), add_special_tokens=False).ids)

    def decode(self, tokens: Iterable[int]) -> str:
        known = [token for token in tokens if token < self.vocabulary and token not in (self.end, self.padding)]
        return str(self._tokenizer.decode(known, skip_special_tokens=True))

    def special(self, name: str) -> int:
        return {"end": self.end, "padding": self.padding}.get(name, ABSENT)

    @property
    def _tokenizer(self) -> Any:
        """The library's tokenizer, made at the first use after the bytes were loaded."""
        content = self.file.numpy().tobytes() if self._read is None else b""
        if self._read is None:
            try:
                made = tokenizers_library().Tokenizer.from_str(content.decode())
            except UsageError:
                raise
            except Exception as error:  # the library raises plain exceptions
                raise UsageError(
                    f"a tokenizer that cannot be read ({str(error).splitlines()[0]})",
                    "the content of a tokenizer.json",
                    "tokenizer.save_pretrained(folder)",
                ) from None
            made.no_truncation()
            made.no_padding()
            made.encode_special_tokens = not self.special_tokens_in_text
            self._read = made
        return self._read

    def _apply(self, fn: Any, recurse: bool = True) -> "PretrainedTokenizer":
        return self  # text is read on the CPU, wherever the model computes

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._read = None

    def _bytes_of_tokens(self) -> torch.Tensor:
        """[vocabulary], bytes of text that each token stands for.

        In byte-level tokenizers every letter of a token is a byte. In others a leading "##" or blank sign is what the
        decoder makes of it when the token stands alone.
        """
        tokenizer, sizes = self._tokenizer, torch.zeros(self.vocabulary, dtype=torch.int64)
        special = {number for number, each in tokenizer.get_added_tokens_decoder().items() if each.special}
        is_bytes = "ByteLevel" in type(tokenizer.decoder).__name__ if tokenizer.decoder is not None else False
        for token, number in tokenizer.get_vocab(with_added_tokens=True).items():
            if number not in special and number < self.vocabulary:
                plain = token if is_bytes else token.removeprefix("##").replace("\u2581", " ")
                sizes[number] = len(plain) if is_bytes else len(plain.encode())
        return sizes

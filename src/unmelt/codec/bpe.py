"""Byte-pair encoding (Sennrich et al., 2016): bytes, and one token for each frequent sequence of bytes.

Learned and applied by the `tokenizers` library, on bytes, so that any text can be encoded. A tokenizer is its merges,
in order: merge k makes token 256 + k.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.codec.tokenizer import SPECIAL, utf8
from unmelt.errors import UsageError


@final
@checked_init("um.codec.BPE")
@dataclass(frozen=True)
class BPE:
    """A byte-pair tokenizer.

    Args:
        merges: "left right" for each merge, in the order they are applied, in printable letters that stand for bytes.
    """

    merges: tuple[str, ...]

    @classmethod
    def learned(cls, texts: Iterable[str], vocabulary: int) -> "BPE":
        """Learn the merges from texts.

        Args:
            texts: The texts to learn from.
            vocabulary: Tokens in all, special ones included; there are fewer if the texts have fewer pairs to merge.

        Returns:
            The tokenizer.

        Raises:
            UsageError: If the vocabulary leaves no room for a merge, or the `tokenizers` library is not installed.
        """
        merges = vocabulary - 256 - len(SPECIAL)
        if merges < 1:
            raise UsageError(f"vocabulary={vocabulary}", f"more than {256 + len(SPECIAL)}", "vocabulary=2048")
        library = tokenizers_library()
        tokenizer = _plain(library, [])
        trainer = library.trainers.BpeTrainer(
            vocab_size=256 + merges,
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=[],
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tuple(_merges(tokenizer)))

    @property
    def vocabulary(self) -> int:
        return 256 + len(self.merges) + len(SPECIAL)

    @cached_property
    def _tokenizer(self) -> Any:
        return _plain(tokenizers_library(), self.merges)

    @cached_property
    def sizes(self) -> Int64[Tensor, " vocabulary"]:
        names = [*_letters(), *(merge.replace(" ", "") for merge in self.merges)]
        return torch.tensor([len(name) for name in names] + [0] * len(SPECIAL))

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(utf8(text).decode()).ids)

    def decode(self, tokens: Iterable[int]) -> str:
        first_special = self.vocabulary - len(SPECIAL)
        return str(self._tokenizer.decode([token for token in tokens if token < first_special]))

    def special(self, name: str) -> int:
        return self.vocabulary - len(SPECIAL) + SPECIAL.index(name)


def tokenizers_library() -> Any:
    """The `tokenizers` library, which is optional.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        import tokenizers
    except ImportError:
        raise UsageError(
            "byte pairs without the tokenizers library", "that it is installed", "pip install 'unmelt[text]'"
        ) from None
    return tokenizers


def _letters() -> list[str]:
    """The printable letter that stands for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _plain(library: Any, merges: Sequence[str]) -> Any:
    """The library's own tokenizer with these merges."""
    pairs = [tuple(merge.split(" ")) for merge in merges]
    names = [*_letters(), *("".join(pair) for pair in pairs)]
    model = library.models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=pairs)
    tokenizer = library.Tokenizer(model)
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


def _merges(tokenizer: Any) -> Iterator[str]:
    for merge in json.loads(tokenizer.to_str())["model"]["merges"]:
        yield merge if isinstance(merge, str) else " ".join(merge)

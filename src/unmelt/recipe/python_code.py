"""The standard library's source as rows of tokens, the same for every recipe that trains on it."""

from functools import lru_cache
from typing import NamedTuple

from unmelt.codec import BPE
from unmelt.data import Arrays, pack_tokens, python_source, split_documents


class Corpus(NamedTuple):
    """A tokenized corpus.

    Args:
        tokenizer: Byte pairs learned on the training part.
        source: Rows of the training part.
        held_out: Rows of the held-out part.
        notes: A sentence on the split, for the run folder.
    """

    tokenizer: BPE
    source: Arrays
    held_out: Arrays
    notes: str


@lru_cache(maxsize=2)
def python_code(vocabulary: int, length: int, seed: int) -> Corpus:
    """Split the modules by file, a tenth held out, and learn byte pairs on the rest.

    Args:
        vocabulary: Vocabulary size.
        length: Tokens in a row.
        seed: Seed of the order in which rows come.

    Returns:
        The corpus; the same object for the same arguments.
    """
    rest, held_out = split_documents(python_source(), 0.1, by="position")
    tokenizer = BPE.learned((each.text for each in rest), vocabulary)
    source, held_out_source = (
        pack_tokens((each.text for each in part), tokenizer, length, seed) for part in (rest, held_out)
    )
    return Corpus(tokenizer, source, held_out_source, f"{len(rest)} modules to learn from, {len(held_out)} held out")

"""The standard library's source as rows of tokens, the same for every recipe that learns it."""

from functools import lru_cache
from typing import NamedTuple

from unmelt.codec import BPE
from unmelt.data import Arrays, packed, parted, python_source


class Corpus(NamedTuple):
    tokenizer: BPE
    real: Arrays
    aside: Arrays
    notes: str


@lru_cache(maxsize=2)
def python_code(vocabulary: int, length: int, seed: int) -> Corpus:
    """Split by file, a tenth held out; byte pairs learned on the rest."""
    rest, aside = parted(python_source(), 0.1)
    tokenizer = BPE.learned((each.text for each in rest), vocabulary)
    real, judged = (packed((each.text for each in part), tokenizer, length, seed) for part in (rest, aside))
    return Corpus(tokenizer, real, judged, f"{len(rest)} modules to learn from, {len(aside)} held out")

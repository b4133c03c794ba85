"""What texts are compared by: how often every run of n characters occurs.

    JS(p, q) = H((p + q) / 2) - H(p) / 2 - H(q) / 2                          Jensen-Shannon, in bits; Lin, 1991, eq. 4.1
    distinct = (different n-grams) / (n-grams)                               Li et al., 2016, section 5.2

JS is 0 for equal frequencies and 1 bit where no n-gram is shared. Both depend on the amount of text: compare them at
equal numbers of characters, beside what real text gets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from unmelt.errors import UsageError


def ngram_divergence(a: Sequence[str], b: Sequence[str], n: int = 3) -> float:
    """Measure how much the n-gram frequencies of two sets of texts differ.

    Args:
        a: Texts.
        b: Other texts.
        n: Characters in an n-gram.

    Returns:
        The Jensen-Shannon divergence in bits, from 0 (equal frequencies) to 1 (no n-gram in common).

    Raises:
        UsageError: If n is below 1, or all texts of a set are shorter than n characters.
    """
    counts = _counted(a, n), _counted(b, n)
    grams = sorted(counts[0].keys() | counts[1].keys())
    p, q = (np.array([count[gram] for gram in grams]) / count.total() for count in counts)
    return float(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2)


def distinct_ngrams(texts: Sequence[str], n: int = 3) -> float:
    """Measure repetition: the share of n-grams that are different from one another.

    Args:
        texts: Texts.
        n: Characters in an n-gram.

    Returns:
        The number of different n-grams over the number of n-grams; 1 where none comes twice.

    Raises:
        UsageError: If n is below 1, or all texts are shorter than n characters.
    """
    counts = _counted(texts, n)
    return len(counts) / counts.total()


def _counted(texts: Sequence[str], n: int) -> Counter[str]:
    counts = Counter(text[i : i + n] for text in texts for i in range(len(text) - n + 1)) if n >= 1 else Counter()
    if not counts:
        raise UsageError(f"{len(texts)} texts without any run of {n} characters", "longer texts, or n=1", "n=1")
    return counts


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())

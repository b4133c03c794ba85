"""n-grams: divergences and shares worked out by hand."""

import math

import pytest

from unmelt.errors import UsageError
from unmelt.metric import distinct_ngrams, ngram_divergence


def test_equal_frequencies_are_at_0_and_disjoint_ones_at_1_bit():
    assert ngram_divergence(["abcd"], ["abc", "bcd"]) == pytest.approx(0, abs=1e-12)
    assert ngram_divergence(["aaaa"], ["bbbb", "cccc"]) == pytest.approx(1)


def test_the_divergence_is_the_one_of_the_formula():
    # Single letters: p = (3/4, 1/4), q = (1/2, 1/2), middle (5/8, 3/8).
    def entropy(p):
        return -sum(x * math.log2(x) for x in (p, 1 - p))

    expected = entropy(5 / 8) - (entropy(3 / 4) + entropy(1 / 2)) / 2
    assert ngram_divergence(["aaab"], ["ab", "ba"], n=1) == pytest.approx(expected)
    assert ngram_divergence(["ab", "ba"], ["aaab"], n=1) == pytest.approx(expected)


def test_runs_do_not_cross_from_one_text_to_the_next():
    assert ngram_divergence(["ab", "ba"], ["abba"], n=2) > 0.1
    assert distinct_ngrams(["ab", "ab"], n=2) == 0.5


def test_repetition_lowers_the_share_of_distinct_runs():
    assert distinct_ngrams(["abcdef"]) == 1
    assert distinct_ngrams(["ababab"], n=2) == 2 / 5
    assert distinct_ngrams(["aaaaaaaa"], n=3) == 1 / 6


def test_texts_that_are_too_short_are_refused():
    with pytest.raises(UsageError, match="without any run of 3 characters"):
        ngram_divergence(["ab", ""], ["abc"])
    with pytest.raises(UsageError, match="without any run of 0 characters"):
        distinct_ngrams(["abc"], n=0)

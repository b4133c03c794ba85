"""The best length of a block: against every length by simulation of the formula's terms, and what passes cost."""

import random

import pytest
from drafting.tables import TableVerifier

from unmelt.drafting import best_block, pass_milliseconds
from unmelt.errors import UsageError


def simulated(acceptance, block, passes=40_000, seed=0):
    """Tokens a pass, by drawing passes."""
    of, written = random.Random(seed), 0
    for _ in range(passes):
        written += 1
        for a in acceptance[:block]:
            if of.random() >= a:
                break
            written += 1
    return written / passes


def test_tokens_a_pass_are_those_of_simulated_passes():
    acceptance, ms = [0.8, 0.7, 0.6, 0.5], [50.0, 55.0, 60.0, 65.0, 70.0]
    found = best_block(ms, acceptance, 4.0)
    rates = [simulated(acceptance, b) / (ms[b] + (4.0 if b else 0.0)) for b in range(5)]
    assert found.block == rates.index(max(rates))
    assert found.tokens_a_pass == pytest.approx(simulated(acceptance, found.block), rel=0.02)
    assert found.times_faster == pytest.approx(max(rates) / rates[0], rel=0.02)
    assert found.milliseconds_a_token == pytest.approx(1 / max(rates), rel=0.02)


def test_by_hand():
    assert best_block([10.0, 10.0, 10.0], [0.5, 0.5]) == (2, 1.75, 10 / 1.75, 1.75)
    assert best_block([10.0, 12.0, 30.0], [0.5, 0.9]).block == 1
    assert best_block([10.0, 12.0], [0.1]) == (0, 1.0, 10.0, 1.0)
    assert best_block([10.0, 10.0], [0.5], 6.0).block == 0  # drafting costs more than it saves
    assert best_block([10.0], [0.9]).block == 0  # what a longer pass costs is not known


def test_what_is_none_is_refused():
    for ms, acceptance in (([], [0.5]), ([0.0], [0.5]), ([1.0], [1.5])):
        with pytest.raises(UsageError):
            best_block(ms, acceptance)
    with pytest.raises(UsageError):
        pass_milliseconds(TableVerifier(0, length=4), most=9)


class Slow(TableVerifier):
    """Notes what it reads."""

    def __init__(self):
        super().__init__(0, length=1)
        self.length, self.read_ = 40, []

    def read(self, x, begin, n, cache, layers=()):
        self.read_.append(n)
        return super().read(x, begin * 0 + 40, n, cache)


def test_passes_of_each_number_are_timed_in_turns():
    verifier = Slow()
    found = pass_milliseconds(verifier, most=3, length=8, repeats=2)
    assert len(found) == 3
    assert verifier.read_ == [1, 1, 2, 3, 1, 2, 3]
    assert min(found) > 0

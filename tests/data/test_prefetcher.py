"""Looking ahead changes when a batch is made, and never which."""

import threading

import pytest
import torch

from unmelt.data import Arrays, Prefetcher

CPU = torch.device("cpu")


class Slow:
    """A source that notes what it was asked for, and by whom."""

    shape, classes = (2,), ()

    def __init__(self):
        self.asked, self.thread = [], set()
        self.of = Arrays(torch.rand(50, 2, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 5)

    def batch(self, step, rows):
        self.asked.append(step)
        self.thread.add(threading.get_ident())
        return self.of.batch(step, rows)


def test_the_same_batches_each_made_once_and_by_another():
    source = Slow()
    ahead = Prefetcher(source, CPU, lambda number: number + 2)
    for number in range(3, 30, 2):
        x, condition = ahead.batch(number, 7)
        expected, known = source.of.batch(number, 7)
        assert torch.equal(x, expected)
        assert torch.equal(condition.label, known.label)
    assert source.asked[:14] == list(range(3, 30, 2))
    assert len(source.asked) == len(set(source.asked)) <= 14 + 3
    assert threading.get_ident() not in source.thread


def test_a_guess_that_was_wrong_costs_time_alone():
    source = Slow()
    ahead = Prefetcher(source, CPU, lambda number: number + 1)
    for number in (0, 1, 9, 4, 4):
        assert torch.equal(ahead.batch(number, 3)[0], source.of.batch(number, 3)[0])


def test_a_failure_reaches_who_asks():
    class Broken(Slow):
        def batch(self, step, rows):
            if step == 2:
                raise OSError("the disk is gone")
            return super().batch(step, rows)

    ahead = Prefetcher(Broken(), CPU, lambda number: number + 1)
    ahead.batch(0, 3)
    ahead.batch(1, 3)
    with pytest.raises(OSError, match="the disk is gone"):
        ahead.batch(2, 3)

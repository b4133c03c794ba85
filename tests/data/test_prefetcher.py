"""Prefetching changes when a batch is made, but not which batch."""

import threading

import pytest
import torch

from unmelt.data import Arrays, Prefetcher

CPU = torch.device("cpu")


class Slow:
    """A source that records which batches were requested, and by which threads."""

    shape, classes = (2,), ()

    def __init__(self):
        self.asked, self.thread = [], set()
        self.of = Arrays(torch.rand(50, 2, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 5)

    def batch(self, step, rows):
        self.asked.append(step)
        self.thread.add(threading.get_ident())
        return self.of.batch(step, rows)


def test_prefetched_batches_are_the_same_and_made_once_in_another_thread():
    source = Slow()
    prefetcher = Prefetcher(source, CPU, lambda number: number + 2)
    for number in range(3, 30, 2):
        x, condition = prefetcher.batch(number, 7)
        expected, expected_condition = source.of.batch(number, 7)
        assert torch.equal(x, expected)
        assert torch.equal(condition.label, expected_condition.label)
    assert source.asked[:14] == list(range(3, 30, 2))
    assert len(source.asked) == len(set(source.asked)) <= 14 + 3
    assert threading.get_ident() not in source.thread


def test_batches_in_an_unexpected_order_are_still_right():
    source = Slow()
    prefetcher = Prefetcher(source, CPU, lambda number: number + 1)
    for number in (0, 1, 9, 4, 4):
        assert torch.equal(prefetcher.batch(number, 3)[0], source.of.batch(number, 3)[0])


def test_an_error_of_the_source_reaches_the_caller():
    class Broken(Slow):
        def batch(self, step, rows):
            if step == 2:
                raise OSError("the disk is gone")
            return super().batch(step, rows)

    prefetcher = Prefetcher(Broken(), CPU, lambda number: number + 1)
    prefetcher.batch(0, 3)
    prefetcher.batch(1, 3)
    with pytest.raises(OSError, match="the disk is gone"):
        prefetcher.batch(2, 3)

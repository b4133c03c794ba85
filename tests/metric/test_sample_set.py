"""Collecting real data from a source."""

import torch

from unmelt import data
from unmelt.metric import collect
from unmelt.metric.sample_set import FRESH


def test_a_finite_source_is_collected_whole_and_an_endless_one_in_part():
    arrays = data.Arrays(torch.rand(7, 2), [0, 1, 0, 1, 0, 1, 1])
    assert torch.equal(collect(arrays).x, arrays.values)
    assert collect(arrays).labels.tolist() == [0, 1, 0, 1, 0, 1, 1]
    assert len(collect(data.Ring()).x) == len(collect(data.Ring()).labels) == FRESH
    assert collect(data.Checkerboard()).labels is None

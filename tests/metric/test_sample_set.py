"""Collecting real data from a source."""

import torch

from unmelt import data
from unmelt.metric import collect_samples
from unmelt.metric.sample_set import FRESH


def test_a_finite_source_is_collected_whole_and_an_endless_one_in_part():
    arrays = data.Arrays(torch.rand(7, 2), [0, 1, 0, 1, 0, 1, 1])
    assert torch.equal(collect_samples(arrays).x, arrays.values)
    assert collect_samples(arrays).labels.tolist() == [0, 1, 0, 1, 0, 1, 1]
    assert len(collect_samples(data.Ring()).x) == len(collect_samples(data.Ring()).labels) == FRESH
    assert collect_samples(data.Checkerboard()).labels is None

"""The nearest row, by brute force, and as a test for copying."""

import pytest
import torch

from unmelt.data import digits
from unmelt.errors import UsageError
from unmelt.metric import nearest_neighbour


def _normal(rows, dim, seed):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_nearest_rows_agree_with_all_pairs_for_any_chunk():
    a, b = _normal(40, 5, 0), _normal(60, 5, 1)
    table = (a[:, None] - b).square().sum(-1).sqrt()
    for chunk in (1, 7, 1000):
        found = nearest_neighbour(a, b, chunk=chunk)
        assert torch.allclose(found.distance, table.min(1).values, atol=1e-13)
        assert torch.equal(found.row, table.argmin(1))


def test_exact_copies_are_at_distance_zero():
    train, held_out = digits().all()[0], digits(held_out=True).all()[0]
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:100]
    copies = nearest_neighbour(train[order], train)
    assert (copies.distance == 0).all()
    assert torch.equal(train[copies.row], train[order])
    assert nearest_neighbour(held_out, train).distance.min() > 0.1


def test_no_rows_to_look_among_are_refused():
    with pytest.raises(UsageError):
        nearest_neighbour(torch.zeros(2, 2), torch.zeros(0, 2))

"""Memoized results equal those of the function, whatever happened to its arguments."""

from typing import NamedTuple

import torch

from unmelt.memoize import memoized


def counted():
    calls = []

    @memoized
    def double(t: torch.Tensor, by: float) -> torch.Tensor:
        calls.append(by)
        return by * t

    return double, calls


def test_the_same_tensor_is_computed_once():
    double, calls = counted()
    t = torch.ones(3)
    with torch.no_grad():
        same = torch.tensor(1.0).expand(3)
        assert double(same, 5.0) is double(same, 5.0)
        assert calls.pop() == 5.0
        assert torch.equal(double(t, 2.0), double(t, 2.0))
        assert double(t, 3.0).tolist() == [3, 3, 3]
        assert double(t.clone(), 2.0).tolist() == [2, 2, 2]  # of rows that are known
        assert double(t.double(), 2.0).dtype == torch.float64
        assert double(torch.ones(65), 2.0).tolist() == 65 * [2]  # too many rows to look each up
        assert double(torch.ones(3, 2), 2.0).tolist() == [[2, 2]] * 3
    assert calls == [2.0, 3.0, 2.0, 2.0, 2.0]


class Pair(NamedTuple):
    total: torch.Tensor
    wide: torch.Tensor


def test_rows_at_times_that_were_seen_are_not_computed_again():
    seen = []

    @memoized
    def pair(t: torch.Tensor, scale: float, s: torch.Tensor) -> Pair:
        seen.append(len(t))
        return Pair(scale * t + s, (t * s)[:, None, None])

    rows = torch.rand(7, dtype=torch.float64)
    with torch.no_grad():
        first = pair(rows[:4], 2.0, rows[3:])
        again = pair(rows[[1, 0, 1]], 2.0, rows[[4, 3, 4]])
        mixed = pair(torch.cat([rows[2:3], rows[6:]]), 2.0, torch.cat([rows[5:6], rows[:1]]))
    assert seen == [4, 1]
    assert isinstance(again, Pair)
    assert torch.equal(again.total, first.total[[1, 0, 1]])
    assert torch.equal(again.wide, first.wide[[1, 0, 1]])
    assert torch.equal(mixed.total, torch.stack([first.total[2], 2 * rows[6] + rows[0]]))
    again.total.zero_()
    with torch.no_grad():
        assert torch.equal(pair(rows[1:2].clone(), 2.0, rows[4:5].clone()).total, first.total[1:2])


def test_rows_are_forgotten_once_there_are_too_many(monkeypatch):
    monkeypatch.setattr("unmelt.memoize.CACHE_SIZE", 8)
    double, _ = counted()
    with torch.no_grad():
        for first in range(20):
            t = torch.arange(first, first + 5.0)
            assert torch.equal(double(t, 3.0), 3 * t)


def test_a_tensor_written_to_is_computed_again():
    double, _ = counted()
    t = torch.ones(3)
    with torch.no_grad():
        assert double(t, 2.0).tolist() == [2, 2, 2]
        t -= 0.5
        assert double(t, 2.0).tolist() == [1, 1, 1]


def test_autograd_and_inference_mode_bypass_the_cache():
    double, calls = counted()
    t = torch.ones(3, requires_grad=True)
    (slope,) = torch.autograd.grad(double(t, 2.0).sum(), t)
    (again,) = torch.autograd.grad(double(t, 2.0).sum(), t)
    assert torch.equal(slope, again)
    with torch.inference_mode():
        assert double(torch.ones(3), 2.0).is_inference()
    assert len(calls) == 3

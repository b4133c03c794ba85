"""Memoized results equal those of the function, whatever happened to its arguments."""

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
        assert double(t, 2.0) is double(t, 2.0)
        assert double(t, 3.0).tolist() == [3, 3, 3]
        assert double(t.clone(), 2.0).tolist() == [2, 2, 2]
    assert calls == [2.0, 3.0, 2.0]


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

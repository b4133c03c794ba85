"""Traces by probes: unbiased, with the right standard error, and cheap in many dimensions."""

import pytest
import torch
from conformance.subjects import F64, full, unchecked

from unmelt import schedule
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.likelihood import Exact, Hutchinson, log_likelihood
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds, Stream


def linear(rows, dim):
    """(x, x J, J): a belief with a known Jacobian that is not symmetric."""
    rng = torch.Generator().manual_seed(0)
    jacobian = torch.randn(dim, dim, generator=rng, dtype=F64)
    x = torch.randn(rows, dim, generator=rng, dtype=F64).requires_grad_()
    return x, x @ jacobian.T, jacobian


def test_exact_equals_the_trace():
    x, belief, jacobian = linear(3, 5)
    probes = Exact().draw(x)
    torch.testing.assert_close(Exact().traces(belief, x, probes), jacobian.trace().expand(3, 1))


def test_hutchinson_is_unbiased_with_the_known_variance():
    """Var v.Jv = 2 |off-diagonal of (J + J^T) / 2|^2 for random signs v."""
    x, belief, jacobian = linear(4, 6)
    hutchinson = Hutchinson(RowSeeds.of(3, 4), probes=4000)
    probes = hutchinson.draw(x.detach())
    assert (probes.abs() == 1).all()
    traces = hutchinson.traces(belief, x, probes).detach()
    symmetric = (jacobian + jacobian.T) / 2
    variance = 2 * (symmetric - symmetric.diag().diag()).square().sum()
    assert ((traces.mean(1) - jacobian.trace()).abs() < 4 * (variance / 4000).sqrt()).all()
    torch.testing.assert_close(traces.var(1), variance.expand(4), rtol=0.15, atol=0)


def test_standard_error_of_12_probes_in_64_dimensions_is_right():
    """12 probes in place of 64 backward passes; the reported error matches the actual one."""
    rng = torch.Generator().manual_seed(1)
    root = torch.randn(64, 64, generator=rng, dtype=F64) / 8
    covariance = root @ root.T + 0.1 * torch.eye(64, dtype=F64)
    exact = Mixture.gaussian(torch.zeros(1, 8, 8, dtype=F64), covariance, Gaussian(schedule.Cosine()))
    x0 = exact.sample(40, Stream(0), F64)
    with unchecked():
        found = log_likelihood(exact, x0, divergence=Hutchinson(RowSeeds.of(0, 40), 12), tolerance=1e-4)
    z = (found.value - exact.log_density(x0, full(40, 0.0))) / found.error
    assert 0.6 < z.square().mean().sqrt() < 1.6
    assert abs(z.mean()) < 4 / 40**0.5
    assert found.error.max() < 6


@pytest.mark.parametrize("probes", [0, -1, 1, 2.5, True])
def test_fewer_than_two_probes_are_refused(probes):
    with unchecked(), pytest.raises(UsageError, match=r"at least 2|a whole number"):
        Hutchinson(Stream(0), probes)


def test_a_seed_in_place_of_a_stream_is_refused():
    with unchecked(), pytest.raises(UsageError, match=r"Stream\(0\)"):
        Hutchinson(0)

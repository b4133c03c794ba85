"""Gradients through the flow: the score with respect to the data, finite differences for the parameters."""

import pytest
import torch
from conformance.subjects import F64, column, full, ring, unchecked
from densities import own_prior, random_network
from torch import nn

from unmelt import schedule
from unmelt.backbone import DiT
from unmelt.denoiser import Network
from unmelt.denoiser.prediction import Preconditioned
from unmelt.likelihood import Hutchinson, log_likelihood
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds, Stream, seeded


@pytest.mark.parametrize("on", [schedule.VarianceExploding(), schedule.Straight()])
def test_the_gradient_with_respect_to_x0_is_the_score(on):
    exact = ring(on)
    x0 = exact.sample(4, Stream(3), F64).requires_grad_()
    with unchecked():
        value = log_likelihood(exact, x0, prior=own_prior(exact)).value
        (gradient,) = torch.autograd.grad(value.sum(), x0)
    score = exact.score(x0.detach(), full(4, 0.0))
    torch.testing.assert_close(gradient, score, rtol=1e-3, atol=1e-3 * score.abs().max().item())


@pytest.mark.parametrize("on", [schedule.VarianceExploding(), schedule.Straight()])
def test_gradients_equal_finite_differences(on):
    """With respect to x0 and to all parameters at once, along a random direction."""
    model, x0 = random_network(on, 2), column(0.4, -0.9)[None].requires_grad_()

    def value():
        return log_likelihood(model, x0, tolerance=1e-6).value.sum()

    def moved(tensors, along, step):
        with torch.no_grad():
            for tensor, direction in zip(tensors, along, strict=True):
                tensor += step * direction

    with unchecked():
        for tensors in ([x0], list(model.parameters())):
            gradients = torch.autograd.grad(value(), tensors)
            size = sum(g.square().sum() for g in gradients).sqrt().item()
            along = [g / size + 0.3 * torch.randn_like(g) / g.numel() for g in gradients]
            slope = sum((g * d).sum() for g, d in zip(gradients, along, strict=True)).item()
            with torch.no_grad():
                moved(tensors, along, 1e-3)
                above = value()
                moved(tensors, along, -2e-3)
                below = value()
                moved(tensors, along, 1e-3)
            assert size > 0.1
            assert slope == pytest.approx((above - below).item() / 2e-3, rel=1e-4)


def test_gradients_through_attention_equal_finite_differences():
    """The fastest attention kernels have no second derivative; parameters are moved along the gradient."""
    with seeded(0):
        backbone = DiT(channels=1, size=(2, 2), patch=1, width=8, depth=1, heads=2)
        for parameter in backbone.parameters():
            nn.init.normal_(parameter, std=0.1)
    model = Network(backbone, Gaussian(schedule.Straight()), Preconditioned(1.0), (1, 2, 2)).double()
    x0, parameters = torch.linspace(-1, 1, 4, dtype=F64).view(1, 1, 2, 2), list(model.parameters())

    def value():
        return log_likelihood(model, x0, divergence=Hutchinson(RowSeeds.of(0, 1), 2), tolerance=1e-5).value.sum()

    with unchecked():
        gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
        parts = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
        size = sum(g.square().sum() for _, g in parts).sqrt().item()
        found = []
        with torch.no_grad():
            for step in (1e-2, -2e-2, 1e-2):
                for parameter, gradient in parts:
                    parameter += step * gradient / size
                found.append(value())
    assert size == pytest.approx((found[0] - found[1]).item() / 2e-2, rel=1e-3)


def test_gradient_steps_raise_the_likelihood():
    """The gradient reaches the parameters through the probes as well."""
    model, x0 = random_network(schedule.Cosine(), 2), 0.3 * torch.randn(16, 2, dtype=F64)
    optimizer, values = torch.optim.Adam(model.parameters(), lr=0.02), []
    with unchecked():
        for step in range(4):
            optimizer.zero_grad()
            found = log_likelihood(model, x0, divergence=Hutchinson(Stream(step), 2), tolerance=1e-2)
            assert not found.error.requires_grad
            (-found.value.mean()).backward()
            optimizer.step()
            values.append(found.value.mean().item())
    assert values[-1] > values[0] + 0.1


def test_no_graph_is_kept_unless_a_gradient_is_required():
    model, x0 = random_network(schedule.Cosine(), 2), torch.zeros(2, 2, dtype=F64)
    with torch.no_grad():
        assert not log_likelihood(model, x0, tolerance=1e-2).value.requires_grad
    assert log_likelihood(model, x0, tolerance=1e-2).value.requires_grad
    assert not log_likelihood(model.requires_grad_(False), x0, tolerance=1e-2).value.requires_grad

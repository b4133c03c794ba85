"""The exact denoisers against quadrature, autograd and moments."""

import pytest
import torch
from conformance.subjects import F64, column, full, levels, tilted

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.process import Gaussian
from unmelt.rng import Stream

MEANS, SDS, WEIGHTS = column(-1.0, 0.4, 2.0), column(0.3, 0.8, 0.1), column(0.2, 0.5, 0.3)


def line(on):
    return Mixture(MEANS[:, None], (SDS**2)[:, None, None], Gaussian(on), weights=WEIGHTS)


def clean(x):
    """The density of x0 on the line, written out anew."""
    z = (x[..., None] - MEANS) / SDS
    return (WEIGHTS * torch.exp(-(z**2) / 2) / (SDS * (2 * torch.pi) ** 0.5)).sum(-1)


def test_belief_and_density_match_quadrature(any_schedule):
    """p(x_t) and E[x0 | x_t] as integrals over x0 on a fine grid."""
    model, x0 = line(any_schedule), torch.linspace(-6, 8, 40_001, dtype=F64)
    for t in levels(any_schedule, 7, widest=3.0):
        alpha, sigma = any_schedule.alpha(t), any_schedule.sigma(t)
        x_t = alpha * torch.linspace(-2, 3, 9, dtype=F64)[:, None] + sigma * 0.3
        seen = torch.exp(-((x_t - alpha * x0) ** 2) / (2 * sigma**2)) / (sigma * (2 * torch.pi) ** 0.5) * clean(x0)
        density = torch.trapezoid(seen, x0)
        mean = torch.trapezoid(seen * x0, x0) / density
        torch.testing.assert_close(model(x_t, full(9, t)).mean[:, 0], mean, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(model.log_density(x_t, full(9, t)).exp(), density, rtol=1e-8, atol=1e-300)


def test_the_density_integrates_to_one(any_schedule):
    for t in (0.0, 0.1, 0.7, 1.0):
        width = any_schedule.alpha(column(t)) * 8 + any_schedule.sigma(column(t)) * 9
        x = torch.linspace(-1, 1, 60_001, dtype=F64) * width
        total = torch.trapezoid(line(any_schedule).log_density(x[:, None], full(len(x), t)).exp(), x)
        assert total.item() == pytest.approx(1, abs=1e-9)


def test_the_score_is_the_gradient_of_the_density_and_satisfies_tweedies_formula(any_schedule):
    model, t = tilted(any_schedule), levels(any_schedule, 40, widest=4.0)
    alpha, sigma = any_schedule.alpha(t)[:, None], any_schedule.sigma(t)[:, None]
    x_t = (alpha * torch.randn(40, 2, dtype=F64) + sigma * torch.randn(40, 2, dtype=F64)).requires_grad_()
    condition = Condition(label=torch.arange(40) % 2, given={"label": torch.arange(40) % 3 > 0})
    (gradient,) = torch.autograd.grad(model.log_density(x_t, t, condition).sum(), x_t)
    score, x = model.score(x_t, t, condition).detach(), x_t.detach()
    torch.testing.assert_close(score, gradient, rtol=1e-9, atol=1e-10)
    mean = model(x, t, condition).mean
    torch.testing.assert_close(alpha * mean, x + sigma**2 * score, rtol=1e-9, atol=1e-11)


def test_the_density_at_time_zero_is_that_of_the_data(any_schedule):
    x = torch.linspace(-2, 3, 21, dtype=F64)
    density = line(any_schedule).log_density(x[:, None], full(21, 0.0))
    torch.testing.assert_close(density, clean(x).log(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(line(any_schedule)(x[:, None], full(21, 0.0)).mean[:, 0], x)


def test_exact_samples_have_the_moments_of_the_mixture():
    model, rows = tilted(schedule.Cosine()), 60_000
    x = model.sample(rows, Stream(0), F64)
    mean = model.weights @ model.means
    spread = model.basis * model.spread[:, None] @ model.basis.mT
    centred = model.means - mean
    covariance = (model.weights[:, None, None] * (spread + centred[:, :, None] * centred[:, None])).sum(0)
    assert (x.mean(0) - mean).abs().max() < 5 * (covariance.diagonal().max() / rows) ** 0.5
    assert (torch.cov(x.T) - covariance).abs().max() < 0.03
    one = model.sample(rows, Stream(1), F64, label=1)
    wanted = (model.weights[1:] @ model.means[1:]) / model.weights[1:].sum()
    assert (one.mean(0) - wanted).abs().max() < 0.03


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_belief_of_a_gaussian_matches_the_closed_form_at_any_rank(any_schedule, rank):
    """E[x0 | x_t] of one Gaussian in closed form: mu + alpha S (alpha^2 S + sigma^2 I)^-1 (x_t - alpha mu)."""
    root = torch.randn(3, rank, dtype=F64, generator=torch.Generator().manual_seed(rank))
    mean, covariance = column(1.0, -2.0, 0.5), root @ root.T
    model = Mixture.gaussian(mean, covariance, Gaussian(any_schedule))
    x, t = torch.randn(5, 3, dtype=F64), levels(any_schedule, 5, widest=2.0)
    for row in range(5):
        alpha, sigma = any_schedule.alpha(t[row]), any_schedule.sigma(t[row])
        total = alpha**2 * covariance + sigma**2 * torch.eye(3, dtype=F64)
        wanted = mean + alpha * covariance @ torch.linalg.solve(total, x[row] - alpha * mean)
        torch.testing.assert_close(model(x[row : row + 1], t[row : row + 1]).mean[0], wanted, rtol=1e-9, atol=1e-9)


def test_beliefs_of_a_singular_gaussian_are_finite_at_time_zero(any_schedule):
    """On its support the belief at t = 0 is the data itself, without 0 / 0."""
    model = Mixture.gaussian(column(1.0, 2.0), torch.diag(column(0.5, 0.0)), Gaussian(any_schedule))
    x0 = model.sample(4, Stream(0), F64)
    torch.testing.assert_close(model(x0, full(4, 0.0)).mean, x0)


def test_labels_select_components_and_null_rows_keep_all(any_schedule):
    model, x, t = tilted(any_schedule), torch.randn(6, 2, dtype=F64), full(6, 0.4)
    spread = model.basis * model.spread[:, None] @ model.basis.mT
    alone = Mixture(model.means[1:], spread[1:], model.process, weights=column(0.2, 0.3))
    told = model(x, t, Condition(label=torch.ones(6, dtype=torch.int64))).mean
    torch.testing.assert_close(told, alone(x, t).mean)
    null = Condition(label=torch.ones(6, dtype=torch.int64)).null()
    torch.testing.assert_close(model(x, t, null).mean, model(x, t).mean)
    half = Condition(label=torch.ones(6, dtype=torch.int64)).drop(torch.arange(6) < 3)
    torch.testing.assert_close(model(x, t, half).mean, torch.cat([model(x, t).mean[:3], told[3:]]))


def test_an_unknown_class_is_refused():
    with pytest.raises(UsageError, match="label"):
        tilted(schedule.Cosine())(torch.zeros(1, 2), full(1, 0.5), Condition(label=torch.tensor([7])))


def test_a_covariance_with_a_negative_eigenvalue_is_refused():
    with pytest.raises(UsageError, match="negative"):
        Mixture.gaussian(column(0.0), column(-1.0)[:, None], Gaussian(schedule.Cosine()))

import torch
from conformance.subjects import F64, ring, tilted

from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.guidance import CFG
from unmelt.process import Gaussian
from unmelt.sampler import DPMpp, grid, sample


def rows(count=40):
    x, t = torch.randn(count, 2, dtype=F64), torch.linspace(0.01, 0.99, count, dtype=F64)
    return x, t, Condition(label=torch.arange(count) % 2)


def test_scale_0_is_the_null_belief(any_schedule):
    x, t, condition = rows()
    model = tilted(any_schedule)
    assert torch.equal(CFG(model, 0.0)(x, t, condition).mean, model(x, t, condition.null()).mean)
    torch.testing.assert_close(model(x, t, condition.null()).mean, model(x, t).mean)


def test_guided_mean_of_two_classes_equals_the_closed_form(any_schedule):
    """Classes N(+m, sd^2) and N(-m, sd^2): E[x0 | x_t] = shrunk + shift tanh(alpha x_t.m / C)."""
    for m in (torch.tensor([1.0, 0.5], dtype=F64), torch.tensor([0.8], dtype=F64)):
        sd, scale = 0.6, 2.5
        model = Mixture.isotropic(torch.stack([m, -m]), sd, Gaussian(any_schedule))
        x, t, _ = rows()
        x = x[:, : len(m)]
        alpha, sigma = any_schedule.alpha(t)[:, None], any_schedule.sigma(t)[:, None]
        total = alpha**2 * sd**2 + sigma**2
        shrunk, shift = alpha * sd**2 / total * x, sigma**2 / total * m
        null = shrunk + shift * torch.tanh((x @ m)[:, None] * alpha / total)
        wanted = null + scale * (shrunk + shift - null)
        guided = CFG(model, scale)(x, t, Condition(label=torch.zeros(40, dtype=torch.int64))).mean
        torch.testing.assert_close(guided, wanted, rtol=1e-10, atol=1e-11)


def test_rows_with_the_null_condition_are_not_guided(any_schedule):
    x, t, condition = rows()
    model, null = tilted(any_schedule), condition.drop(torch.arange(40) % 3 == 0)
    guided = CFG(model, 3.0)(x, t, null).mean
    assert torch.equal(guided[::3], model(x, t).mean[::3])
    assert torch.equal(guided[1::3], CFG(model, 3.0)(x, t, condition).mean[1::3])


def test_guided_samples_are_independent_of_their_batch(any_schedule):
    model = CFG(ring(any_schedule), 2.0)
    settings = {"label": 2, "sampler": DPMpp(2), "grid": grid.karras(5), "dtype": F64, "seed": 4}
    torch.testing.assert_close(sample(model, rows=5, **settings)[:2], sample(model, rows=2, **settings))

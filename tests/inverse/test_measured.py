"""Beliefs given a measurement, against the closed-form posterior of a mixture."""

import math
from itertools import pairwise

import pytest
import torch
from conformance.subjects import F64, Fast, Through, column, full, levels, run, unchecked

from unmelt import schedule
from unmelt.backbone import MLP
from unmelt.condition import Condition
from unmelt.denoiser import Mixture, NetworkDenoiser, prediction
from unmelt.errors import UsageError
from unmelt.inverse import DPS, MMPS, Inpainting, Matrix, PiGDM, Replacement, exact
from unmelt.inverse.solve import solve
from unmelt.metric import energy_distance
from unmelt.process import Gaussian
from unmelt.rng import Stream, seeded
from unmelt.sampler import Ancestral, DPMpp, grid, sample

MAKE = torch.Generator().manual_seed(4)
A = Matrix(torch.randn(2, 4, dtype=F64, generator=MAKE))
ROOT = torch.randn(4, 4, dtype=F64, generator=MAKE) / 2
MEAN = torch.randn(4, dtype=F64, generator=MAKE)
Y, NOISE = torch.tensor([[0.7, -1.1]], dtype=F64), 0.3


def one_gaussian(on):
    return Mixture.gaussian(MEAN, ROOT @ ROOT.T, Gaussian(on))


def several(on):
    """Overlapping unequal components in four dimensions."""
    means = MEAN + torch.tensor([[0.8, 0, 0, 0], [0, -0.8, 0, 0], [0, 0, 0.8, -0.8]], dtype=F64)
    spread = torch.stack([ROOT @ ROOT.T, (ROOT.T @ ROOT), 0.4 * torch.eye(4, dtype=F64)])
    return Mixture(means, spread, Gaussian(on), weights=column(0.5, 0.3, 0.2))


def anywhere(on, rows=40):
    """Rows x_t at times over all of [0, 1], both ends included."""
    t = torch.cat([column(0.0, 1.0), levels(on, rows - 2, widest=4.0)])
    alpha, sigma = (level[:, None] for level in Gaussian(on).level(t))
    return alpha * torch.randn(rows, 4, dtype=F64) + sigma * torch.randn(rows, 4, dtype=F64), t


def test_the_exact_posterior_has_the_moments_of_importance_sampling():
    """Draws of the prior are weighted by the likelihood of y."""
    prior = several(schedule.Cosine())
    x0 = prior.sample(200_000, Stream(0), F64)
    weight = torch.softmax(-0.5 * ((Y - A.forward(x0)) / NOISE).square().sum(1), 0)
    mean = weight @ x0
    covariance = (weight[:, None] * (x0 - mean)).T @ (x0 - mean)
    truth = exact(prior, A, Y, NOISE)
    wanted = truth.weights @ truth.means
    gap = truth.means - wanted
    within = truth.basis * truth.spread[:, None] @ truth.basis.mT
    assert (mean - wanted).abs().max() < 0.02
    assert (
        covariance - torch.einsum("k,kde->de", truth.weights, within + gap[:, :, None] * gap[:, None])
    ).abs().max() < 0.02


def test_mmps_is_exact_for_one_gaussian(any_schedule):
    """E[x0 | x_t, y] in closed form, at every time, ends included."""
    prior = one_gaussian(any_schedule)
    x_t, t = anywhere(any_schedule)
    with torch.no_grad():
        believed = MMPS(prior, A, Y, NOISE, covariance_sigma_max=1e7)(x_t, t).mean
    assert (believed - exact(prior, A, Y, NOISE)(x_t, t).mean).abs().max() < 1e-8


def test_the_error_of_the_default_far_is_below_2_percent_of_the_shift(any_schedule):
    """The covariance at ratio 10 is used beyond it; the shift is that of the mean by the measurement."""
    prior = one_gaussian(any_schedule)
    x_t, t = anywhere(any_schedule)
    truth = exact(prior, A, Y, NOISE)(x_t, t).mean
    error = MMPS(prior, A, Y, NOISE)(x_t, t).mean - truth
    assert error.norm() < 0.02 * (truth - prior(x_t, t).mean).norm()


def test_pigdm_is_exact_for_white_data(any_schedule):
    prior = Mixture.gaussian(MEAN, 0.7**2 * torch.eye(4, dtype=F64), Gaussian(any_schedule))
    x_t, t = anywhere(any_schedule)
    believed = PiGDM(prior, A, Y, NOISE, data_sd=0.7, covariance_sigma_max=1e7)(x_t, t).mean
    assert (believed - exact(prior, A, Y, NOISE)(x_t, t).mean).abs().max() < 1e-8


def test_dps_shifts_the_mean_along_the_gradient(any_schedule):
    """The shift is -(sigma^2 / alpha) grad |y - A mean|^2 / 2 s^2."""
    prior = several(any_schedule)
    x_t, t = anywhere(any_schedule)
    x_t, t = x_t[2:], t[2:]
    x_t.requires_grad_()
    mean = prior(x_t, t).mean
    gap = Y - A.forward(mean)
    (gradient,) = torch.autograd.grad(gap.square().sum() / 2, x_t)
    alpha, sigma = prior.process.level(t)
    size = gap.square().mean(1).clamp_min(NOISE**2)
    wanted = mean - 0.5 * (sigma**2 / alpha / size)[:, None] * gradient
    believed = DPS(prior, A, Y, NOISE, strength=0.5, covariance_sigma_max=1e7)(x_t.detach(), t).mean
    torch.testing.assert_close(believed, wanted.detach(), rtol=1e-9, atol=1e-10)


def test_samples_of_one_gaussian_have_the_moments_of_the_posterior():
    """The sampler is affine, so noise 0 and unit noises determine the law of the samples without drawing any."""
    on = schedule.Straight(shift=3.0)
    prior = one_gaussian(on)
    truth = exact(prior, A, Y, NOISE)
    noise = torch.cat([torch.zeros(1, 4, dtype=F64), torch.eye(4, dtype=F64)])
    with unchecked(), torch.no_grad():
        made = run(DPMpp(2), MMPS(prior, A, Y, NOISE), noise, grid.log_snr(80, sigma_min=2e-3)(on)).x
    root = made[1:] - made[0]
    assert (made[0] - truth.means[0]).abs().max() < 0.01
    within = (truth.basis * truth.spread[:, None] @ truth.basis.mT)[0]
    assert (root.T @ root - within).abs().max() < 0.01


def test_mmps_samples_a_mixtures_posterior_best():
    """No method is exact: mean energy distance to the posteriors of 8 measurements, 60 samples of each."""
    on, each = schedule.Cosine(), 60
    prior = several(on)
    clean = A.forward(prior.sample(8, Stream(0), F64))
    measured = clean + NOISE * Stream(1).normal(clean.shape, F64)
    drawn = [exact(prior, A, y[None], NOISE).sample(each, Stream(k), F64) for k, y in enumerate(measured)]
    many = measured.repeat_interleave(each, 0)

    def distance(denoiser):
        rng = Fast.many(len(many))
        with unchecked(), torch.no_grad():
            made = run(
                Ancestral(), denoiser, rng.normal((len(many), 4), F64), grid.log_snr(40, 0.01)(on), rng.advance()
            )
        return sum(energy_distance(a, b) for a, b in zip(made.x.split(each), drawn, strict=True)) / 8

    mmps, dps, none = (distance(d) for d in (MMPS(prior, A, many, NOISE), DPS(prior, A, many, NOISE), prior))
    assert mmps < 0.1
    assert 3 * mmps < dps
    assert 3 * dps < none


METHODS = [MMPS, PiGDM, DPS]


@pytest.mark.parametrize("method", METHODS)
def test_a_rows_belief_is_independent_of_its_batch(method, any_schedule):
    """Rows at mixed times, each with its own measurement."""
    prior, (x_t, t) = several(any_schedule), anywhere(any_schedule, 8)
    y = torch.randn(8, 2, dtype=F64)
    together = method(prior, A, y, NOISE)(x_t, t).mean
    alone = [method(prior, A, y[i : i + 1], NOISE)(x_t[i : i + 1], t[i : i + 1]).mean for i in range(8)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(together[0], x_t[0])  # at t = 0 x_t is the data


@pytest.mark.parametrize("method", METHODS)
def test_beliefs_are_independent_of_what_a_network_predicts(method, any_prediction):
    """An exact denoiser converted to any prediction gives the same belief, away from the end points."""
    prior = several(schedule.Exponential())
    x_t, t = anywhere(schedule.Exponential())
    inside = (t > 0.01) & (t < 0.9)
    plain, through = (method(d, A, Y, NOISE)(x_t, t).mean[inside] for d in (prior, Through(prior, any_prediction)))
    torch.testing.assert_close(through, plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("noise_sd", [0.0, 0.1])
@pytest.mark.parametrize("method", METHODS)
def test_samples_of_a_float32_network_are_finite_and_leave_no_gradients(method, noise_sd, any_schedule):
    with seeded(0):
        backbone = MLP(shape=(4,), width=16, depth=1, classes=2)
    model = NetworkDenoiser(backbone, Gaussian(any_schedule), prediction.V(), (4,))
    mask = Inpainting(torch.tensor([True, False, True, False]))
    guided = method(model, mask, torch.tensor([[0.5, -0.5]]), noise_sd)
    label = Condition(label=torch.tensor([0, 1, 1]))
    with unchecked():
        made = sample(guided, rows=3, sampler=DPMpp(), grid=grid.karras(8), condition=label)
    assert made.dtype == torch.float32
    assert torch.isfinite(made).all()
    assert all(p.grad is None for p in model.parameters())


def test_replacement_keeps_known_values_and_leaves_independent_ones_to_the_prior(any_schedule):
    """Known numbers end at their values; the others, independent of them, are sampled as without them."""
    prior = Mixture.gaussian(MEAN, torch.diag(column(0.5, 1.0, 0.2, 2.0)), Gaussian(any_schedule))
    known = torch.tensor([True, False, False, True])
    values = torch.tensor([[1.5, math.nan, math.nan, -2.0]], dtype=F64)
    replaced = Replacement(prior, values, known)
    for sampler in (DPMpp(), Ancestral()):
        settings = {"rows": 5, "sampler": sampler, "grid": grid.karras(6), "dtype": F64}
        with unchecked():
            made, free = sample(replaced, **settings), sample(prior, **settings)
        torch.testing.assert_close(made[:, known], values[:, known].expand(5, 2))
        torch.testing.assert_close(made[:, ~known], free[:, ~known])


def test_solve_is_exact_for_positive_matrices_and_its_residual_never_grows():
    rows = torch.randn(6, 5, 5, dtype=F64, generator=MAKE)
    positive, b = rows @ rows.mT + 0.1 * torch.eye(5), torch.randn(6, 5, dtype=F64)
    b[0] = 0
    answer = solve(lambda u: torch.einsum("rij,rj->ri", positive, u), b, 5)
    torch.testing.assert_close(answer, torch.linalg.solve(positive, b), rtol=1e-7, atol=1e-9)
    left = [
        (b - torch.einsum("rij,rj->ri", rows, solve(lambda u: torch.einsum("rij,rj->ri", rows, u), b, n))).norm(dim=1)
        for n in range(6)
    ]
    assert all((after <= before + 1e-12).all() for before, after in pairwise(left))


def test_measured_beliefs_are_differentiable():
    """Also where the residual of the solver becomes exactly 0, which at t = 0 happens to some rows."""
    x_t, t = anywhere(schedule.Cosine(), 400)
    t[:200] = 0.0
    x_t.requires_grad_()
    (slope,) = torch.autograd.grad(MMPS(several(schedule.Cosine()), A, Y, NOISE)(x_t, t).mean.sum(), x_t)
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda d: MMPS(d, A, Y, -0.1), "noise_sd"),
        (lambda d: DPS(d, A, Y, math.nan), "noise_sd"),
        (lambda d: PiGDM(d, A, Y / 0, 0.1), "finite"),
        (lambda d: MMPS(d, A, Y, 0.1, solves=0), "solves"),
        (lambda d: MMPS(d, A, Y, 0.1, covariance_sigma_max=math.inf), "covariance_sigma_max"),
        (lambda d: DPS(d, A, Y, 0.1, strength=0.0), "strength"),
        (lambda d: DPS(d, A, Y, 0.1, strength=torch.tensor([1.0, -1.0])), "strength"),
        (lambda d: DPS(d, A, Y, 0.1, shrinkage=-1.0), "shrinkage"),
        (lambda d: DPS(d, A, Y, 0.1, data_sd=0.0), "data_sd"),
        (lambda d: PiGDM(d, A, Y, 0.1, data_sd=-1.0), "data_sd"),
        (lambda d: DPS(d, A, Y[:, :1], 0.1)(torch.zeros(3, 4), full(3, 0.5)), "measurement of shape"),
        (lambda d: DPS(d, A, Y.expand(2, 2), 0.1)(torch.zeros(3, 4), full(3, 0.5)), "measurement of shape"),
        (lambda d: Replacement(d, torch.zeros(1, 4), torch.ones(4)), "booleans"),
        (lambda d: Replacement(d, torch.zeros(1, 3), torch.ones(4, dtype=torch.bool)), "mask's shape"),
        (lambda d: Replacement(d, torch.full((1, 4), math.nan), torch.ones(4, dtype=torch.bool)), "not finite"),
        (
            lambda d: Replacement(d, torch.zeros(2, 4), torch.ones(4, dtype=torch.bool))(
                torch.zeros(3, 4), full(3, 0.5)
            ),
            "one",
        ),
    ],
)
def test_invalid_settings_and_shapes_are_refused(make, word):
    with pytest.raises(UsageError, match=word):
        make(several(schedule.Cosine()))


def test_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(UsageError, match="no_grad"):
        MMPS(several(schedule.Cosine()), A, Y, 0.1)(torch.zeros(3, 4), full(3, 0.5))


def test_measurements_that_are_none_of_the_operator_are_refused():
    prior = several(schedule.VarianceExploding(0.002, 80.0))
    same = Matrix(torch.ones(2, 4, dtype=F64))
    for operator, y, noise, said in (
        (A, Y.expand(2, 2), NOISE, "one row of the 2"),
        (A, Y[:, :1], NOISE, "one row of the 2"),
        (A, Y * math.nan, NOISE, "finite"),
        (same, Y, 0.0, "some follow from the others"),
    ):
        with pytest.raises(UsageError, match=said):
            exact(prior, operator, y, noise)


@pytest.mark.parametrize("kind", [DPS, PiGDM, MMPS])
def test_no_rows_have_no_beliefs(kind):
    prior = several(schedule.VarianceExploding(0.002, 80.0))
    assert kind(prior, A, Y, NOISE)(torch.zeros(0, 4, dtype=F64), torch.zeros(0, dtype=F64)).mean.shape == (0, 4)


def test_strengths_are_one_or_one_for_each_row():
    prior, t = several(schedule.VarianceExploding(0.002, 80.0)), torch.full((3,), 0.5, dtype=F64)
    found = DPS(prior, A, Y, NOISE, strength=torch.tensor([0.5, 1.0]))
    with pytest.raises(UsageError, match="2 strengths for 3 rows"):
        found(torch.zeros(3, 4, dtype=F64), t)

"""The bridge is an affine map of (x_t, believed x0, fresh noise): probe its coefficients, compose them exactly."""

import pytest
import torch
from conformance.subjects import F64, Given, column, full, levels

from unmelt.posterior import Categorical, Point
from unmelt.process import Blend, Gaussian, Mask, Uniform
from unmelt.rng import RowSeeds, Stream

ETAS = [0.0, 0.3, 1.0]


def coefficients(process: Gaussian, t: torch.Tensor, s: torch.Tensor, eta: float) -> tuple[torch.Tensor, ...]:
    """(a, b, c) with x_s = a x_t + b x0 + c noise."""
    rows = len(t)
    unit, zero = torch.ones(rows, 1, dtype=F64), torch.zeros(rows, 1, dtype=F64)
    probes = [(unit, zero, zero), (zero, unit, zero), (zero, zero, unit)]
    return tuple(process.bridge(x, Point(x0), t, s, Given(noise), eta)[:, 0] for x, x0, noise in probes)


def every_pair(times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(t, s) with s < t."""
    i, j = torch.triu_indices(len(times), len(times), 1)
    return times[j], times[i]


def with_ends(process: Gaussian) -> torch.Tensor:
    return torch.cat([column(0.0), levels(process.schedule, 12), column(1.0)]).unique()


def test_corrupt_has_its_mean_and_variance(any_schedule):
    process, rows = Gaussian(any_schedule), 40_000
    for t in (0.0, 0.02, 0.4, 1.0):
        x0 = torch.tensor([[1.5, -0.5]], dtype=F64).expand(rows, 2)
        x_t, noise = process.corrupt(x0, full(rows, t), Stream(3))
        alpha, sigma = any_schedule.alpha(column(t)), any_schedule.sigma(column(t))
        assert torch.equal(x_t, process.mix(x0, noise, full(rows, t)))
        torch.testing.assert_close(x_t, alpha * x0 + sigma * noise, rtol=1e-14, atol=1e-14)
        assert ((x_t.mean(0) - alpha * x0[0]).abs() <= 5 * sigma / rows**0.5).all()
        assert ((x_t.var(0) - sigma**2).abs() <= 5 * sigma**2 * (2 / rows) ** 0.5).all()
        assert abs(torch.corrcoef(noise.T)[0, 1]) < 5 / rows**0.5


def test_times_are_per_row(any_schedule):
    process, t = Gaussian(any_schedule), column(0.0, 0.1, 0.6, 1.0)
    x0, noise = torch.randn(4, 3, 2, dtype=F64), torch.randn(4, 3, 2, dtype=F64)
    whole = process.mix(x0, noise, t)
    alone = [process.mix(x0[i : i + 1], noise[i : i + 1], t[i : i + 1]) for i in range(4)]
    assert torch.equal(whole, torch.cat(alone))
    assert torch.equal(whole[0], x0[0])


def test_prior_is_the_noise_at_one(any_schedule):
    rng = RowSeeds.of(0, 3)
    prior = Gaussian(any_schedule).prior((3, 4), rng, F64)
    torch.testing.assert_close(prior, any_schedule.sigma(column(1.0)) * rng.normal((3, 4), F64), rtol=1e-15, atol=0)


@pytest.mark.parametrize("eta", ETAS)
def test_bridge_reproduces_every_marginal(any_schedule, eta):
    process = Gaussian(any_schedule)
    t, s = every_pair(with_ends(process))
    a, b, c = coefficients(process, t, s, eta)
    mean = a * any_schedule.alpha(t) + b
    variance = (a * any_schedule.sigma(t)) ** 2 + c**2
    torch.testing.assert_close(mean, any_schedule.alpha(s), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(variance, any_schedule.sigma(s) ** 2, rtol=1e-12, atol=1e-15)


def test_bridge_is_the_markov_posterior(any_schedule):
    """eta = 1 against q(x_s | x_t, x0) by Bayes' rule: precisions add (Ho et al., 2020, equation 7)."""
    process = Gaussian(any_schedule)
    t, s = every_pair(levels(any_schedule, 9, widest=5.0))
    a, b, c = coefficients(process, t, s, 1.0)
    step = any_schedule.alpha(t) / any_schedule.alpha(s)
    added = any_schedule.sigma(t) ** 2 - step**2 * any_schedule.sigma(s) ** 2
    precision = step**2 / added + 1 / any_schedule.sigma(s) ** 2
    torch.testing.assert_close(c**2, 1 / precision, rtol=1e-9, atol=0)
    torch.testing.assert_close(a, step / added / precision, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(b, any_schedule.alpha(s) / any_schedule.sigma(s) ** 2 / precision, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_two_bridges_are_one(any_schedule, eta):
    """x0 being known, t -> r -> s is t -> s: so it is for the Markov chain and for the deterministic path."""
    process = Gaussian(any_schedule)
    times = with_ends(process)
    i, j, k = (
        torch.tensor(index) for index in zip(*torch.combinations(torch.arange(len(times)), 3).tolist(), strict=True)
    )
    t, r, s = times[k], times[j], times[i]
    a1, b1, c1 = coefficients(process, t, r, eta)
    a2, b2, c2 = coefficients(process, r, s, eta)
    a, b, c = coefficients(process, t, s, eta)
    torch.testing.assert_close(a2 * a1, a, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(a2 * b1 + b2, b, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close((a2 * c1) ** 2 + c2**2, c**2, rtol=1e-10, atol=1e-14)


def test_bridge_marginal_by_monte_carlo(any_schedule):
    process, rows, rng = Gaussian(any_schedule), 40_000, Stream(11)
    x0 = torch.tensor([[2.0, -1.0]], dtype=F64).expand(rows, 2)
    for t, s in [(1.0, 0.6), (0.6, 0.2)]:
        x_t, _ = process.corrupt(x0, full(rows, t), rng)
        x_s = process.bridge(x_t, Point(x0), full(rows, t), full(rows, s), rng)
        alpha, sigma = any_schedule.alpha(column(s)), any_schedule.sigma(column(s))
        assert ((x_s.mean(0) - alpha * x0[0]).abs() < 5 * sigma / rows**0.5).all()
        assert ((x_s.var(0) / sigma**2 - 1).abs() < 5 * (2 / rows) ** 0.5).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eta", ETAS)
def test_a_step_of_no_length_changes_no_bit_of_a_row(any_schedule, eta, dtype):
    process, t = Gaussian(any_schedule), column(1e-12, 0.3, 0.999, 1.0)
    x, x0 = torch.randn(4, 2, 3, dtype=dtype), torch.randn(4, 2, 3, dtype=dtype)
    assert torch.equal(process.bridge(x, Point(x0), t, t, Stream(0), eta), x)
    assert torch.equal(process.ode_step(x, x0, t, t), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eta", ETAS)
def test_a_step_to_zero_gives_exactly_the_belief(any_schedule, eta, dtype):
    process, t = Gaussian(any_schedule), column(1e-12, 0.01, 0.5, 1.0)
    x, x0 = torch.randn(4, 2, dtype=dtype), torch.randn(4, 2, dtype=dtype)
    assert torch.equal(process.bridge(x, Point(x0), t, torch.zeros_like(t), Stream(0), eta), x0)


@pytest.mark.parametrize("eta", ETAS)
def test_a_step_from_pure_noise_is_finite(any_schedule, eta):
    process, s = Gaussian(any_schedule), column(1.0, 1 - 1e-12, 0.999, 0.5, 1e-12, 0.0)
    x, x0 = torch.randn(6, 2, dtype=F64), torch.randn(6, 2, dtype=F64)
    assert torch.isfinite(process.bridge(x, Point(x0), torch.ones_like(s), s, Stream(0), eta)).all()


@pytest.mark.parametrize("eta", ETAS)
def test_the_smallest_step_is_finite(any_schedule, eta):
    """Two times one rounding apart: their SNRs may round the wrong way, and no root may then be taken of it."""
    process = Gaussian(any_schedule)
    t = torch.cat([torch.logspace(-12, -1, 300, dtype=F64), torch.linspace(0.1, 1, 300, dtype=F64)])
    x = torch.ones(len(t), 1, dtype=F64)
    for tiny in (1, 2, 3):
        s = t.clone()
        for _ in range(tiny):
            s = torch.nextafter(s, torch.zeros_like(s))
        x_s = process.bridge(x, Point(x), t, s, Stream(0), eta)
        assert torch.isfinite(x_s).all()


def test_straight_coordinates_are_straight(any_schedule):
    """w(u) = (1 - u) x0 + u noise, whatever the schedule."""
    process = Gaussian(any_schedule)
    t = with_ends(process)
    x0, noise = torch.randn(1, 3, dtype=F64).expand(len(t), 3), torch.randn(1, 3, dtype=F64).expand(len(t), 3)
    w, u = process.straight_coordinates(process.mix(x0, noise, t), t)
    torch.testing.assert_close(w, (1 - u)[:, None] * x0 + u[:, None] * noise, rtol=1e-12, atol=1e-14)
    assert u[0].item() == 0


def test_noise_is_what_was_added(any_schedule):
    process = Gaussian(any_schedule)
    t = levels(any_schedule, 15, widest=6.0)
    x0, noise = torch.randn(len(t), 3, dtype=F64), torch.randn(len(t), 3, dtype=F64)
    torch.testing.assert_close(process.noise(process.mix(x0, noise, t), x0, t), noise, rtol=1e-10, atol=1e-10)


def test_finer_times_are_those_of_frames_alone(any_schedule):
    """Every map of time on x [rows, frames, 2] with t [rows, frames] is that on x [rows * frames, 2]."""
    process, rng = Gaussian(any_schedule), torch.Generator().manual_seed(0)
    x, x0, noise = (torch.randn(3, 4, 2, dtype=F64, generator=rng) for _ in range(3))
    t = 0.05 + 0.9 * torch.rand(3, 4, dtype=F64, generator=rng)
    s = t * torch.rand(3, 4, dtype=F64, generator=rng)
    flat = [each.flatten(0, 1) for each in (x, x0, noise)]
    flat_t, flat_s = t.flatten(), s.flatten()

    def same(fine, rows):
        torch.testing.assert_close(fine.flatten(0, 1), rows, rtol=1e-13, atol=1e-13)

    same(process.mix(x0, noise, t), process.mix(flat[1], flat[2], flat_t))
    same(process.corrupt(x0, t, Given(noise))[0], process.corrupt(flat[1], flat_t, Given(flat[2]))[0])
    same(process.renoise(x, s, t, Given(noise)), process.renoise(flat[0], flat_s, flat_t, Given(flat[2])))
    same(process.ode_step(x, x0, t, s), process.ode_step(flat[0], flat[1], flat_t, flat_s))
    same(process.noise(x, x0, t), process.noise(flat[0], flat[1], flat_t))
    for fine, rows in zip(
        process.straight_coordinates(x, t), process.straight_coordinates(flat[0], flat_t), strict=True
    ):
        same(fine, rows)
    for eta in ETAS:
        fine = process.bridge(x, Point(x0), t, s, Given(noise), eta)
        same(fine, process.bridge(flat[0], Point(flat[1]), flat_t, flat_s, Given(flat[2]), eta))


@pytest.mark.parametrize("process", [Mask(4), Uniform(4), Blend(4)], ids=lambda process: type(process).__name__)
def test_finer_times_of_tokens_are_those_of_frames_alone(process):
    rng = torch.Generator().manual_seed(1)
    x0 = torch.randint(4, (3, 5, 6), generator=rng)
    belief = Categorical(torch.randn(3, 5, 6, 4, dtype=F64, generator=rng))
    t = torch.rand(3, 5, dtype=F64, generator=rng)
    s = t * torch.tensor([1.0, 0.5, 0.0, 0.9, 1.0], dtype=F64)
    u = torch.rand(3, 5, 6, 2, dtype=F64, generator=rng)

    class Drawn(Given):
        def uniform(self, shape, dtype, device="cpu"):
            return self.noise.view(shape)

    flat = Categorical(belief.logits.flatten(0, 1))
    x_t, melted = process.corrupt(x0, t, Drawn(u))
    rows_x_t, rows_melted = process.corrupt(x0.flatten(0, 1), t.flatten(), Drawn(u))
    assert torch.equal(x_t.flatten(0, 1), rows_x_t)
    assert torch.equal(melted.flatten(0, 1), rows_melted)
    fine = process.bridge(x_t, belief, t, s, Drawn(u))
    assert torch.equal(fine.flatten(0, 1), process.bridge(rows_x_t, flat, t.flatten(), s.flatten(), Drawn(u)))
    assert torch.equal(fine[:, [0, 4]], x_t[:, [0, 4]])
    again = process.renoise(fine, s, t, Drawn(u))
    assert torch.equal(again.flatten(0, 1), process.renoise(fine.flatten(0, 1), s.flatten(), t.flatten(), Drawn(u)))
    law = process.law(x_t, belief, t, s)
    torch.testing.assert_close(law.flatten(0, 1), process.law(rows_x_t, flat, t.flatten(), s.flatten()))
    torch.testing.assert_close(process.evidence(x_t, t).flatten(0, 1), process.evidence(rows_x_t, t.flatten()))


@pytest.mark.parametrize("eta", ETAS)
def test_a_step_of_no_length_changes_no_bit_of_a_frame_at_either_end(any_schedule, eta):
    process = Gaussian(any_schedule)
    t = torch.tensor([[0.0, 0.4, 1.0]], dtype=F64)
    x, x0 = torch.randn(1, 3, 2, dtype=F64), torch.randn(1, 3, 2, dtype=F64)
    assert torch.equal(process.bridge(x, Point(x0), t, t, Stream(0), eta), x)
    assert torch.equal(process.renoise(x, t, t, Stream(0)), x)


def test_renoising_is_the_forward_process_from_where_x_stands(any_schedule):
    """q(x_s | x_t) = N(alpha_s / alpha_t x_t, sigma_s^2 - (alpha_s / alpha_t)^2 sigma_t^2), for s >= t."""
    process = Gaussian(any_schedule)
    t, s = column(0.0, 0.1, 0.3, 0.5, 0.8), column(0.2, 0.6, 0.3001, 0.5, 0.99)
    x, noise = (torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    found = process.renoise(x, t, s, Given(noise))
    ratio = any_schedule.alpha(s) / any_schedule.alpha(t)
    variance = any_schedule.sigma(s) ** 2 - ratio**2 * any_schedule.sigma(t) ** 2
    wanted = ratio[:, None] * x + variance.clamp_min(0).sqrt()[:, None] * noise
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert torch.equal(found[3], x[3])


def test_noise_put_in_twice_is_noise_put_in_once(any_schedule):
    """From data to t and on to s: together the law of one jump to s, and from one number to the next independent."""
    process = Gaussian(any_schedule)
    t, s, x0 = column(0.3), column(0.7), torch.zeros(1, 1, dtype=F64)
    gains = []
    for first, second in ((1.0, 0.0), (0.0, 1.0)):
        x_t = process.mix(x0, torch.full((1, 1), first, dtype=F64), t)
        gains.append(process.renoise(x_t, t, s, Given(torch.full((1, 1), second, dtype=F64))).item())
    assert gains[0] ** 2 + gains[1] ** 2 == pytest.approx(any_schedule.sigma(s).item() ** 2, rel=1e-9)

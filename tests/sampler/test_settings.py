"""Every setting of the samplers of numbers and of their grids has the effect that is written beside it."""

import math

import pytest
import torch
from conformance.subjects import F64, Silent, column, full, ring, run, tilted, unchecked
from truth.test_gaussian_law import law, marginal

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.rng import RowSeeds, Stream
from unmelt.sampler import (
    Churn,
    DPMpp,
    DPMppSingle,
    Euler,
    Grid,
    PredictorCorrector,
    Restart,
    Sampler,
    SASolver,
    State,
    adams_sampler,
    grid,
    invert,
    sample,
    trajectory,
    walk,
)
from unmelt.sampler.leapfrog import Leapfrog
from unmelt.sampler.loop import knots

COS = schedule.Cosine()


class Noting(Sampler):
    """A sampler whose steps change nothing but the time, and that notes where each begins and ends."""

    def __init__(self):
        self.steps = []

    def init(self, denoiser, x, t, rng, condition=None):
        return State.start(x, t, rng, condition)

    def step(self, denoiser, state, s):
        self.steps.append((state, s))
        return state.moved(state.x, s, state.x)


class Counted:
    """A denoiser that notes the times it is asked about."""

    def __init__(self, of):
        self.of, self.process, self.shape, self.times = of, of.process, of.shape, []

    def __call__(self, x_t, t, condition=None):
        self.times.append(t.tolist())
        return self.of(x_t, t, condition)


def normals(rows, shape=(2,), seed=0):
    return torch.randn(rows, *shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


# Churn


@pytest.mark.parametrize("on", [COS, schedule.VarianceExploding(0.02, 80.0)], ids=str)
@pytest.mark.parametrize("amount", [0.1, 0.41])
def test_churn_raises_the_noise_level_by_its_amount_within_its_interval_alone(on, amount):
    model, low, high = tilted(on), 0.3, 3.0
    ratio = column(0.1, 0.2999, 0.3001, 1.0, 2.9999, 3.0001, 8.0)
    t = on.time(-2 * ratio.log())
    x, rng, noting = normals(7), RowSeeds.of(5, 7), Noting()
    churn = Churn(noting, amount=amount, interval=(low, high))
    churn.step(model, churn.init(model, x, t, rng), t / 2)
    ((begun, s),) = noting.steps
    inside = torch.tensor([False, False, True, True, True, False, False])
    raised = torch.where(inside, (1 + amount) * ratio, ratio)
    torch.testing.assert_close(torch.exp(-on.log_snr(begun.t) / 2), raised, rtol=1e-9, atol=0)
    assert torch.equal(begun.x[~inside], x[~inside])
    assert torch.equal(begun.t[~inside], t[~inside])
    assert torch.equal(s, t / 2)
    kept = on.alpha(begun.t) / on.alpha(t)
    added = torch.sqrt((on.sigma(begun.t) ** 2 - (kept * on.sigma(t)) ** 2).clamp_min(0))
    wanted = kept[:, None] * x + added[:, None] * rng.normal(x.shape, F64)
    torch.testing.assert_close(begun.x[inside], wanted[inside], rtol=1e-9, atol=1e-10)


def test_churn_stops_at_pure_noise():
    on, noting = schedule.VarianceExploding(0.02, 80.0), Noting()
    churn = Churn(noting, amount=0.5, interval=(0.0, 1000.0))
    t = on.time(-2 * column(70.0, 80.0).log())
    churn.step(tilted(on), churn.init(tilted(on), normals(2), t, RowSeeds.of(0, 2)), t / 2)
    assert noting.steps[0][0].t.tolist() == pytest.approx([1.0, 1.0], abs=1e-12)


# Restart


@pytest.mark.parametrize("times", [0, 1, 3])
@pytest.mark.parametrize(
    ("t", "s", "again"),
    [
        (0.6, 0.3, True),
        (0.5, 0.4, True),
        (0.4, 0.2, False),
        (0.4, 0.2999, False),
        (0.6001, 0.4, False),
        (0.9, 0.7, False),
        (0.7, 0.2, False),
    ],
)
def test_a_step_restarts_as_often_as_told_if_it_lies_within_the_interval(t, s, again, times):
    model, noting = tilted(COS), Noting()
    restart = Restart(noting, times=times, interval=(0.3, 0.6))
    x, rng = normals(2), RowSeeds.of(5, 2)
    done = restart.step(model, restart.init(model, x, full(2, t), rng), full(2, s))
    assert done.t.tolist() == [s, s]
    assert len(noting.steps) == 1 + again * times
    for (begun, end), number in zip(noting.steps[1:], range(times), strict=False):
        assert (begun.t.tolist(), end.tolist()) == ([t, t], [s, s])
        x = model.process.renoise(x, full(2, s), full(2, t), RowSeeds(rng.seeds, rng.draws + number))
        assert torch.equal(begun.x, x)  # the step itself changed nothing


def test_a_step_to_the_data_is_not_taken_again():
    noting = Noting()
    restart = Restart(noting, times=2)
    restart.step(tilted(COS), restart.init(tilted(COS), normals(2), full(2, 0.3), RowSeeds.of(0, 2)), full(2, 0.0))
    assert len(noting.steps) == 1


# Predictor and corrector


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_corrector_takes_as_many_moves_after_each_step_and_none_at_the_data(steps):
    model = Counted(tilted(COS))
    run(PredictorCorrector(Euler(), corrector_steps=steps), model, normals(1), column(0.8, 0.4, 0.0))
    assert model.times == [[0.8], *[[0.4]] * steps, [0.4]]


@pytest.mark.parametrize("snr", [0.1, 0.3])
def test_a_move_of_the_corrector_is_langevin_of_that_signal_to_noise_ratio(any_schedule, snr):
    """x + step score + sqrt(2 step) noise with step = 2 (snr sigma)^2."""
    model, s, x = tilted(any_schedule), full(3, 0.4), normals(3)
    sampler, noise = PredictorCorrector(Noting(), corrector_steps=1, snr=snr), normals(3, seed=1)
    state = sampler.init(model, x, full(3, 0.6), RowSeeds.of(0, 3))

    class Draws(RowSeeds):
        def normal(self, shape, dtype=torch.float32, device="cpu"):
            return noise.to(dtype)

        def __getitem__(self, rows):
            return Draws(self.seeds[rows], self.draws[rows])

    state = State(state.x, state.t, state.x0, Draws(state.rng.seeds, state.rng.draws))
    step = (2 * (snr * any_schedule.sigma(s)) ** 2)[:, None]
    wanted = x + step * model.score(x, s) + torch.sqrt(2 * step) * noise
    torch.testing.assert_close(sampler.step(model, state, s).x, wanted, rtol=1e-9, atol=1e-10)


# Fresh noise

SOLVERS = [
    DPMpp(2, eta=0.5),
    DPMpp(2, eta=1.0),
    DPMpp(2, eta=1.4),
    DPMpp(3, eta=0.5),
    DPMppSingle(eta=0.5),
    DPMppSingle(eta=1.0),
    SASolver(2, eta=0.5),
    SASolver(3, eta=1.0),
    PredictorCorrector(DPMpp(), corrector_steps=2, snr=0.05),
    Churn(DPMppSingle(), amount=0.05),
    Churn(DPMppSingle(), amount=0.05, interval=(0.5, 2.0)),
    Restart(DPMpp(), times=2, interval=(0.2, 0.6)),
]


@pytest.mark.parametrize("sampler", SOLVERS, ids=repr)
def test_every_share_of_fresh_noise_has_the_right_law(sampler):
    """Whatever is drawn anew, the marginals are the process's: mean and covariance at a late time, to a few percent."""
    times = COS.time(torch.linspace(-5.0, 4.0, 65, dtype=F64))
    with unchecked():
        mean, covariance = law(sampler, COS, times)
    right_mean, right = marginal(COS, times[-1])
    torch.testing.assert_close(mean, right_mean, rtol=0.01, atol=0.01)
    assert torch.linalg.matrix_norm(covariance - right) < 0.03 * torch.linalg.matrix_norm(right)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 1.3])
@pytest.mark.parametrize("kind", [lambda eta: DPMpp(1, eta=eta), lambda eta: SASolver(1, eta=eta)], ids=["DPMpp", "SA"])
def test_a_first_order_step_with_fresh_noise_in_closed_form(any_schedule, kind, eta):
    """x_s = c x_t + (a_s - a_t c) x0 + s_s sqrt(1 - q^(2 eta^2)) noise, with c = s_s / s_t q^(eta^2)."""
    model, x, noise, t, s = tilted(any_schedule), normals(4), normals(4, seed=1), full(4, 0.7), full(4, 0.4)

    class Draws(RowSeeds):
        def normal(self, shape, dtype=torch.float32, device="cpu"):
            return noise.to(dtype)

    sampler = kind(eta)
    state = sampler.init(model, x, t, Draws(torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)))
    (a_t, s_t), (a_s, s_s) = ((any_schedule.alpha(each)[:, None], any_schedule.sigma(each)[:, None]) for each in (t, s))
    q = a_t * s_s / (a_s * s_t)
    c = s_s / s_t * q ** (eta**2)
    wanted = c * x + (a_s - a_t * c) * model(x, t).mean + s_s * torch.sqrt(1 - q ** (2 * eta**2)) * noise
    torch.testing.assert_close(sampler.step(model, state, s).x, wanted, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_single_step_solver_looks_half_way_and_takes_its_second_step_by_the_extrapolated_belief(eta):
    """Both steps are of first order; the second is by x0_u + e^(-(1 + eta^2) h / 2) (x0_u - x0_t)."""
    model, x, t, s = tilted(COS), normals(3), full(3, 0.7), full(3, 0.4)
    u = COS.time((COS.log_snr(t) + COS.log_snr(s)) / 2)
    silent = Silent(torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))

    def one(x, x0, t, s):
        q = (COS.alpha(t) * COS.sigma(s) / (COS.alpha(s) * COS.sigma(t)))[:, None]
        c = (COS.sigma(s) / COS.sigma(t))[:, None] * q ** (eta**2)
        return c * x + (COS.alpha(s)[:, None] - COS.alpha(t)[:, None] * c) * x0

    x0 = model(x, t).mean
    x_u = one(x, x0, t, u)
    x0_u, h = model(x_u, u).mean, ((COS.log_snr(s) - COS.log_snr(t)) / 2)[:, None]
    wanted = one(x_u, x0_u + torch.exp(-(1 + eta**2) * h / 2) * (x0_u - x0), u, s)
    sampler = DPMppSingle(eta=eta)
    torch.testing.assert_close(
        sampler.step(model, sampler.init(model, x, t, silent), s).x, wanted, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_second_step_of_the_multistep_solver_extrapolates_the_belief(eta):
    """D = x0_t + h / (2 h') (x0_t - x0_before) in a first-order step, with steps of different lengths."""
    model, x, times = tilted(COS), normals(3), column(0.8, 0.65, 0.3)
    between = run(DPMpp(2, eta=eta), model, x, times[:2])
    lam = COS.log_snr(times) / 2
    x0_before, x0 = model(x, full(3, times[0])).mean, model(between.x, full(3, times[1])).mean
    belief = x0 + (lam[2] - lam[1]) / (2 * (lam[1] - lam[0])) * (x0 - x0_before)
    a, sd = COS.alpha(times), COS.sigma(times)
    c = sd[2] / sd[1] * (a[1] * sd[2] / (a[2] * sd[1])) ** (eta**2)
    wanted = c * between.x + (a[2] - a[1] * c) * belief
    torch.testing.assert_close(run(DPMpp(2, eta=eta), model, x, times).x, wanted, rtol=1e-9, atol=1e-9)


# Leapfrog


@pytest.mark.parametrize("steps", [1, 8])
def test_a_float32_round_trip_gives_the_same_bits(steps):
    """What float32 cannot hold of x is remembered beside it, so that rounding does not add up."""
    model, x0 = tilted(COS), Stream(3).normal((40, 2))
    condition = Condition(label=torch.arange(40) % 2)
    with torch.no_grad(), unchecked():
        up = invert(model, x0, grid=grid.karras(steps), condition=condition)
        *_, down = walk(model, Leapfrog(), up, knots(grid.karras(steps), COS, 40)[1:])
    assert down.x.dtype == torch.float32
    assert torch.equal(down.x, x0)


# Grids

ON = schedule.VarianceExploding(0.002, 80.0)


@pytest.mark.parametrize("rho", [1.0, 3.0, 7.0])
@pytest.mark.parametrize(("low", "high"), [(0.002, 80.0), (0.05, 10.0), (0.05, 400.0)])
def test_karras_spaces_the_power_1_over_rho_of_the_ratio_evenly(any_schedule, rho, low, high):
    times = grid.karras(9, rho=rho, sigma_min=low, sigma_max=high)(any_schedule)
    top = min(high, torch.exp(-any_schedule.log_snr(column(1.0)) / 2).item())
    inner = torch.exp(-any_schedule.log_snr(times[1:-1]) / 2)
    wanted = torch.linspace(top ** (1 / rho), low ** (1 / rho), 9, dtype=F64)[1:] ** rho
    torch.testing.assert_close(inner, wanted, rtol=1e-7, atol=0)
    assert (times[0], times[-1]) == (1, 0)


@pytest.mark.parametrize(("low", "high"), [(0.002, 80.0), (0.05, 10.0)])
def test_log_snr_spaces_the_logarithm_of_the_ratio_evenly(any_schedule, low, high):
    times = grid.log_snr(9, sigma_min=low, sigma_max=high)(any_schedule)
    top = min(high, torch.exp(-any_schedule.log_snr(column(1.0)) / 2).item())
    wanted = torch.linspace(-2 * math.log(top), -2 * math.log(low), 9, dtype=F64)[1:]
    torch.testing.assert_close(any_schedule.log_snr(times[1:-1]), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pivot", [0.2, 0.63, 1.0, 3.0])
def test_balanced_spaces_sigma_over_sigma_plus_pivot_alpha_evenly(any_schedule, pivot):
    times = grid.balanced(8, pivot)(any_schedule)
    share = any_schedule.sigma(times) / (any_schedule.sigma(times) + pivot * any_schedule.alpha(times))
    torch.testing.assert_close(share, torch.linspace(share[0].item(), 0, 9, dtype=F64), rtol=1e-8, atol=1e-9)


def test_the_other_spacings_are_their_formulas():
    assert grid.uniform(4)(COS).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    angle = math.pi / 2 * torch.linspace(1, 0, 6, dtype=F64)
    torch.testing.assert_close(grid.cosine(5)(COS), torch.sin(angle) ** 2, rtol=0, atol=1e-12)
    fractions = [1.0, 0.8, 0.3, 0.1, 0.0]
    times = grid.relative_levels(fractions)(ON)
    level = ON.sigma(times) / (ON.sigma(times) + 0.63 * ON.alpha(times))
    torch.testing.assert_close(level / level[0], torch.tensor(fractions, dtype=F64), rtol=1e-9, atol=1e-12)
    half = Grid(grid.Uniform(), 2, start=0.5)
    assert half(COS).tolist() == [0.5, 0.25, 0.0]
    torch.testing.assert_close(Grid(grid.Cosine(), 2, start=0.5)(COS), column(0.5, 0.25, 0.0))


def test_the_order_of_the_default_solver_grows_with_the_steps():
    orders = {steps: adams_sampler(steps)[0].order for steps in (5, 7, 8, 15, 16, 31, 32, 100)}
    assert orders == {5: 3, 7: 3, 8: 4, 15: 4, 16: 5, 31: 5, 32: 6, 100: 6}
    assert adams_sampler(20)[1] == grid.balanced(20)


# The loop


def test_a_grid_is_visited_from_the_prior_of_the_process():
    for on in (COS, ON):
        model, seeds = ring(on), RowSeeds.of(4, 3)
        first, *_, last = trajectory(model, rows=3, sampler=Euler(), grid=grid.karras(5), seed=4, dtype=F64)
        assert torch.equal(first.x, model.process.prior((3, 2), seeds, F64))
        assert torch.equal(first.x, on.sigma(column(1.0)) * seeds.normal((3, 2), F64))
        assert (last.t == 0).all()
        assert torch.equal(last.x, sample(model, rows=3, sampler=Euler(), grid=grid.karras(5), seed=4, dtype=F64))

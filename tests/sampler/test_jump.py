"""Jump, against the exact flow map of a Gaussian in closed form."""

import math

import pytest
import torch
from conformance.subjects import F64, Anisotropic, Fast, Silent, column, full, run, unchecked
from sampler.flows import ExactFlowMap

import unmelt as um
from unmelt import UsageError, schedule
from unmelt.rng import RowSeeds
from unmelt.sampler import RK4, Jump, State, advance, grid, walk

T, S, U = column(1.0, 0.9, 0.7), column(0.0, 0.3, 0.1), column(0.5, 0.6, 0.2)


def noise(rows=3, *shape):
    return torch.randn(rows, *shape, 3, dtype=F64, generator=torch.Generator().manual_seed(0))


def silent(rows):
    return Silent(torch.zeros(rows, dtype=torch.int64), torch.zeros(rows, dtype=torch.int64))


def jumped(exact, x, t, s):
    return exact.process.ode_step(x, exact.jump(x, t, s).mean, t, s)


def test_the_exact_flow_map_jumps_where_a_fine_solver_arrives(plain_schedule):
    exact = ExactFlowMap(plain_schedule)
    x = plain_schedule.sigma(column(1.0)) * noise()
    times = grid.log_snr(400, sigma_min=1e-3, sigma_max=1e3)(plain_schedule)[:-1]
    with unchecked():
        fine = run(RK4(), exact, x, times).x
    torch.testing.assert_close(jumped(exact, x, full(3, 1.0), full(3, times[-1])), fine, rtol=1e-5, atol=1e-5)


def test_exact_jumps_compose(any_schedule):
    exact, x = ExactFlowMap(any_schedule), any_schedule.sigma(T)[:, None] * noise()
    through = jumped(exact, jumped(exact, x, T, U), U, S)
    torch.testing.assert_close(through, jumped(exact, x, T, S), rtol=1e-9, atol=1e-9)


def test_the_exact_map_is_exact_in_one_step_and_in_many(any_schedule):
    exact = ExactFlowMap(any_schedule)
    x = any_schedule.sigma(column(1.0)) * noise()
    wanted = Anisotropic.make().flow(x, any_schedule, column(1.0), column(0.0))
    for steps in (1, 2, 7):
        made = run(Jump(), exact, x, grid.cosine(steps)(any_schedule)).x
        torch.testing.assert_close(made, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_fresh_noise_keeps_the_law_of_a_gaussian(eta):
    rows, exact = 20_000, ExactFlowMap(schedule.Cosine())
    truth = exact.truth
    rng = Fast.many(rows)
    with unchecked():
        x = run(Jump(eta), exact, rng.normal((rows, 3), F64), grid.uniform(4)(schedule.Cosine()), rng.advance()).x
    assert (x.mean(0) - truth.mean).abs().max() < 0.05
    assert (torch.cov(x.T) - truth.covariance).abs().max() < 0.08


def test_all_noise_fresh_is_multistep_consistency_sampling():
    """Jump to 0, add noise to s: alpha_s x_0 + sigma_s noise (Song et al., 2023, algorithm 1)."""
    on, x = schedule.Straight(), noise()
    exact, rng = ExactFlowMap(schedule.Straight()), RowSeeds.of(7, 3)
    state = Jump(eta=1.0).init(exact, x, T, rng)
    after = Jump(eta=1.0).step(exact, state, U)
    ends = exact.flow(x, T, torch.zeros_like(T))
    wanted = on.alpha(U)[:, None] * ends + on.sigma(U)[:, None] * rng.normal(x.shape, F64)
    torch.testing.assert_close(after.x, wanted, rtol=1e-10, atol=1e-10)
    assert after.rng.draws.tolist() == [1, 1, 1]


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_rows_and_frames_at_their_own_times_are_jumped_alone(eta):
    exact, x = ExactFlowMap(schedule.Cosine()), noise(2, 3)
    t = torch.stack([T, T.flip(0)])
    shares = [column(0.6, 1.0, 0.5), column(0.6, 0.8, 0.2), column(0.0, 0.0, 0.0)]
    fine, rows = (
        Jump(eta).init(exact, *data) for data in ((x, t, silent(2)), (x.flatten(0, 1), t.flatten(), silent(6)))
    )
    for share in shares:
        before = fine
        fine, rows = advance(exact, Jump(eta), fine, share * t), advance(exact, Jump(eta), rows, (share * t).flatten())
        torch.testing.assert_close(fine.x.flatten(0, 1), rows.x, rtol=1e-11, atol=1e-11)
        waits = share * t == before.t
        assert torch.equal(fine.x[waits], before.x[waits])
    joined = State.join([rows[3:], rows[:3]])
    assert torch.equal(joined.x, rows.x[[3, 4, 5, 0, 1, 2]])


def test_a_seed_is_a_row():
    exact = ExactFlowMap(schedule.Cosine())
    settings = {"sampler": Jump(eta=0.7), "grid": grid.cosine(3), "seed": 5, "dtype": F64}
    many, few = (um.sample(exact, rows=rows, **settings) for rows in (5, 2))
    torch.testing.assert_close(many[:2], few, rtol=1e-12, atol=1e-12)


def test_a_denoiser_that_cannot_jump_is_refused():
    denoiser = Anisotropic.make().denoiser(schedule.Cosine())
    with pytest.raises(UsageError, match="which cannot jump"):
        Jump().init(denoiser, noise(), T, silent(3))
    with pytest.raises(UsageError, match="cannot jump"):
        next(walk(denoiser, Jump(), State.start(noise(), T, silent(3)), [S]))
    for eta in (-0.1, 1.1):
        with pytest.raises(UsageError, match="eta"):
            Jump(eta=eta)


@pytest.mark.parametrize("eta", [0.3, 0.8])
def test_a_jump_goes_on_to_the_level_below_which_the_fresh_noise_is_added(any_schedule, eta):
    """r_ratio = sqrt(1 - eta^2) s_ratio, so that what is added has eta^2 of the variance at s."""
    arrivals = []

    class Spy(ExactFlowMap):
        def jump(self, x_t, t, s, condition=None):
            arrivals.append(s)
            return super().jump(x_t, t, s, condition)

    exact, s = Spy(any_schedule), column(0.6, 0.3, 0.1)
    with unchecked():
        state = Jump(eta).init(exact, any_schedule.sigma(T)[:, None] * noise(), T, RowSeeds.of(0, 3))
        Jump(eta).step(exact, state, s)
    ratio = torch.exp(-any_schedule.log_snr(arrivals[0]) / 2)
    wanted = math.sqrt(1 - eta**2) * torch.exp(-any_schedule.log_snr(s) / 2)
    torch.testing.assert_close(ratio, wanted, rtol=1e-8, atol=1e-10)

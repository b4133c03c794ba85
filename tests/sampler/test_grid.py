import math

import pytest
import torch
from conformance.subjects import F64, column, ring, unchecked

from unmelt import schedule
from unmelt.denoiser import Mixture
from unmelt.errors import UsageError
from unmelt.process import Gaussian
from unmelt.sampler import DDIM, DPMpp, Euler, Grid, Langevin, grid, sample, trajectory
from unmelt.sampler.grid import LogSNR


@pytest.mark.parametrize("steps", [1, 2, 3, 18, 1000])
def test_falls_from_one_to_exactly_zero(any_schedule, any_grid, steps):
    times = any_grid(steps)(any_schedule)
    assert times.shape == (steps + 1,)
    assert times.dtype == F64
    assert times[0].item() == 1
    assert times[-1].item() == 0
    assert (times.diff() < 0).all()


@pytest.mark.parametrize("make", [grid.karras, grid.log_snr])
def test_same_noise_levels_on_every_schedule(any_schedule, make):
    times = make(12, sigma_min=0.01, sigma_max=5.0)(any_schedule)[1:-1]
    reference = schedule.VarianceExploding(0.002, 80.0)
    wanted = reference.log_snr(make(12, sigma_min=0.01, sigma_max=5.0)(reference)[1:-1])
    torch.testing.assert_close(any_schedule.log_snr(times), wanted, rtol=0, atol=1e-9)


def test_karras_is_the_published_formula():
    on, n = schedule.VarianceExploding(0.002, 80.0), 18
    i = torch.arange(n, dtype=F64)
    wanted = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7  # Karras et al., 2022, equation 5
    torch.testing.assert_close(on.sigma(grid.karras(n)(on)), torch.cat([wanted, column(0.0)]), rtol=1e-10, atol=0)


def test_log_snr_is_geometric():
    on = schedule.VarianceExploding(0.002, 80.0)
    ratio = on.sigma(grid.log_snr(10)(on))[:-1]
    torch.testing.assert_close(ratio[1:] / ratio[:-1], torch.full((9,), (0.002 / 80) ** (1 / 9), dtype=F64))


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, 10**7, math.nan, "ten"])
def test_bad_steps_are_refused(any_grid, steps):
    with unchecked(), pytest.raises(UsageError, match="a whole number"):
        any_grid(steps)


def test_fixed_times():
    times = [1.0, 0.7, 0.1, 0.0]
    assert grid.fixed(times)(schedule.Cosine()).tolist() == times
    assert grid.fixed([0.4, 0.0])(schedule.Cosine()).tolist() == [0.4, 0.0]
    for bad in ([], [1.0], [1.0, 0.5], [1.0, 0.5, 0.5, 0.0], [0.5, 0.7, 0.0], [1.2, 0.5, 0.0], [1.0, math.nan, 0.0]):
        with pytest.raises(UsageError):
            grid.fixed(bad)(schedule.Cosine())


@pytest.mark.parametrize("start", [0.0, -0.1, 1.1, math.nan])
def test_bad_starts_are_refused(start):
    with pytest.raises(UsageError, match="start"):
        Grid(LogSNR(), 4, start=start)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DDIM(eta=1.5),
        lambda: DDIM(eta=math.nan),
        lambda: DPMpp(order=4),
        lambda: DPMpp(order=0),
        lambda: Langevin(walks=0),
        lambda: Langevin(size=2.0),
        lambda: Langevin(size=math.nan),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(UsageError):
        make()


def test_sample_refuses_no_rows_and_a_denoiser_without_a_shape():
    model = ring(schedule.Cosine())
    settings = {"sampler": Euler(), "grid": grid.uniform(2)}
    with pytest.raises(UsageError, match="at least one row"):
        sample(model, rows=0, **settings)
    shapeless = type("Shapeless", (), {"process": model.process, "__call__": lambda self, x, t, condition=None: None})()
    with unchecked(), pytest.raises(UsageError, match="shape of one row"):
        sample(shapeless, rows=1, **settings)
    with unchecked(), pytest.raises(UsageError, match="a Denoiser object"):
        sample(lambda x, t, condition=None: None, rows=1, **settings)


def test_a_grid_from_within_time_stays_within(any_schedule, any_grid):
    """Any spacing may start below t = 1 (a half-melted picture): it is spread over what is left."""
    times = Grid(any_grid(6).spacing, 6, start=0.4)(any_schedule)
    assert times.shape == (7,)
    assert times[0].item() == 0.4
    assert times[-1].item() == 0
    assert (times.diff() < 0).all()


def test_sampling_from_within_time_is_not_from_the_prior(any_schedule):
    """`sample` knows only noise: a grid that starts below t = 1 must start at that level's noise, or be refused."""
    model = Mixture.gaussian(torch.zeros(2, dtype=F64), torch.eye(2, dtype=F64) * 1e-4, Gaussian(any_schedule))
    start = any_schedule.time(column(0.0)).item()
    try:
        first = next(trajectory(model, rows=400, sampler=Euler(), grid=grid.fixed([start, 0.0]), seed=0, dtype=F64))
    except UsageError:
        return
    assert (first.x.std() / any_schedule.sigma(column(start)) - 1).abs() < 0.15

"""A tuned sampler: better than the stock one on noise it has not seen, and right whatever was learned."""

import pytest
import torch
from conformance.subjects import F64, Silent, column, full, ring, tilted, unchecked

from unmelt import UsageError, schedule
from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.guidance import CFG
from unmelt.process import Gaussian
from unmelt.sampler import Adams, Tuned, adams_sampler, grid, knots, tune, walk
from unmelt.sampler.default import default_sampler, initial_guess, untrained
from unmelt.sampler.tune import fit


def noise(on, rows, dim=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return on.sigma(column(1.0)) * torch.randn(rows, dim, dtype=F64, generator=generator)


def ends(model, sampler, on_grid, x, condition=None):
    silent = Silent(torch.zeros(len(x), dtype=torch.int64), torch.zeros(len(x), dtype=torch.int64))
    start, *times = knots(on_grid, model.process.schedule, len(x))
    with torch.no_grad(), unchecked():
        return [*walk(model, sampler, sampler.init(model, x, start, silent, condition), times)][-1].x


def rms(x):
    return x.square().mean().sqrt().item()


def test_a_sampler_tuned_on_the_ring_is_better_on_new_noise(plain_schedule):
    model = ring(plain_schedule)
    with unchecked():
        result = tune(model, 4, noise(plain_schedule, 256), rounds=12)
    fresh = noise(plain_schedule, 400, seed=1)
    wanted = ends(model, Adams(6), grid.balanced(96), fresh)
    untuned, default_error = (rms(ends(model, *way(4), fresh) - wanted) for way in (adams_sampler, default_sampler))
    tuned = rms(ends(model, result.sampler, result.sampler.grid, fresh) - wanted)
    assert tuned < untuned / 4
    assert tuned < default_error / 2
    assert result.tuned_error < result.default_error / 2
    assert result.default_error == pytest.approx(default_error, rel=0.5)


def test_errors_are_measured_on_the_last_quarter_of_the_rows_which_is_not_learned_from():
    on = schedule.Cosine()
    model, x, label = tilted(on), noise(on, 40), Condition(label=torch.arange(40) % 2)
    wanted = ends(model, *adams_sampler(24), x, label)
    with unchecked():
        result = tune(model, 3, x, label, rounds=3, teacher=24)
        learned = fit(model, initial_guess(3), x[:30], wanted[:30], label[:30], rounds=3)
    assert result.sampler == learned
    for (sampler, times), error in (
        (default_sampler(3), result.default_error),
        ((learned, learned.grid), result.tuned_error),
    ):
        off = ends(model, sampler, times, x[30:], label[30:]) - wanted[30:]
        assert rms(off) == pytest.approx(error, rel=1e-6)


def test_it_learns_under_guidance():
    """Beside a sampler in stock that has learned under guidance, too."""
    on = schedule.Cosine()
    model, label = CFG(tilted(on), scale=3.0), torch.arange(600) % 2
    with unchecked():
        result = tune(model, 4, noise(on, 600), Condition(label=label))
    assert result.tuned_error < 0.75 * result.default_error


def test_the_initial_guess_is_the_adams_predictor(plain_schedule):
    """To the extent that a mixture of beliefs can say it; without the corrector."""
    model, x = tilted(plain_schedule), noise(plain_schedule, 50)
    begun = untrained(6)
    torch.testing.assert_close(begun.grid(plain_schedule), grid.balanced(6)(plain_schedule))
    wanted = ends(model, Adams(6), grid.balanced(96), x)
    assert rms(ends(model, begun, begun.grid, x) - wanted) < 3 * rms(ends(model, *adams_sampler(6), x) - wanted)


def test_an_optimal_sampler_is_not_changed():
    """Fitting to its own end points, a sampler is what it was."""
    on = schedule.Cosine()
    model, x = tilted(on), noise(on, 40)
    begun = untrained(4)
    with unchecked():
        again = fit(model, begun, x, ends(model, begun, begun.grid, x), rounds=3)
    for name in ("levels", "ahead"):
        torch.testing.assert_close(column(*getattr(again, name)), column(*getattr(begun, name)))


def test_it_is_the_same_sampler_on_every_schedule(plain_schedule):
    """What was learned are levels and beliefs, so that one model melted in two ways ends in the same points."""
    if plain_schedule.alpha(column(1.0)) != 0:
        pytest.skip("noise that is not pure has another start")
    found = Tuned((1.0, 0.6, 0.3, 0.0), ((), (-0.4,), (-0.5, 0.2)), (0.0, 0.2, -0.1))
    wanted = ends(tilted(schedule.Straight()), found, found.grid, noise(schedule.Straight(), 20))
    torch.testing.assert_close(
        ends(tilted(plain_schedule), found, found.grid, noise(plain_schedule, 20)), wanted, rtol=1e-7, atol=1e-7
    )


def test_any_weights_are_exact_on_a_point(plain_schedule):
    point = column(0.7, -1.3)
    model = Mixture.gaussian(point, torch.zeros(2, 2, dtype=F64), Gaussian(plain_schedule))
    wild = Tuned((1.0, 0.6, 0.3, 0.0), ((), (-3.0,), (7.0, -2.0)), (0.2, 0.7, -0.3))
    assert (ends(model, wild, wild.grid, noise(plain_schedule, 5)) - point).abs().max() < 1e-9


def test_a_row_that_joins_late_has_no_past():
    """It begins in the middle with a step of order 1, as any sampler would."""
    on = schedule.Cosine()
    sampler = Tuned((1.0, 0.6, 0.3, 0.0), ((), (-0.4,), (-0.5, 0.2)), (0.0, 0.0, 0.0))
    model, x = tilted(on), noise(on, 3)
    silent = Silent(torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    t = grid.relative_levels((1.0, 0.3, 0.0))(on)[1].item()
    state = sampler.step(model, sampler.init(model, x, full(3, t), silent), full(3, 0.1))
    carried = model.process.ode_step(x, model(x, full(3, t)).mean, full(3, t), full(3, 0.1))
    torch.testing.assert_close(state.x, carried)


@pytest.mark.parametrize("steps", [1, 0, 31])
def test_step_counts_out_of_range_are_refused(steps):
    with pytest.raises(UsageError, match="2 to 30"):
        tune(ring(schedule.Cosine()), steps, noise(schedule.Cosine(), 64))


def test_too_few_rows_are_refused():
    with pytest.raises(UsageError, match="at least 16"):
        tune(ring(schedule.Cosine()), 4, noise(schedule.Cosine(), 8))


@pytest.mark.parametrize(
    "settings",
    [
        ((1.0, 0.5, 0.6, 0.0), ((), (0.1,), (0.1,)), (0.0, 0.0, 0.0)),
        ((1.0, 0.5, 0.1), ((), (0.1,)), (0.0, 0.0)),
        ((1.0, 0.5, 0.0), ((), (0.1, 0.2)), (0.0, 0.0)),
        ((1.0, 0.5, 0.0), ((), (float("nan"),)), (0.0, 0.0)),
        ((1.0, 0.5, 0.0), ((),), (0.0, 0.0)),
    ],
)
def test_invalid_levels_and_weights_are_refused(settings):
    with pytest.raises(UsageError, match="Tuned"):
        Tuned(*settings)

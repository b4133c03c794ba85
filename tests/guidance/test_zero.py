import pytest
import torch
from conformance.subjects import F64, column, run
from kinds import Counted, batch, classes

from unmelt import schedule
from unmelt.errors import UsageError
from unmelt.guidance import CFG, CFGZero, ZeroInit
from unmelt.sampler import Euler, grid, sample


def velocities(shift):
    """Conditional, null and guided velocities of flow matching, by the prediction that networks are trained on."""
    on = schedule.Straight(shift)
    model, (x, t, condition) = classes(on), batch()
    x, t, condition = x[1:-1], t[1:-1], condition[1:-1]
    guided = CFGZero(model, 3.0)
    return [
        Velocity().output(belief.mean, x, t, model.process) / on.sigma_rate(t)[:, None]
        for belief in (model(x, t, condition), model(x, t, condition.null()), guided(x, t, condition))
    ]


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_velocities_on_straight_schedules_equal_the_papers(shift):
    conditional, null, guided = velocities(shift)
    share = ((conditional * null).sum(1) / null.square().sum(1))[:, None]
    wanted = (1 - 3.0) * share * null + 3.0 * conditional
    torch.testing.assert_close(guided, wanted, rtol=1e-9, atol=1e-10)


def test_the_share_minimises_the_residual():
    """The scaled null velocity that was used follows from the guided one; no other share has a smaller residual."""
    conditional, null, guided = velocities(1.0)
    used = (guided - 3.0 * conditional) / (1 - 3.0)  # share * null
    residual = (conditional - used).square().sum(1)
    for share in torch.linspace(-3, 3, 601, dtype=F64):
        assert (residual <= (conditional - share * null).square().sum(1) + 1e-12).all()
    torch.testing.assert_close(
        ((conditional - used) * null).sum(1), torch.zeros(len(null), dtype=F64), rtol=0, atol=1e-9
    )


def test_rows_above_the_time_after_do_not_move_and_are_not_evaluated(any_schedule):
    """They stay where they are in straight coordinates."""
    times = column(1.0, 0.99, 0.97)
    base = Counted(classes(any_schedule))
    x, _, condition = batch(4)
    x = x * any_schedule.sigma(times[:1])
    state = run(Euler(), ZeroInit(CFG(base, 3.0), after=0.96), x, times, condition=condition)
    before, after = (base.process.straight_coordinates(*at)[0] for at in ((x, times[0].expand(4)), (state.x, state.t)))
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
    assert base.calls == 0


def test_zero_init_acts_only_above_the_time_after():
    model, (x, t, condition) = classes(schedule.Cosine()), batch()
    belief = ZeroInit(model, after=0.5)(x, t, condition).mean
    evaluated = t <= 0.5
    assert torch.equal(belief[evaluated], model(x, t, condition).mean[evaluated])
    assert torch.equal(belief[~evaluated], model.process.straight_coordinates(x, t)[0][~evaluated])
    made = sample(ZeroInit(CFGZero(model, 2.0)), rows=3, label=1, sampler=Euler(), grid=grid.uniform(30), seed=0)
    assert torch.isfinite(made).all()


@pytest.mark.parametrize("after", [0.0, 1.1, -0.5, float("nan")])
def test_times_outside_0_to_1_are_refused(after):
    with pytest.raises(UsageError, match="ZeroInit"):
        ZeroInit(classes(schedule.Cosine()), after)

"""What every public kind of guidance promises, and every wrapper around one."""

import math

import pytest
import torch
from conformance.subjects import F64, levels
from kinds import EXTRA, INTERVAL, KINDS, TOKENS, WRAPPERS, Counted, batch, classes, make

from unmelt import guidance, schedule
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.guidance import APG, CFG, Autoguidance, Composition, Guidance, Rescale, ZeroInit
from unmelt.sampler import DPMpp, Euler, grid, sample

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
COS = schedule.Cosine()

WRAPPED = {
    **{kind.__name__: lambda base, scale, kind=kind: make(kind, base, scale) for kind in KINDS},
    "Rescale(APG)": lambda base, scale: Rescale(APG(base, scale), share=0.7),
    "Rescale(Autoguidance)": lambda base, scale: Rescale(make(Autoguidance, base, scale)),
    "ZeroInit(CFG)": lambda base, scale: ZeroInit(CFG(base, scale), after=1.0),
    "CFG(ZeroInit)": lambda base, scale: CFG(ZeroInit(base, after=1.0), scale),
    "CFG(Autoguidance)": lambda base, scale: CFG(make(Autoguidance, base, scale), scale),
    "APG(CFG)": lambda base, scale: APG(CFG(base, scale), scale),
    "Composition": lambda base, scale: Composition(base, [Condition(label=torch.tensor([1]))], [scale - 1]),
}
"""Each with the scale to make it with; at scale 1 all are the denoiser itself."""

every_way = pytest.mark.parametrize("build", WRAPPED.values(), ids=WRAPPED)


def test_nothing_public_is_left_out():
    assert {kind.__name__ for kind in KINDS} | {"Guidance", *WRAPPERS, *TOKENS} == set(guidance.__all__)
    assert set(EXTRA) <= {kind.__name__ for kind in KINDS}


@every_way
def test_scale_one_is_unguided_bit_for_bit_and_at_no_cost(any_schedule, build):
    (x, t, condition), base = batch(dtype=torch.float32), Counted(classes(any_schedule))
    plain = base(x, t, condition).mean
    base.calls = 0
    guided = build(base, 1.0)
    assert torch.equal(guided(x, t, condition).mean, plain)
    assert base.calls == 1
    settings = {"rows": 3, "label": 1, "sampler": DPMpp(2), "grid": grid.karras(4), "seed": 0}
    assert torch.equal(sample(guided, **settings), sample(base, **settings))


@every_way
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_from_noise_to_data_without_a_nan(any_schedule, build, dtype):
    x, t, condition = batch(dtype=dtype)
    guided = build(Counted(classes(any_schedule)), 3.0)
    belief = guided(x, t, condition).mean
    assert belief.dtype == dtype
    assert torch.isfinite(belief).all()
    assert not torch.equal(belief, classes(any_schedule)(x, t, condition).mean)
    assert guided.shape == (3,)
    assert guided.process.schedule == any_schedule
    made = sample(guided, rows=2, label=0, sampler=Euler(), grid=grid.karras(4), seed=0, dtype=dtype)
    assert torch.isfinite(made).all()


@every_way
def test_rows_at_mixed_times_are_rows_alone(build):
    x, t, condition = batch(9)
    guided = build(Counted(classes(COS)), 3.0)
    alone = [guided(x[i : i + 1], t[i : i + 1], condition[i : i + 1]).mean for i in range(9)]
    torch.testing.assert_close(guided(x, t, condition).mean, torch.cat(alone), rtol=1e-12, atol=1e-12)


@every_kind
def test_the_same_at_the_same_noise_level_on_every_schedule(any_schedule, kind):
    """A schedule is a speed and a size: at equal sigma / alpha, x_t scaled alike, every belief is the same."""
    if kind.__name__ == "CFGpp":
        pytest.skip("knots are times, so the next knot's noise level is the schedule's")
    x, _, condition = batch(12)
    t = levels(any_schedule, 12, widest=3.0)
    ratio = any_schedule.sigma(t) / any_schedule.alpha(t)
    reference = schedule.Straight().time(-2 * torch.log(ratio))
    answers = []
    for on, times in ((any_schedule, t), (schedule.Straight(), reference)):
        x_t = x * (on.alpha(times) + on.sigma(times))[:, None]
        answers.append(make(kind, Counted(classes(on)), 3.0)(x_t, times, condition).mean)
    torch.testing.assert_close(*answers, rtol=1e-9, atol=1e-10)


@every_kind
def test_only_inside_the_interval(any_schedule, kind):
    (x, t, condition), base = batch(), Counted(classes(any_schedule))
    plain, always = base(x, t, condition).mean, make(kind, base, 3.0)(x, t, condition).mean
    within = make(kind, base, 3.0, interval=INTERVAL)(x, t, condition).mean
    inside = (t >= INTERVAL[0]) & (t <= INTERVAL[1])
    assert torch.equal(within[~inside], plain[~inside])
    assert torch.equal(within[inside], always[inside])
    assert not torch.equal(always, plain)


@every_kind
def test_outside_the_interval_nothing_more_is_asked(kind):
    (x, t, condition), base = batch(), Counted(classes(COS))
    guided, outside = make(kind, base, 3.0, interval=INTERVAL), t < 0.3
    assert torch.equal(
        guided(x[outside], t[outside], condition[outside]).mean,
        base.inner(x[outside], t[outside], condition[outside]).mean,
    )
    assert base.calls == 1


@every_kind
def test_guidance_overstates(kind):
    """From scale 1 on, every kind moves samples away from the other class: its log-odds rise with the scale."""
    odds = []
    for scale in (1.0, 1.2, 1.5, 2.0):
        base = Counted(classes(COS))
        made = sample(
            make(kind, base, scale), rows=200, label=0, sampler=Euler(), grid=grid.karras(12), seed=0, dtype=F64
        )
        told = Condition(label=torch.zeros(200, dtype=torch.int64))
        odds.append(base.log_probability(made, torch.zeros(200, dtype=F64), told).mean().item())
    if kind is Autoguidance:  # from a blurred version of itself it sharpens, with no thought of classes
        assert all(math.isfinite(one) for one in odds)
    else:
        assert odds == sorted(odds)
        assert odds[-1] > odds[0]


@every_kind
@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf])
def test_scales_that_are_no_numbers_are_refused(kind, scale):
    with pytest.raises(UsageError, match="guidance scale"):
        make(kind, Counted(classes(COS)), scale)


@every_kind
@pytest.mark.parametrize("interval", [(0.6, 0.3), (0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (math.nan, 1.0)])
def test_bad_intervals_are_refused(kind, interval):
    with pytest.raises(UsageError, match="interval"):
        make(kind, Counted(classes(COS)), 2.0, interval=interval)


@every_kind
def test_without_a_condition(kind):
    """Kinds that compare with the null belief have nothing to compare; the worse model still does."""
    (x, t, _), base = batch(), Counted(classes(COS))
    if kind.__name__ == "Classifier":
        pytest.skip("what a classifier says of no class is its own affair")
    same = torch.equal(make(kind, base, 3.0)(x, t).mean, base(x, t).mean)
    assert same == (kind is not Autoguidance)


@every_kind
def test_arguments_are_kept(kind):
    made = make(kind, Counted(classes(COS)), 2.0, interval=INTERVAL)
    assert isinstance(made, Guidance)
    assert (made.scale, made.interval) == (2.0, INTERVAL)
    assert all(hasattr(made, name) for name in EXTRA.get(kind.__name__, lambda base: {})(made.denoiser))

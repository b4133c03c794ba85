"""Properties of every public kind of guidance and of every wrapper around one."""

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
"""(denoiser, scale) -> guidance; at scale 1 each is the denoiser itself."""

every_wrapping = pytest.mark.parametrize("build", WRAPPED.values(), ids=WRAPPED)


def test_every_public_guidance_is_tested():
    assert {kind.__name__ for kind in KINDS} | {"Guidance", *WRAPPERS, *TOKENS} == set(guidance.__all__)
    assert set(EXTRA) <= {kind.__name__ for kind in KINDS}


@every_wrapping
def test_scale_1_is_unguided_bit_for_bit_with_one_network_call(any_schedule, build):
    (x, t, condition), base = batch(dtype=torch.float32), Counted(classes(any_schedule))
    plain = base(x, t, condition).mean
    base.calls = 0
    guided = build(base, 1.0)
    assert torch.equal(guided(x, t, condition).mean, plain)
    assert base.calls == 1
    settings = {"rows": 3, "label": 1, "sampler": DPMpp(2), "grid": grid.karras(4), "seed": 0}
    assert torch.equal(sample(guided, **settings), sample(base, **settings))


@every_wrapping
@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
def test_beliefs_and_samples_are_finite_at_every_time_and_keep_their_dtype(any_schedule, build, dtype):
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


@every_wrapping
def test_rows_at_mixed_times_equal_rows_alone(build):
    x, t, condition = batch(9)
    guided = build(Counted(classes(COS)), 3.0)
    alone = [guided(x[i : i + 1], t[i : i + 1], condition[i : i + 1]).mean for i in range(9)]
    torch.testing.assert_close(guided(x, t, condition).mean, torch.cat(alone), rtol=1e-12, atol=1e-12)


@every_kind
def test_beliefs_at_equal_noise_levels_are_equal_on_every_schedule(any_schedule, kind):
    """Schedules differ in speed and scale only: at equal sigma / alpha and equally scaled x_t, beliefs are equal."""
    if kind.__name__ == "CFGpp":
        pytest.skip("knots are times, so the noise level of the next knot depends on the schedule")
    x, _, condition = batch(12)
    t = levels(any_schedule, 12, widest=3.0)
    ratio = any_schedule.sigma(t) / any_schedule.alpha(t)
    reference = schedule.Straight().time(-2 * torch.log(ratio))
    beliefs = []
    for on, times in ((any_schedule, t), (schedule.Straight(), reference)):
        x_t = x * (on.alpha(times) + on.sigma(times))[:, None]
        beliefs.append(make(kind, Counted(classes(on)), 3.0)(x_t, times, condition).mean)
    torch.testing.assert_close(*beliefs, rtol=1e-9, atol=1e-10)


@every_kind
def test_guidance_acts_only_inside_the_interval(any_schedule, kind):
    (x, t, condition), base = batch(), Counted(classes(any_schedule))
    plain, always = base(x, t, condition).mean, make(kind, base, 3.0)(x, t, condition).mean
    within = make(kind, base, 3.0, interval=INTERVAL)(x, t, condition).mean
    inside = (t >= INTERVAL[0]) & (t <= INTERVAL[1])
    assert torch.equal(within[~inside], plain[~inside])
    assert torch.equal(within[inside], always[inside])
    assert not torch.equal(always, plain)


@every_kind
def test_guidance_acts_at_both_ends_of_its_interval(kind):
    (x, _, condition), base = batch(4), Counted(classes(COS))
    low, high = INTERVAL
    for end, beyond in ((low, low - 1e-9), (high, high + 1e-9)):
        for t, inside in ((end, True), (beyond, False)):
            times = torch.full((4,), t, dtype=F64)
            within = make(kind, base, 3.0, interval=INTERVAL)(x, times, condition).mean
            assert torch.equal(within, make(kind, base, 3.0)(x, times, condition).mean) == inside
            assert torch.equal(within, base(x, times, condition).mean) == (not inside)


@every_kind
def test_outside_the_interval_there_is_one_network_call(kind):
    (x, t, condition), base = batch(), Counted(classes(COS))
    guided, outside = make(kind, base, 3.0, interval=INTERVAL), t < 0.3
    assert torch.equal(
        guided(x[outside], t[outside], condition[outside]).mean,
        base.inner(x[outside], t[outside], condition[outside]).mean,
    )
    assert base.calls == 1


@every_kind
def test_log_odds_of_the_class_rise_with_the_scale(kind):
    """From scale 1 on, every kind moves samples away from the other class."""
    odds = []
    for scale in (1.0, 1.2, 1.5, 2.0):
        base = Counted(classes(COS))
        made = sample(
            make(kind, base, scale), rows=200, label=0, sampler=Euler(), grid=grid.karras(12), seed=0, dtype=F64
        )
        condition = Condition(label=torch.zeros(200, dtype=torch.int64))
        odds.append(base.log_probability(made, torch.zeros(200, dtype=F64), condition).mean().item())
    if kind is Autoguidance:  # it sharpens, away from a blurred version of itself, whatever the class
        assert all(math.isfinite(one) for one in odds)
    else:
        assert odds == sorted(odds)
        assert odds[-1] > odds[0]


@every_kind
@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf])
def test_scales_that_are_not_finite_are_refused(kind, scale):
    with pytest.raises(UsageError, match="guidance scale"):
        make(kind, Counted(classes(COS)), scale)


@every_kind
@pytest.mark.parametrize("interval", [(0.6, 0.3), (0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (math.nan, 1.0)])
def test_intervals_outside_0_to_1_or_in_the_wrong_order_are_refused(kind, interval):
    with pytest.raises(UsageError, match="interval"):
        make(kind, Counted(classes(COS)), 2.0, interval=interval)


@every_kind
def test_without_a_condition_only_autoguidance_acts(kind):
    """Without a condition the belief is the null belief; the worse model still differs."""
    (x, t, _), base = batch(), Counted(classes(COS))
    if kind.__name__ == "ClassifierGuidance":
        pytest.skip("the classifier of this test needs a class")
    same = torch.equal(make(kind, base, 3.0)(x, t).mean, base(x, t).mean)
    assert same == (kind is not Autoguidance)


@every_kind
def test_constructor_arguments_are_attributes(kind):
    made = make(kind, Counted(classes(COS)), 2.0, interval=INTERVAL)
    assert isinstance(made, Guidance)
    assert (made.scale, made.interval) == (2.0, INTERVAL)
    assert all(hasattr(made, name) for name in EXTRA.get(kind.__name__, lambda base: {})(made.denoiser))

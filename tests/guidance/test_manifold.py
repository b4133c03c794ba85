import pytest
import torch
from conformance.subjects import F64, Silent, run
from kinds import batch, classes

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.guidance import CFG, CFGpp
from unmelt.sampler import DDIM, DPMpp, Euler, advance, grid, sample

NO_NOISE = Silent.of(0, 8)


def ends(on, times):
    """alpha and sigma at neighbouring times, shaped for rows."""
    return [part[:, None] for t in (times[:-1], times[1:]) for part in (on.alpha(t), on.sigma(t))]


@pytest.mark.parametrize("sampler", [Euler(), DDIM(0.0), DPMpp(order=1)], ids=repr)
def test_one_step_equals_algorithm_2_of_the_paper(any_schedule, sampler):
    """Every row steps from its own knot to the next one: the image is guided, the noise is not."""
    times, scale, model = grid.karras(8)(any_schedule), 1.4, classes(any_schedule)
    x, t, s = batch(8)[0], times[:-1], times[1:]
    condition = Condition(label=torch.arange(8) % 2)
    c, null = model(x, t, condition).mean, model(x, t, condition.null()).mean
    a_t, s_t, a_s, s_s = ends(any_schedule, times)

    guided = CFGpp(model, scale, grid.karras(8))
    state = sampler.init(guided, x, t, NO_NOISE[:8], condition)
    step = sampler.step(guided, state, s).x
    wanted = a_s * (c + (scale - 1) * (c - null)) + s_s * (x - a_t * c) / s_t
    torch.testing.assert_close(step, wanted, rtol=1e-12, atol=1e-12)

    # Algorithm 2 as printed, in noises and with its own lambda at each step.
    gain = a_s / (a_s - a_t * s_s / s_t)
    weight = scale - 1 + 1 / gain
    interior = (a_t > 1e-2)[:, 0]  # where x0 follows from the noise without loss of digits
    noise_c, noise_null = (x - a_t * c) / s_t, (x - a_t * null) / s_t
    mixed = noise_null + weight * (noise_c - noise_null)
    paper = a_s * (x - s_t * mixed) / a_t + s_s * noise_null
    torch.testing.assert_close(step[interior], paper[interior], rtol=1e-11, atol=1e-11)


def test_the_last_step_equals_classifier_free_guidance(any_schedule):
    x, _, condition = batch(6)
    t, model = grid.karras(5)(any_schedule)[-2].expand(6), classes(any_schedule)
    plain = CFG(model, 2.0)(x, t, condition).mean
    torch.testing.assert_close(CFGpp(model, 2.0, grid.karras(5))(x, t, condition).mean, plain, rtol=1e-12, atol=1e-12)


def test_between_knots_the_next_knot_below_is_used():
    on, model = schedule.Straight(), classes(schedule.Straight())
    x, _, condition = batch(3)
    t = torch.tensor([0.55, 0.75, 0.2], dtype=F64)
    s = torch.tensor([0.5, 0.5, 0.0], dtype=F64)
    belief, null = model(x, t, condition).mean, model(x, t, condition.null()).mean
    gain = (on.alpha(s) / (on.alpha(s) - on.alpha(t) * on.sigma(s) / on.sigma(t)))[:, None]
    guided = CFGpp(model, 1.5, grid.fixed([1.0, 0.5, 0.0]))(x, t, condition).mean
    torch.testing.assert_close(guided, belief + 0.5 * gain * (belief - null), rtol=1e-12, atol=1e-12)


def test_pausing_and_resuming_rows_changes_nothing(any_schedule):
    times, model = grid.karras(5)(any_schedule), CFGpp(classes(any_schedule), 1.3, grid.karras(5))
    x, _, condition = batch(4)
    x = x * any_schedule.sigma(times[:1])
    straight = run(Euler(), model, x, times, condition=condition).x
    state = Euler().init(model, x, times[0].expand(4), NO_NOISE[:4], condition)
    knots, odd = times.tolist(), torch.arange(4) % 2 == 1
    position = torch.zeros(4, dtype=torch.int64)
    for turn in range(20):
        moving = odd if turn % 3 == 0 else ~odd
        position = (position + moving.long()).clamp_max(len(knots) - 1)
        state = advance(model, Euler(), state, times[position])
    assert state.t.tolist() == [0.0] * 4
    torch.testing.assert_close(state.x, straight, rtol=1e-12, atol=1e-12)


def test_more_steps_guide_more_strongly():
    """As documented: k grows as steps shrink, and there is no limit of many steps."""
    model = classes(schedule.Cosine())
    condition = Condition(label=torch.zeros(200, dtype=torch.int64))
    means = []
    for steps in (20, 40, 80):
        on = {"grid": grid.karras(steps), "sampler": Euler(), "dtype": F64}
        made = sample(CFGpp(model, 1.2, grid.karras(steps)), rows=200, condition=condition, seed=0, **on)
        means.append(made[:, 0].mean().item())
    assert means[1] > means[0] + 0.1
    assert means[2] > means[1] + 0.1

"""Each row may have its own guidance scale; it travels with the row."""

import torch
from conformance.subjects import full
from guidance.kinds import batch, classes

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.guidance import APG, CFG, Autoguidance, Rescale
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds
from unmelt.sampler import DDIM, DPMpp, State, grid

COS = schedule.Cosine()
SCALES = torch.tensor([1.0, 2.0, 0.0, 5.0], dtype=torch.float64)


def with_scale(condition, scales):
    return Condition(label=condition.label, guidance_scale=scales)


def test_rows_of_one_batch_have_their_own_scales():
    x, t, condition = batch(4)
    for build in (CFG, APG):
        together = build(classes(COS), 7.0)(x, t, with_scale(condition, SCALES)).mean
        for row, scale in enumerate(SCALES.tolist()):
            alone = build(classes(COS), scale)(x[row : row + 1], t[row : row + 1], condition[row : row + 1]).mean
            torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-12, atol=1e-12)


def test_rows_of_scale_1_are_unguided_bit_for_bit():
    x, t, condition = batch(4)
    model = classes(COS)
    guided = CFG(model, 7.0)(x, t, with_scale(condition, SCALES)).mean
    assert torch.equal(guided[:1], model(x, t, condition).mean[:1])
    assert torch.equal(CFG(model, 7.0)(x, t, with_scale(condition, torch.ones(4))).mean, model(x, t, condition).mean)


def test_the_outermost_guidance_takes_the_rows_scale():
    x, t, condition = batch(4)
    model = classes(COS)
    inner = CFG(model, 3.0)
    found = Autoguidance(inner, worse=CFG(model, 1.0), scale=9.0)(x, t, with_scale(condition, torch.full((4,), 2.0)))
    expected = Autoguidance(inner, worse=CFG(model, 1.0), scale=2.0)(x, t, condition)
    torch.testing.assert_close(found.mean, expected.mean, rtol=1e-12, atol=1e-12)
    rescaled = Rescale(CFG(model, 9.0))(x, t, with_scale(condition, torch.full((4,), 2.0)))
    torch.testing.assert_close(rescaled.mean, Rescale(CFG(model, 2.0))(x, t, condition).mean, rtol=1e-12, atol=1e-12)


def test_a_rows_scale_survives_split_and_join():
    model, times = classes(COS), grid.cosine(6)(COS)
    label = torch.arange(4) % 2
    for sampler in (DDIM(0.5), DPMpp(2)):
        rng = RowSeeds.of(3, 4)
        x = Gaussian(COS).prior((4, *model.shape), rng, torch.float64)
        condition = Condition(label=label, guidance_scale=SCALES)
        guided = CFG(model, 1.0)
        state = sampler.init(guided, x, full(4, 1.0), rng.advance(), condition)
        order = torch.tensor([2, 0, 3, 1])
        for step, s in enumerate(times[1:]):
            if step == 2:
                state = State.join([state[order[:1]], state[order[1:]]])
            state = sampler.step(guided, state, full(4, s))
        assert torch.equal(state.condition.guidance_scale, SCALES[order])
        for place, row in enumerate(order.tolist()):
            one = slice(row, row + 1)
            alone = CFG(model, SCALES[row].item())
            state1 = sampler.init(alone, x[one], full(1, 1.0), rng[one].advance(), Condition(label=label[one]))
            for s in times[1:]:
                state1 = sampler.step(alone, state1, full(1, s))
            torch.testing.assert_close(state.x[place : place + 1], state1.x, rtol=1e-9, atol=1e-9)


def test_scales_of_rows_count_inside_the_interval_only():
    x, _, condition = batch(4)
    model, own = classes(COS), with_scale(condition, torch.full((4,), 5.0, dtype=torch.float64))
    t = torch.tensor([0.5, 0.3, 0.8, 0.1], dtype=torch.float64)  # inside, at an end, above, below
    for build in (CFG, APG):
        everywhere = build(model, 5.0)(x, t, condition).mean
        found = build(model, 7.0, interval=(0.3, 0.6))(x, t, own).mean
        torch.testing.assert_close(found[:2], everywhere[:2], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found[2:], model(x, t, condition).mean[2:], rtol=1e-12, atol=1e-12)
        assert not torch.allclose(everywhere[2:], found[2:])

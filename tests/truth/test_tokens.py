"""Token diffusion against enumeration: three tokens, four positions, all sequences, in float64."""

import itertools
import math

import pytest
import torch
from truth.enumeration import (
    NEAR,
    SEQUENCES,
    L,
    V,
    Wrong,
    any_order,
    far,
    final,
    law,
    nelbo,
    sampled,
    states,
    times,
    walked,
)

import unmelt as um
from unmelt.denoiser import ExactTokenDenoiser
from unmelt.objective.nelbo import mask_rate, rate, uniform_rate
from unmelt.posterior import Categorical
from unmelt.process import Blend, Mask, Uniform
from unmelt.rng import Stream
from unmelt.sampler import Ancestral
from unmelt.sampler import tokens as way
from unmelt.schedule import TokenCosine, TokenGeometric, TokenLinear, TokenPolynomial

SCHEDULES = [TokenLinear(), TokenPolynomial(2.0), TokenCosine(), TokenGeometric(1e-3, 40.0)]
PROCESSES = [Mask(V), Uniform(V), Blend(V, masks=0.6)]


def named(part):
    return str(part).replace("schedule=", "")


@pytest.mark.parametrize("schedule", SCHEDULES, ids=named)
def test_schedules_have_exact_ends_rates_and_inverses(schedule):
    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    alpha = schedule.alpha(t)
    assert alpha[0] == 1
    assert alpha[-1] <= (1e-17 if isinstance(schedule, TokenGeometric) else 0)
    assert (alpha.diff() < 0).all()
    inner = t[1:-1]
    torch.testing.assert_close(schedule.time(schedule.alpha(inner)), inner, rtol=1e-7, atol=1e-9)
    h = 1e-6
    slope = (schedule.alpha(inner + h) - schedule.alpha(inner - h)) / (2 * h)
    torch.testing.assert_close(schedule.alpha_rate(inner), slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("schedule", SCHEDULES[:3], ids=named)
@pytest.mark.parametrize("kind", [Mask, Uniform, Blend])
def test_the_bridge_averaged_over_x_t_gives_the_marginal_at_s(kind, schedule):
    """q(x_s | x0) is the sum over x_t of q(x_s | x_t, x0) q(x_t | x0)."""
    process = kind(V, schedule)
    eye = torch.eye(process.symbols, dtype=torch.float64)
    for t, s in itertools.combinations((1.0, 0.7, 0.35, 0.1, 0.0), 2):
        for token in range(V):
            x_t = torch.arange(process.symbols)[:, None]
            one = torch.full((process.symbols,), 1.0, dtype=torch.float64)
            sees = process.likelihood(x_t, one * t)[:, 0, token]
            certain = Categorical(eye[token, :V].log().expand(process.symbols, 1, V))
            back = process.law(x_t, certain, one * t, one * s)[:, 0]
            there = sees > 0
            direct = process.likelihood(x_t, one * s)[:, 0, token]
            torch.testing.assert_close(sees[there] @ back[there], direct, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.4), (1.0, 0.0), (0.7, 0.3), (0.3, 0.0), (0.02, 0.01)])
@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_bridge_samples_follow_the_law_of_the_bridge(process, t, s):
    rows, doubts = 100_000, torch.randn(V, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for token in range(process.symbols):
        sure = process == Mask(V) and token < V  # what stands among masks is certain
        if sure and t == 1:  # and when nothing is left, nothing does
            continue
        logits = torch.eye(V, dtype=torch.float64)[token].log() if sure else doubts
        x_t, belief = torch.full((rows, 1), token), Categorical(logits.expand(rows, 1, V))
        drawn = process.bridge(x_t, belief, times(t).expand(rows), times(s).expand(rows), Stream(0))
        found = torch.bincount(drawn[:, 0], minlength=process.symbols) / rows
        law = process.law(x_t[:1], Categorical(logits[None, None]), times(t), times(s))[0, 0]
        assert ((found - law).abs() <= 5 * (law * (1 - law) / rows).sqrt() + 1e-12).all()


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_samples_of_corrupt_melt_and_prior_follow_their_laws(process):
    rows, token, rng = 200_000, 1, Stream(3)
    x0 = torch.full((rows, 1), token)
    t, s = torch.full((rows,), 0.3, dtype=torch.float64), torch.full((rows,), 0.8, dtype=torch.float64)
    x_t, melted = process.corrupt(x0, t, rng)
    assert abs(melted.double().mean() - 0.3) < 4 * math.sqrt(0.21 / rows)
    for x, time in ((x_t, 0.3), (process.renoise(x_t, t, s, rng), 0.8), (process.prior((rows, 1), rng), 1.0)):
        one = torch.full((process.symbols,), time, dtype=torch.float64)
        expected = process.likelihood(torch.arange(process.symbols)[:, None], one)[:, 0, token]
        found = torch.bincount(x[:, 0], minlength=process.symbols) / rows
        assert (found - expected).abs().max() < 5 * math.sqrt(0.25 / rows)
        assert x.dtype == torch.int64


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_the_beliefs_of_a_table_match_bayes_rule(process):
    table = ExactTokenDenoiser(law(), process)
    x_t = states(process)
    t = torch.full((len(x_t),), 0.6, dtype=torch.float64)
    found = table(x_t, t).probabilities
    seen = process.likelihood(x_t, t)
    for row in range(0, len(x_t), 7):
        weights = torch.stack(
            [table.law[tuple(x0)] * math.prod(seen[row, k, int(x0[k])].item() for k in range(L)) for x0 in SEQUENCES]
        )
        marginal = torch.zeros(L, V, dtype=torch.float64)
        for weight, x0 in zip(weights, SEQUENCES, strict=True):
            for k in range(L):
                marginal[k, x0[k]] += weight
        torch.testing.assert_close(found[row], marginal / weights.sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", [TokenLinear(), TokenCosine()], ids=named)
def test_the_masked_bound_equals_the_any_order_likelihood_by_every_formula(schedule):
    model = Wrong(Mask(V, schedule))
    log_p, nll = any_order(model)
    by_time, by_entropy = nelbo(model, mask_rate, schedule), nelbo(model, rate, schedule)
    torch.testing.assert_close(by_time, nll, rtol=1e-9, atol=0)
    torch.testing.assert_close(by_entropy, nll, rtol=1e-9, atol=0)
    assert (-log_p.log() <= nll + 1e-12).all()  # Jensen: on all 81
    assert log_p.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("t", [1.0, 0.99, 0.6, 0.01])
def test_the_short_formula_of_the_uniform_bound_equals_the_general_one(t):
    process, every = Uniform(V), SEQUENCES
    belief = Wrong(process)(every, None)
    for x0 in SEQUENCES[::13]:
        arguments = (process, every, x0.expand_as(every), belief, times(t).expand(len(every)))
        if t < 1:
            torch.testing.assert_close(uniform_rate(*arguments), rate(*arguments), rtol=1e-9, atol=1e-11)
        else:  # nothing is left to tell
            assert max(each(*arguments).abs().max() for each in (rate, uniform_rate)) < 1e-4


def test_the_sum_over_mask_counts_equals_the_bound():
    model = Wrong(Mask(V))
    _, nll = any_order(model)
    found = torch.zeros(len(SEQUENCES), dtype=torch.float64)
    for count in range(1, L + 1):
        for places in itertools.combinations(range(L), count):
            x_t = SEQUENCES.clone()
            x_t[:, list(places)] = V
            belief = model(x_t, times(0.5).expand(len(x_t))).log_probabilities
            miss = -belief.gather(-1, SEQUENCES[..., None])[..., 0][:, list(places)].sum(1)
            found += miss / count / math.comb(L, count)
    torch.testing.assert_close(found, nll, rtol=1e-12, atol=0)


def test_with_equal_token_weights_every_masked_token_has_the_same_weight():
    model, rows, seen = Wrong(Mask(V)), 4000, []

    class Spy:
        process = model.process

        def __call__(self, x_t, t, condition=None):
            seen.append(x_t)
            return model(x_t, t)

    x0 = SEQUENCES[40].expand(rows, L)
    loss = um.objective.AnyOrder(equal_token_weights=True)(Spy(), x0, None, Stream(0))
    miss = -model(seen[0], None).log_probabilities.gather(-1, x0[..., None])[..., 0]
    torch.testing.assert_close(loss, torch.where(seen[0] == V, miss, 0).sum(1) * 2 / L)


@pytest.mark.parametrize("objective", [um.objective.AnyOrder(), um.objective.NELBO()], ids=str)
@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_objectives_are_unbiased_estimates_of_the_bound(process, objective):
    if isinstance(objective, um.objective.AnyOrder) and not isinstance(process, Mask):
        pytest.skip("counts masks")
    model = Wrong(process)
    expected = nelbo(model, rate, process.schedule)
    rows = 60_000
    for number in (0, 40, 80):
        x0 = SEQUENCES[number].expand(rows, L)
        found = objective(model, x0, None, Stream(number)).double() * L
        error = found.std() / math.sqrt(rows)
        assert abs(found.mean() - expected[number]) < 5 * error + 1e-3 * expected[number]


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_the_bound_of_the_exact_denoiser_averages_to_the_entropy(process):
    """With exact beliefs the bound is tight on average over the data, for every process."""
    table = ExactTokenDenoiser(law(), process)
    p = table.law.flatten()
    bound = nelbo(table, rate, process.schedule)
    assert (bound >= -p.log() - 1e-9).all() or not isinstance(process, Mask)
    assert p @ bound == pytest.approx(-(p @ p.log()).item(), rel=2e-4)


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_the_ancestral_law_converges_with_the_number_of_steps(process):
    table = ExactTokenDenoiser(law(), process)
    distance = []
    for steps in (1, 4, 16, 64):
        found = final(process, walked(table, torch.linspace(1, 0, steps + 1).tolist()))
        distance.append((found - table.law.flatten()).abs().sum().item() / 2)
    assert distance[0] > 0.1
    assert all(b < a / 2 for a, b in itertools.pairwise(distance))
    assert distance[-1] < distance[-2] / 3.5  # of order 1: a factor 4 in the limit


def test_the_ancestral_law_of_masks_converges_to_the_random_order_law():
    model = Wrong(Mask(V))
    log_p, _ = any_order(model)
    found = [
        (final(model.process, walked(model, torch.linspace(1, 0, steps + 1).tolist())) - log_p).abs().sum() / 2
        for steps in (1, 4, 16, 64)
    ]
    assert all(b < a / 2.5 for a, b in itertools.pairwise(found))


def test_first_hitting_is_exact_on_any_grid():
    model = Wrong(Mask(V, TokenCosine()))
    log_p, _ = any_order(model)
    for steps in (1, 3):
        assert far(sampled(model, way.FirstHitting(), steps), log_p) < NEAR


def test_one_token_per_call_in_random_order_is_exact_and_left_to_right_is_autoregression():
    model = Wrong(Mask(V))
    log_p, _ = any_order(model)
    assert far(sampled(model, way.Unmask(way.Random()), L), log_p) < NEAR
    x, chance = torch.full_like(SEQUENCES, V), torch.ones(V**L, dtype=torch.float64)
    for place in range(L):
        belief = model(x, torch.ones(V**L, dtype=torch.float64)).probabilities
        chance = chance * belief[torch.arange(V**L), place, SEQUENCES[:, place]]
        x = x.clone()
        x[:, place] = SEQUENCES[:, place]
    assert far(sampled(model, way.Unmask(way.LeftToRight()), L), chance) < NEAR
    assert far(sampled(model, way.Unmask(way.Confidence(), block=1), L), chance) < NEAR
    whole, free = (sampled(model, way.Unmask(way.Confidence(), block=block), 2) for block in (L, None))
    assert torch.equal(whole, free)


def test_remasking_of_strength_0_is_ancestral_and_every_strength_converges():
    table = ExactTokenDenoiser(law(), Mask(V))
    for steps in (2, 4):
        exact = final(table.process, walked(table, torch.linspace(1, 0, steps + 1).tolist()))
        assert far(sampled(table, way.Remask(0.0), steps), exact) < NEAR
    few, many = (far(sampled(table, way.Remask(1.0), steps), table.law.flatten()) for steps in (4, 48))
    assert many < NEAR + 0.01
    assert few > 2 * many


@pytest.mark.parametrize("process", PROCESSES, ids=named)
def test_corrector_steps_reduce_the_error_of_few_steps(process):
    table = ExactTokenDenoiser(law(), process)
    once, again = (
        far(sampled(table, s, times=(1.0, 0.5, 0.05, 0.0)), table.law.flatten())
        for s in (Ancestral(), way.PredictorCorrector(Ancestral(), corrector_steps=8, size=0.5))
    )
    assert again < 0.65 * once


def test_infilled_masks_have_the_true_conditional_law():
    table = ExactTokenDenoiser(law(), Mask(V))
    tokens, known = torch.tensor([2, 0, 1, 0]), torch.tensor([True, False, False, True])
    x = torch.where(known, tokens, table.process.mask)
    found = sampled(table, way.FirstHitting(), 1, x=x)
    assert far(found, table.given(tokens, known).law.flatten()) < NEAR


def test_unmasking_at_a_rate_of_1e_4_is_unbiased():
    rows, process = 400_000, Mask(8)
    belief = Categorical(torch.zeros(rows, 8, 8))
    t = torch.ones(rows, dtype=torch.float64)
    x = process.bridge(torch.full((rows, 8), 8), belief, t, t - 1e-4, Stream(0))
    count = (x < 8).sum().item()
    expected = rows * 8 * 1e-4
    assert abs(count - expected) < 5 * math.sqrt(expected)


def test_guidance_scale_1_is_unguided_and_other_scales_extrapolate_logits():
    a, b = Categorical(torch.randn(2, 3, V).double()), Categorical(torch.randn(2, 3, V).double())
    torch.testing.assert_close(a.lerp(b, 1.0).probabilities, b.probabilities)
    torch.testing.assert_close(a.lerp(b, 0.0).probabilities, a.probabilities)
    mixed = a.probabilities ** (1 - 2.5) * b.probabilities**2.5
    torch.testing.assert_close(a.lerp(b, 2.5).probabilities, mixed / mixed.sum(-1, keepdim=True))
    sure = Categorical(torch.tensor([[[0.0, -math.inf, 0.0]]]))
    assert sure.lerp(Categorical(torch.zeros(1, 1, 3)), 3.0).probabilities[0, 0].tolist() == [0.5, 0, 0.5]


def test_padding_is_never_corrupted_and_not_in_the_loss():
    model, pad = Wrong(Mask(V)), 2
    x0 = torch.tensor([[0, 1, pad, pad]]).expand(40_000, L)
    seen = []

    class Spy:
        process = model.process

        def __call__(self, x_t, t, condition=None):
            seen.append(x_t)
            return model(x_t, t, condition)

    for objective in (um.objective.NELBO(padding=pad), um.objective.AnyOrder(padding=pad)):
        loss = objective(Spy(), x0, None, Stream(0)).double()
        assert (seen[-1][:, 2:] == pad).all()
        orders = []
        for order in ((0, 1), (1, 0)):
            x, miss = torch.tensor([[V, V, pad, pad]]), 0.0
            for place in order:
                miss -= model(x, times(0.5)).log_probabilities[0, place, x0[0, place]].item()
                x = x.clone()
                x[0, place] = x0[0, place]
            orders.append(miss)
        assert abs(loss.mean() * 2 - sum(orders) / 2) < 5 * loss.std() * 2 / 200


def test_bad_arguments_are_refused():
    with pytest.raises(um.errors.UsageError, match="tokens from 0 to 7"):
        Mask(5).corrupt(torch.tensor([[0, 7]]), times(0.5), Stream(0))
    with pytest.raises(um.errors.UsageError, match="a denoiser on masks"):
        sampled(ExactTokenDenoiser(law(), Uniform(V)), way.FirstHitting(), 1, rows=3)
    with pytest.raises(um.errors.UsageError, match="Threshold"):
        way.Threshold(0.0)
    with pytest.raises(um.errors.UsageError, match=r"masks=1\.5"):
        Blend(3, masks=1.5)

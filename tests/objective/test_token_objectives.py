"""Objectives of tokens: what they show the denoiser (times, conditions, masks, readers), and their absolute values."""

import math

import pytest
import torch
from conformance.subjects import F64
from truth.enumeration import SEQUENCES, L, V, Wrong
from truth.small_transformer import network

import unmelt as um
from unmelt.condition import Condition
from unmelt.denoiser import Autoregressive, Blockwise
from unmelt.objective import NELBO, AnyOrder, LogitNormal, NextToken, Stratified, Uniform
from unmelt.objective.nelbo import rate
from unmelt.posterior import Categorical
from unmelt.process import Blend, Mask
from unmelt.process import Uniform as UniformNoise
from unmelt.rng import Stream
from unmelt.schedule import TokenCosine, TokenLinear, TokenPolynomial

ROWS = 4000
SCHEDULES = [TokenLinear(), TokenPolynomial(2.0), TokenCosine()]


class Noting:
    """A denoiser that believes in all tokens alike, and notes what it is shown."""

    def __init__(self, process, length=L):
        self.process, self.shape, self.length = process, (length,), length

    def __call__(self, x_t, t, condition=None):
        self.x_t, self.t, self.condition = x_t, t, condition
        return Categorical(torch.zeros(*x_t.shape, self.process.vocabulary, dtype=F64))


class Timed(Wrong):
    """Beliefs that fit no law, and that change with time."""

    def __call__(self, x_t, t, condition=None):
        return Categorical(super().__call__(x_t, t).logits * (0.2 + 1.5 * t).view(-1, 1, 1))


@pytest.mark.parametrize("kind", [NELBO, AnyOrder], ids=lambda kind: kind.__name__)
def test_drop_is_the_share_of_rows_with_the_null_condition(kind):
    noting, condition = Noting(Mask(V)), Condition(label=torch.arange(ROWS) % 2)
    x0 = SEQUENCES[40].expand(ROWS, L)
    kind(drop=0.2)(noting, x0, condition, Stream(0))
    assert 1 - noting.condition.is_given("label").double().mean().item() == pytest.approx(0.2, abs=0.03)
    assert torch.equal(noting.condition.label, condition.label)
    kind(drop=1.0)(noting, x0, condition, Stream(0))
    assert not noting.condition.is_given("label").any()
    kind()(noting, x0, condition, Stream(0))
    assert noting.condition is condition


def test_dropped_rows_are_drawn_apart_from_times_and_masks():
    """Otherwise the null belief would be trained at some noise levels only."""
    noting, condition = Noting(Mask(V)), Condition(label=torch.arange(ROWS) % 2)
    for objective in (NELBO(drop=0.5), AnyOrder(drop=0.5)):
        objective(noting, SEQUENCES[40].expand(ROWS, L), condition, Stream(0))
        given = noting.condition.is_given("label")
        masks = (noting.x_t == V).double().mean(1)
        assert abs(noting.t[given].mean() - noting.t[~given].mean()) < 0.05
        assert abs(masks[given].mean() - masks[~given].mean()) < 0.05


TIMES = [Uniform(), Stratified(Uniform()), Stratified(LogitNormal(0.5, 1.5))]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("times", TIMES, ids=str)
def test_the_nelbo_of_a_uniform_belief_is_log_vocabulary_whatever_the_times(schedule, times):
    rows, x0 = 40_000, SEQUENCES[torch.arange(40_000) % len(SEQUENCES)]
    loss = NELBO(times=times)(Noting(Mask(V, schedule)), x0, None, Stream(1))
    assert abs(loss.mean() - math.log(V)) < 4 * loss.std() / rows**0.5 + 1e-3


@pytest.mark.parametrize("process", [Mask(V, TokenCosine()), UniformNoise(V), Blend(V, masks=0.6)], ids=str)
def test_the_nelbo_is_the_rate_at_the_time_of_its_noise_over_the_density_of_the_time(process):
    model, seen = Timed(process), []
    times = LogitNormal(0.3, 0.8)

    class Spy:
        def __call__(self, x_t, t, condition=None):
            seen.append((x_t, t))
            return model(x_t, t)

    Spy.process = process
    x0 = SEQUENCES[torch.arange(ROWS) % len(SEQUENCES)]
    loss = NELBO(times=times)(Spy(), x0, None, Stream(0))
    ((x_t, t),) = seen
    nats = rate(process, x_t, x0, model(x_t, t), t).mean(1)
    torch.testing.assert_close(loss, nats / times.density(t, process.schedule), rtol=1e-6, atol=1e-9)
    left = process.schedule.alpha(t)[:, None] + (1 - process.schedule.alpha(t))[:, None] * process.limit[x0]
    assert abs(((x_t == x0).double() - left).mean()) < 4 * 0.5 / (ROWS * L) ** 0.5
    late = t > 0.5
    assert (x_t == x0)[late].double().mean() < (x_t == x0)[~late].double().mean() - 0.2


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_any_order_tells_the_time_at_which_as_many_tokens_are_masked(schedule):
    noting = Noting(Mask(V, schedule))
    AnyOrder()(noting, SEQUENCES[40].expand(ROWS, L), None, Stream(0))
    share = (noting.x_t == V).double().mean(1)
    torch.testing.assert_close(1 - schedule.alpha(noting.t), share)
    counts = (noting.x_t == V).sum(1).bincount(minlength=L + 1)
    assert counts[0] == 0
    assert (counts[1:] - ROWS / L).abs().max() <= 2  # every number of masks equally often
    assert ((noting.x_t == V) | (noting.x_t == SEQUENCES[40])).all()
    places = (noting.x_t == V).double().mean(0)
    assert (places - places.mean()).abs().max() < 0.03


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.4, 1.0])
def test_a_fraction_of_the_rows_is_read_bidirectionally(fraction):
    model, rows, seen = Blockwise(network(2), Mask(V), (L,), also_bidirectional=True), 30, {}
    body = model.backbone.forward

    def spy(x, t, condition=None, **how):
        seen["bidirectional" if how.get("bidirectional") else "blocks"] = len(x)
        return body(x, t, condition, **how)

    model.backbone.forward = spy
    loss = AnyOrder(bidirectional_row_fraction=fraction)(model, SEQUENCES[:rows], None, Stream(0))
    wanted = {"bidirectional": round(fraction * rows), "blocks": rows - round(fraction * rows)}
    assert seen == {name: count for name, count in wanted.items() if count}
    assert loss.shape == (rows,)


def test_a_uniform_belief_costs_log_vocabulary_by_every_objective():
    """Each of them is in nats per counted token, whatever is padded or known."""
    x0 = SEQUENCES[torch.arange(20_000) % len(SEQUENCES)].clone()
    x0[::2, 2:] = 1  # half of the rows are half padding
    known = torch.full_like(x0, -1)
    known[::3, 0] = x0[::3, 0]
    noting = Noting(Mask(V))
    for objective in (NELBO(padding=1), AnyOrder(padding=1), AnyOrder(padding=1, equal_token_weights=True)):
        loss = objective(noting, x0, Condition(known_tokens=known), Stream(2)).double()
        some = ((x0 != 1) & (known < 0)).any(1)
        mean, error = loss[some].mean(), loss[some].std() / int(some.sum()) ** 0.5
        extra = 0.0
        if objective == AnyOrder(padding=1, equal_token_weights=True):  # 2 (k + 1) / (2 k) of the loss, of k tokens
            extra = math.log(V) * (1 / ((x0 != 1) & (known < 0)).sum(1)[some].double()).mean().item()
        assert abs(mean - math.log(V) - extra) < 5 * error + 1e-12
        assert (loss[~some] == 0).all()


def test_next_token_counts_neither_padding_nor_known_tokens_and_reads_both():
    model = Autoregressive(network(1), Mask(V), (L,)).eval()
    x0 = torch.tensor([[0, 2, 1, 1], [2, 0, 2, 1], [1, 1, 1, 1]])
    known = torch.full_like(x0, -1)
    known[1, 0] = 2
    with torch.no_grad():
        belief = model(x0, torch.zeros(3, dtype=F64)).log_probabilities
        found = NextToken(padding=1)(model, x0, Condition(known_tokens=known), Stream(0))
    miss = -belief.gather(-1, x0[..., None])[..., 0]
    wanted = torch.stack([miss[0, :2].mean(), miss[1, 1:3].mean(), torch.zeros(())])
    torch.testing.assert_close(found, wanted)


def test_likelihood_of_tokens_is_the_loss_times_the_tokens_that_are_not_known():
    """The mean of as many draws, and the standard error of that mean."""
    x0, known = SEQUENCES[:6], torch.full((6, L), -1)
    known[:, 1] = SEQUENCES[:6, 1]
    known[3, 2:] = SEQUENCES[3, 2:]
    losses = torch.rand(5, 6, dtype=F64, generator=torch.Generator().manual_seed(0))
    asked = []

    def loss(denoiser, x, condition, rng):
        asked.append(rng.uniform((6,)))
        return losses[len(asked) - 1]

    found = um.likelihood.bound_on_tokens(loss, None, x0, Condition(known_tokens=known), draws=5, seed=3)
    counts = (known < 0).sum(1)
    torch.testing.assert_close(found.value, losses.mean(0) * counts)
    torch.testing.assert_close(found.error, losses.std(0) / 5**0.5 * counts)
    for number, draw in enumerate(asked):
        assert torch.equal(draw, Stream(um.rng.fold(3, number)).uniform((6,)))
    asked.clear()
    whole = um.likelihood.bound_on_tokens(loss, None, x0, draws=1)
    torch.testing.assert_close(whole.value, losses[0] * L)
    assert not whole.error.any()

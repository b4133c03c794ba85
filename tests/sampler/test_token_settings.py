"""Every setting of the samplers of tokens has the effect that is written beside it, and so have the times they tell."""

import pytest
import torch
from conformance.subjects import F64, full, unchecked

from unmelt.condition import Condition
from unmelt.guidance import Temperature, TopP
from unmelt.inverse import Infill
from unmelt.posterior import Categorical
from unmelt.process import Blend, Mask, Uniform
from unmelt.rng import RowSeeds, Stream
from unmelt.sampler import Ancestral, grid, trajectory
from unmelt.sampler.tokens import EntropyBound, FirstHitting, PredictorCorrector, Random, Remask, Threshold, Unmask
from unmelt.schedule import TokenCosine, TokenLinear, TokenPolynomial

V, L = 3, 8
SCHEDULES = [TokenLinear(), TokenPolynomial(2.0), TokenCosine()]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=str)


class Even:
    """A denoiser that believes in all tokens alike, and notes the times and the rows it is shown."""

    def __init__(self, process):
        self.process, self.shape, self.seen = process, (L,), []

    def __call__(self, x_t, t, condition=None):
        self.seen.append((x_t, t))
        return Categorical(torch.zeros(*x_t.shape, V, dtype=F64))


class Crowd(RowSeeds):
    """One generator for all rows."""

    def _draw(self, fill, shape, dtype, device):
        return Stream(int(self.draws.max()) + 77).uniform(shape, dtype)

    def advance(self):
        return Crowd(self.seeds, self.draws + 1)

    def __getitem__(self, rows):
        return Crowd(self.seeds[rows], self.draws[rows])


def crowd(rows):
    return Crowd(torch.zeros(rows, dtype=torch.int64), torch.zeros(rows, dtype=torch.int64))


def masks_at(model, sampler, times, rows=20_000):
    """The share of masks after each step from all masks."""
    x, found = torch.full((rows, L), V), []
    with unchecked():
        state = sampler.init(model, x, full(rows, 1.0), crowd(rows))
        for s in times:
            state = sampler.step(model, state, full(rows, s))
            found.append((state.x == V).double().mean().item())
    return found


@every_schedule
@pytest.mark.parametrize(
    "sampler", [Ancestral(), FirstHitting(), Remask(0.5), Remask(2.0), PredictorCorrector(size=1.0)], ids=str
)
def test_the_share_of_masks_is_the_processs_at_every_time(sampler, schedule):
    times = (0.8, 0.5, 0.25)
    found = masks_at(Even(Mask(V, schedule)), sampler, times)
    assert found == pytest.approx([1 - schedule.alpha(full(1, s)).item() for s in times], abs=0.006)


@pytest.mark.parametrize("strength", [0.5, 2.0, 8.0])
def test_a_token_is_remasked_at_the_rate_of_the_strength(strength):
    rows, t, s = 40_000, 0.5, 0.49
    model, x = Even(Mask(V)), torch.zeros(40_000, L, dtype=torch.int64)
    state = Remask(strength).init(model, x, full(rows, t), crowd(rows))
    found = (Remask(strength).step(model, state, full(rows, s)).x == V).double().mean().item()
    assert found == pytest.approx(strength * 0.01, abs=4 * (strength * 0.01 / (rows * L)) ** 0.5)


def test_no_more_tokens_are_remasked_than_may_be_masks():
    model, x = Even(Mask(V)), torch.zeros(20_000, L, dtype=torch.int64)
    state = Remask(1e6).init(model, x, full(20_000, 0.5), crowd(20_000))
    found = (Remask(1e6).step(model, state, full(20_000, 0.1)).x == V).double().mean().item()
    assert found == pytest.approx((1 - 0.9) / 0.5, abs=0.01)


@every_schedule
@pytest.mark.parametrize("sampler", [Ancestral(), Remask()], ids=str)
def test_the_time_told_is_that_of_the_state(sampler, schedule):
    model = Even(Mask(V, schedule))
    list(trajectory(model, rows=2, sampler=sampler, grid=grid.uniform(4)))
    assert [t.tolist() for _, t in model.seen] == [[t] * 2 for t in (1.0, 0.75, 0.5, 0.25)]


@every_schedule
@pytest.mark.parametrize(
    "sampler", [Unmask(), Unmask(Random(), EntropyBound(0.0)), Unmask(pace=Threshold(0.9))], ids=str
)
def test_unmask_tells_the_time_at_which_as_many_tokens_are_masked(sampler, schedule):
    model = Even(Mask(V, schedule))
    list(trajectory(model, rows=2, sampler=sampler, grid=grid.uniform(5)))
    for x, t in model.seen:
        torch.testing.assert_close(1 - schedule.alpha(t), (x == V).double().mean(1), rtol=1e-9, atol=1e-9)


@every_schedule
def test_first_hitting_tells_the_time_at_which_the_token_is_unmasked(schedule):
    """With n masks left the share of masks is multiplied by u^(1 / n), whose mean is n / (n + 1)."""
    rows, model = 20_000, Even(Mask(V, schedule))
    state = FirstHitting().init(model, torch.full((rows, L), V), full(rows, 1.0), crowd(rows))
    with unchecked():
        FirstHitting().step(model, state, full(rows, 0.0))
    shares = torch.stack([1 - schedule.alpha(t) for _, t in model.seen])
    assert shares.shape == (L, rows)
    mean = 1.0
    for n, share in zip(range(L, 0, -1), shares, strict=True):
        mean *= n / (n + 1)
        assert share.mean().item() == pytest.approx(mean, abs=0.006)


@pytest.mark.parametrize("process", [Mask(V), Uniform(V), Blend(V)], ids=str)
@pytest.mark.parametrize(("steps", "size"), [(1, 0.25), (2, 1.0), (0, 0.5)])
def test_corrector_steps_go_up_by_their_share_of_the_step_and_down_again(process, steps, size):
    model = Even(process)
    list(trajectory(model, rows=1, sampler=PredictorCorrector(Ancestral(), steps, size), grid=grid.uniform(2)))
    assert [t.item() for _, t in model.seen] == [1.0, *[0.5 + size * 0.5] * steps, 0.5]


@pytest.mark.parametrize("size", [0.25, 1.0])
def test_a_corrector_step_shows_the_denoiser_rows_at_the_time_it_went_up_to(size):
    rows, model = 20_000, Even(Mask(V))
    sampler = PredictorCorrector(Ancestral(), 1, size)
    state = sampler.init(model, torch.full((rows, L), V), full(rows, 1.0), crowd(rows))
    with unchecked():
        sampler.step(model, state, full(rows, 0.5))
    x, t = model.seen[1]
    assert (x == V).double().mean().item() == pytest.approx(t[0].item(), abs=0.006)


@every_schedule
def test_unmask_leaves_as_many_masks_as_the_schedule_has_at_that_time(schedule):
    model, rows = Even(Mask(V, schedule)), 3
    known = torch.full((rows, L), -1)
    known[1, :3] = 1
    known[2, ::2] = 0
    states = list(
        trajectory(model, rows=rows, sampler=Unmask(), grid=grid.uniform(4), condition=Condition(known_tokens=known))
    )
    for state in states:
        masks = torch.tensor([8, 5, 4]) * (1 - schedule.alpha(state.t))
        assert (state.x == V).sum(1).tolist() == (masks + 1e-9).floor().tolist()
        assert (state.x[known >= 0] == known[known >= 0]).all()


def test_unmask_from_within_time_has_as_many_masks_due():
    model, x = Even(Mask(V)), torch.zeros(1, L, dtype=torch.int64)
    x[0, :4] = V
    state = Unmask().init(model, x, full(1, 0.5), RowSeeds.of(0, 1))
    left = []
    for s in (0.375, 0.25, 0.125, 0.0):
        state = Unmask().step(model, state, full(1, s))
        left.append((state.x == V).sum().item())
    assert left == [3, 2, 1, 0]


# Known tokens


class Telling(Even):
    """Beliefs that depend on the whole row."""

    def __call__(self, x_t, t, condition=None):
        self.seen.append((x_t, t))
        row = (x_t * torch.arange(1, x_t.shape[1] + 1)).sum(1)
        return Categorical(
            torch.stack([(row[:, None] * (k + 1) + torch.arange(x_t.shape[1])) % 5 for k in range(V)], -1).double()
        )


@pytest.mark.parametrize("process", [Mask(V), Uniform(V), Blend(V)], ids=str)
def test_infill_is_certain_of_known_tokens_and_shows_them_in_place(process):
    model, t = Telling(process), full(2, 0.6)
    x = torch.full((2, L), process.symbols - 1)
    tokens = torch.full((2, L), -1)
    tokens[0, 2], tokens[1, :3] = 1, torch.tensor([2, 0, 1])
    belief = Infill(model)(x, t, Condition(known_tokens=tokens))
    shown = torch.where(tokens >= 0, tokens, x)
    assert torch.equal(model.seen[-1][0], shown)
    plain, known = model(shown, t).probabilities, tokens >= 0
    assert torch.equal(belief.probabilities[~known], plain[~known])
    assert torch.equal(belief.probabilities[known], torch.nn.functional.one_hot(tokens[known], V).double())
    for condition in (None, Condition(label=torch.zeros(2, dtype=torch.int64))):
        assert torch.equal(Infill(model)(x, t, condition).logits, model(x, t).logits)


def test_known_tokens_stand_from_the_first_state_to_the_last_under_every_noise():
    known = torch.full((4, L), -1)
    known[:, 1], known[:, 5] = 2, 0
    for process in (Mask(V), Uniform(V), Blend(V)):
        states = list(
            trajectory(
                Infill(Even(process)),
                rows=4,
                sampler=Ancestral(),
                grid=grid.uniform(5),
                condition=Condition(known_tokens=known),
            )
        )
        for state in (states[0], states[-1]):
            assert torch.equal(state.x[known >= 0], known[known >= 0])
        assert not torch.equal(states[-1].x[:1].expand(4, L), states[-1].x)


# What changes a belief


def test_temperature_and_nucleus_by_hand():
    class Two(Even):
        def __call__(self, x_t, t, condition=None):
            return Categorical(torch.tensor([[[0.5, 0.3, 0.2]]], dtype=F64).log().expand(len(x_t), L, V))

    model, x, t = Two(Mask(V)), torch.full((1, L), V), full(1, 1.0)
    p = torch.tensor([0.5, 0.3, 0.2], dtype=F64)
    for temperature in (0.5, 2.0):
        found = Temperature(model, temperature)(x, t).probabilities[0, 0]
        torch.testing.assert_close(found, p ** (1 / temperature) / (p ** (1 / temperature)).sum())
    for top_p, kept in ((0.3, 1), (0.49, 1), (0.51, 2), (0.79, 2), (0.81, 3), (1.0, 3)):
        wanted = torch.where(torch.arange(V) < kept, p, 0.0)
        torch.testing.assert_close(TopP(model, top_p)(x, t).probabilities[0, 0], wanted / wanted.sum())

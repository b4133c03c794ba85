"""What every public sampler promises (scikit-learn's check_estimator, for samplers)."""

import io
import math

import torch
from conformance.subjects import F64, Fast, column, full, ring, stated_order, tilted, unchecked

from unmelt import schedule
from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds
from unmelt.sampler import State, advance, grid, sample, trajectory, walk

COS = schedule.Cosine()


def start(sampler, model, rows=5, t=None, dtype=F64, condition=None, seed=3):
    t = column(1.0, 0.8, 0.5, 0.2, 0.9)[:rows] if t is None else t
    rng = RowSeeds.of(seed, rows)
    x = rng.normal((rows, 2), dtype)
    return sampler.init(model, x, t, rng.advance(), condition)


def steps_of(t):
    """Each row its own way from its t to 0, of four steps."""
    return [t * share for share in (0.7, 0.4, 0.15, 0.0)]


def finish(sampler, model, state, targets):
    for s in targets:
        state = advance(model, sampler, state, s)
    return state


def same(one: State, other: State) -> None:
    for field in ("x", "t", "x0"):
        torch.testing.assert_close(getattr(one, field), getattr(other, field), rtol=1e-12, atol=1e-12)
    assert torch.equal(one.rng.draws, other.rng.draws)
    assert torch.equal(one.rng.seeds, other.rng.seeds)
    assert one.memory.keys() == other.memory.keys()
    for key in one.memory:
        torch.testing.assert_close(one.memory[key], other.memory[key])


def test_rows_at_mixed_times_are_rows_alone(any_sampler):
    model, whole = tilted(COS), start(any_sampler, tilted(COS))
    targets = steps_of(whole.t)
    together = finish(any_sampler, model, whole, targets)
    alone = [finish(any_sampler, model, whole[i : i + 1], [s[i : i + 1] for s in targets]) for i in range(5)]
    same(together, State.join(alone))
    assert torch.isfinite(together.x).all()
    assert together.t.tolist() == [0.0] * 5


def test_split_and_joined_half_way(any_sampler):
    model, whole = tilted(COS), start(any_sampler, tilted(COS))
    targets, order = steps_of(whole.t), torch.tensor([3, 0, 4, 1, 2])
    straight = finish(any_sampler, model, whole, targets)
    half = finish(any_sampler, model, whole, targets[:2])
    mixed = State.join([half[order[:2]], half[order[2:]]])
    same(finish(any_sampler, model, mixed, [s[order] for s in targets[2:]]), straight[order])


def test_a_row_that_waits_ends_as_one_that_never_waited(any_sampler):
    """Rows wait (s = t) while others move: their x, draws and history are as if they had never waited."""
    model, whole = tilted(COS), start(any_sampler, tilted(COS))
    a, b, c, d = steps_of(whole.t)
    straight = finish(any_sampler, model, whole, [a, b, c, d])
    odd = torch.tensor([False, True, False, True, False])
    waited = [torch.where(odd, whole.t, a), a, torch.where(odd, b, a), b, torch.where(odd, b, c), c, d]
    same(finish(any_sampler, model, whole, waited), straight)


def test_a_row_of_a_larger_batch_is_that_of_a_smaller(any_sampler):
    settings = {"sampler": any_sampler, "grid": grid.cosine(4), "seed": 5, "dtype": F64}
    few, many = (sample(tilted(COS), rows=rows, **settings) for rows in (2, 6))
    torch.testing.assert_close(many[:2], few, rtol=1e-12, atol=1e-12)
    assert not torch.equal(many[0], many[1])


def test_a_seed_for_each_row(any_sampler):
    settings = {"sampler": any_sampler, "grid": grid.cosine(4), "dtype": F64}
    together = sample(tilted(COS), rows=3, seed=[7, 8, 9], **settings)
    alone = [sample(tilted(COS), rows=1, seed=[seed], **settings) for seed in (7, 8, 9)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


def test_state_survives_a_round_trip(any_sampler):
    model, whole = tilted(COS), start(any_sampler, tilted(COS))
    targets = steps_of(whole.t)
    half = finish(any_sampler, model, whole, targets[:2])
    file = io.BytesIO()
    torch.save({"x": half.x, "t": half.t, "x0": half.x0, "s": half.rng.seeds, "d": half.rng.draws, **half.memory}, file)
    file.seek(0)
    raw = torch.load(file)
    rng = RowSeeds(raw.pop("s"), raw.pop("d"))
    back = State(raw.pop("x"), raw.pop("t"), raw.pop("x0"), rng, None, raw)
    same(finish(any_sampler, model, back, targets[2:]), finish(any_sampler, model, whole, targets))


def test_a_step_changes_nothing_in_place(any_sampler):
    whole = start(any_sampler, tilted(COS))
    before = whole.x.clone(), whole.t.clone(), whole.rng.draws.clone(), {k: v.clone() for k, v in whole.memory.items()}
    any_sampler.step(tilted(COS), whole, whole.t / 2)
    assert torch.equal(whole.x, before[0])
    assert torch.equal(whole.t, before[1])
    assert torch.equal(whole.rng.draws, before[2])
    assert all(torch.equal(whole.memory[key], before[3][key]) for key in before[3])


def test_memory_has_rows_first(any_sampler):
    state = start(any_sampler, tilted(COS))
    for one in (state, any_sampler.step(tilted(COS), state, state.t / 2)):
        assert all(len(value) == 5 for value in one.memory.values())
        assert one.x0.shape == one.x.shape


def test_finished_rows_are_not_shown_to_the_denoiser(any_sampler):
    class Broken:
        """At t = 0 it says nothing useful; nobody should be listening."""

        process, shape = Gaussian(COS), (2,)

        def __call__(self, x_t, t, condition=None):
            belief = tilted(COS)(x_t, t)
            return type(belief)(torch.where((t > 0)[:, None], belief.mean, torch.nan))

    t = column(0.0, 0.5, 0.0)
    state = start(any_sampler, Broken(), 3, t)
    after = advance(Broken(), any_sampler, state, t / 2)
    assert torch.equal(after.x[[0, 2]], state.x[[0, 2]])
    assert torch.isfinite(after.x).all()
    assert not torch.equal(after.x[1], state.x[1])


def test_float32_works_from_noise_to_data(plain_schedule, any_sampler):
    with unchecked():
        made = sample(ring(plain_schedule), rows=3, sampler=any_sampler, grid=grid.karras(6), seed=0)
    assert made.dtype == torch.float32
    assert torch.isfinite(made).all()
    assert made.norm(dim=1).max() < 100


def test_condition_travels_with_its_rows(any_sampler):
    """Far apart modes: each row ends at the one its label names, wherever the row goes."""
    model, label = ring(COS), torch.tensor([4, 0, 2, 5, 1])
    state = start(any_sampler, model, t=full(5, 1.0), condition=Condition(label=label))
    times = grid.cosine(12)(COS)
    for s in times[1:5]:
        state = any_sampler.step(model, state, full(5, s))
    state = State.join([state[torch.tensor([2, 4])], state[torch.tensor([True, True, False, True, False])]])
    for s in times[5:]:
        state = any_sampler.step(model, state, full(5, s))
    assert state.condition.label.tolist() == [2, 1, 4, 0, 5]
    assert ((state.x[:, None] - model.means).norm(dim=-1).argmin(1) == state.condition.label).all()


def test_trajectory_visits_the_grid_and_ends_in_the_sample(any_sampler):
    settings = {"rows": 2, "sampler": any_sampler, "grid": grid.uniform(5), "seed": 1, "dtype": F64}
    frames = list(trajectory(tilted(COS), **settings))
    assert [frame.t[0].item() for frame in frames] == grid.uniform(5)(COS).tolist()
    assert torch.equal(frames[-1].x, sample(tilted(COS), **settings))
    assert torch.equal(frames[0].x, Gaussian(COS).prior((2, 2), RowSeeds.of(1, 2), F64))


def test_steps_can_be_differentiated(deterministic_sampler):
    model, x = tilted(COS), torch.randn(3, 2, dtype=F64)
    times = column(0.9, 0.5, 0.2, 0.0).requires_grad_()
    start = deterministic_sampler.init(model, x, times[0].expand(3), RowSeeds.of(0, 3))
    *_, state = walk(model, deterministic_sampler, start, [t.expand(len(start)) for t in times[1:]])
    (slope,) = torch.autograd.grad(state.x.square().sum(), times)
    assert torch.isfinite(slope[:3]).all()
    assert (slope[1:3] != 0).all()


def test_order_is_stated(stepped_sampler):
    assert stated_order(stepped_sampler) >= 1


def test_any_shape(any_sampler):
    model = Mixture.isotropic(torch.randn(2, 1, 2, 2, dtype=F64), 0.3, Gaussian(COS))
    made = sample(model, rows=3, sampler=any_sampler, grid=grid.cosine(3), seed=0)
    assert made.shape == (3, 1, 2, 2)
    assert math.isfinite(made.sum())
    assert Fast.many(2).normal((2, 2)).shape == (2, 2)

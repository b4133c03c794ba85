"""What every sampler promises for times finer than rows: times [rows, frames] of x [rows, frames, *rest]."""

import pytest
import torch
from conformance.subjects import F64, FINER, SAMPLERS, Frames, Silent, tilted

from unmelt import UsageError, schedule
from unmelt.posterior import Point
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds
from unmelt.sampler import Adaptive, Restart, State, Tuned, advance, walk

COS = schedule.Cosine()
ROWS, FRAMES = 2, 3
T = torch.tensor([[1.0, 0.8, 0.5], [0.9, 0.2, 0.7]], dtype=F64)
SHARES = torch.tensor([[0.7, 0.9, 0.5], [0.7, 0.9, 0.2], [0.3, 0.4, 0.2], [0.0, 0.0, 0.0]], dtype=F64)
"""Of the first times: each frame at a pace of its own. In the second step only the last frame moves."""


class Mixed:
    """A belief that is wrong, finite, and depends on every frame of a row."""

    process, shape = Gaussian(COS), (FRAMES, 2)

    def __call__(self, x_t, t, condition=None):
        assert torch.isfinite(x_t).all()
        assert torch.isfinite(t).all()
        return Point(0.3 * x_t + 0.2 * x_t.roll(1, 1) + 0.1 * torch.sin(x_t.sum(1, keepdim=True)))


def draw(seed=0):
    return torch.randn(ROWS, FRAMES, 2, dtype=F64, generator=torch.Generator().manual_seed(seed))


def silent(rows):
    return Silent(torch.arange(rows), torch.zeros(rows, dtype=torch.int64))


def finish(model, sampler, state, targets):
    for s in targets:
        state = advance(model, sampler, state, s)
    return state


def every_part(state):
    return {"x": state.x, "x0": state.x0, **state.memory}


def test_times_equal_along_frames_are_row_times(finer_sampler):
    model, x, rows = Frames(tilted(COS), FRAMES), draw(), torch.tensor([0.9, 0.6], dtype=F64)
    coarse, fine = (
        finer_sampler.init(model, x, t, RowSeeds.of(5, ROWS)) for t in (rows, rows[:, None].expand(2, FRAMES))
    )
    for share in (0.7, 0.4, 0.15, 0.0):
        coarse = finer_sampler.step(model, coarse, share * rows)
        fine = finer_sampler.step(model, fine, (share * rows)[:, None].expand(2, FRAMES))
        assert fine.t.shape == (ROWS, FRAMES)
        assert torch.equal(fine.rng.draws, coarse.rng.draws)
        torch.testing.assert_close(fine.x, coarse.x, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(fine.x0, coarse.x0, rtol=1e-13, atol=1e-13)


def test_independent_frames_are_frames_sampled_alone(finer_sampler):
    """No noise is drawn here: what is left of a sampler is what it does to x, t and its memory."""
    one, x = tilted(COS), draw()
    whole = finer_sampler.init(Frames(one, FRAMES), x, T, silent(ROWS))
    alone = finer_sampler.init(one, x.flatten(0, 1), T.flatten(), silent(ROWS * FRAMES))
    for share in SHARES:
        whole = advance(Frames(one, FRAMES), finer_sampler, whole, share * T)
        alone = advance(one, finer_sampler, alone, (share * T).flatten())
        assert torch.equal(whole.t.flatten(), alone.t)
        torch.testing.assert_close(whole.x.flatten(0, 1), alone.x, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(whole.x0.flatten(0, 1), alone.x0, rtol=1e-11, atol=1e-11)
        for name, value in whole.memory.items():
            torch.testing.assert_close(value.flatten(0, 1), alone.memory[name], rtol=1e-10, atol=1e-10)
    assert torch.isfinite(whole.x).all()
    assert (whole.t == 0).all()


@pytest.mark.parametrize("drive", ["advance", "walk"])
def test_a_waiting_frame_does_not_change(finer_sampler, drive):
    """Bit for bit, at t = 0, at t = 1 and between, and its neighbours are shown nothing but what it is."""
    t = torch.tensor([[0.0, 0.9, 1.0], [0.4, 0.0, 0.7]], dtype=F64)
    moves = torch.tensor([[False, True, False], [False, False, True]])
    state = finer_sampler.init(Mixed(), draw(), t, RowSeeds.of(1, ROWS))
    for share in (0.6, 0.3, 0.0):
        s = torch.where(moves, share * t, t)
        before = every_part(state)
        if drive == "advance":
            state = advance(Mixed(), finer_sampler, state, s)
        else:
            (state,) = walk(Mixed(), finer_sampler, state, [s])
        assert torch.equal(state.t, s)
        for name, value in every_part(state).items():
            assert torch.equal(value[~moves], before[name][~moves]), name
            assert torch.isfinite(value).all(), name
        assert not torch.equal(state.x[moves], before["x"][moves])


def test_a_row_whose_frames_all_wait_is_not_stepped(finer_sampler):
    whole = finer_sampler.init(Mixed(), draw(), T, RowSeeds.of(1, ROWS))
    s = torch.stack([T[0], T[1] / 2])
    after = advance(Mixed(), finer_sampler, whole, s)
    assert torch.equal(after.x[0], whole.x[0])
    assert after.rng.draws[0] == whole.rng.draws[0]
    assert torch.equal(after.x[1:], advance(Mixed(), finer_sampler, whole[1:], s[1:]).x)


def test_rows_with_finer_times_are_split_and_joined(finer_sampler):
    model = Mixed()
    whole = finer_sampler.init(model, draw(), T, RowSeeds.of(2, ROWS))
    targets = [share * T for share in SHARES]
    straight = finish(model, finer_sampler, whole, targets)
    half = finish(model, finer_sampler, whole, targets[:2])
    swapped = State.join([half[1:], half[:1]])
    again = finish(model, finer_sampler, swapped, [s[[1, 0]] for s in targets[2:]])
    torch.testing.assert_close(again.x, straight.x[[1, 0]], rtol=1e-12, atol=1e-12)


def test_a_waiting_frame_passes_finite_gradients(finer_sampler):
    """A clean frame beside frames that are sampled: the sample can be differentiated with respect to it."""
    x = draw().requires_grad_()
    t = torch.tensor([[0.0, 0.9, 0.8]], dtype=F64).expand(ROWS, FRAMES)
    state = finer_sampler.init(Mixed(), x, t, RowSeeds.of(1, ROWS))
    *_, state = walk(Mixed(), finer_sampler, state, [share * t for share in (0.6, 0.2)])
    (slope,) = torch.autograd.grad(state.x[:, 1:].sum(), x)
    assert torch.isfinite(slope).all()
    assert (slope[:, 0] != 0).any()


def test_a_time_of_a_row_is_the_time_of_all_its_frames():
    sampler = next(one for one in FINER if type(one).__name__ == "Euler")
    state = sampler.init(Mixed(), draw(), torch.ones(ROWS, FRAMES, dtype=F64), RowSeeds.of(0, ROWS))
    s = torch.tensor([0.5, 0.2], dtype=F64)
    wanted = advance(Mixed(), sampler, state, s[:, None].expand(ROWS, FRAMES))
    assert torch.equal(advance(Mixed(), sampler, state, s).x, wanted.x)
    assert torch.equal(next(walk(Mixed(), sampler, state, [s])).x, wanted.x)


def test_those_that_decide_for_whole_rows_refuse_finer_times():
    refused = [one for one in SAMPLERS if one not in FINER]
    assert {type(one) for one in refused} == {Adaptive, Restart, Tuned}
    for one in refused:
        with pytest.raises(UsageError, match="one time a row"):
            one.init(Mixed(), draw(), T, RowSeeds.of(0, ROWS))


def test_times_that_do_not_fit_x_are_refused():
    with pytest.raises(UsageError, match="leading axes"):
        State.start(draw(), T[:, :2], RowSeeds.of(0, ROWS))

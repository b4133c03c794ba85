"""A cache of causal frames changes nothing."""

from dataclasses import replace

import pytest
import torch

from unmelt.backbone import FrameTransformer
from unmelt.condition import Condition
from unmelt.denoiser import NetworkDenoiser, read_frames
from unmelt.denoiser.prediction import FlowVelocity
from unmelt.errors import UsageError
from unmelt.process import Gaussian
from unmelt.rng import RowSeeds, seeded
from unmelt.sampler import DPMpp, State, walk
from unmelt.schedule import Straight

ROWS, FRAMES, SHAPE, ACTION = 3, 6, (2, 2), 4
F64 = torch.float64


def denoiser(**settings):
    arguments = {"frames": FRAMES, "shape": SHAPE, "width": 16, "depth": 2, "heads": 2, "vector_width": ACTION}
    with seeded(0):
        network = FrameTransformer(**{**arguments, "is_causal": True, "qk_norm": True, **settings})
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return NetworkDenoiser(network.double(), Gaussian(Straight()), FlowVelocity(), (FRAMES, *SHAPE))


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def of_frames(condition, actions, frames):
    return replace(condition, vector=actions[:, frames])


@pytest.mark.parametrize("read", [1, 3, 5])
@torch.no_grad()
def test_cached_frames_are_believed_as_uncached_ones(read):
    model, x, t = denoiser(), draw(ROWS, FRAMES, *SHAPE), torch.rand(ROWS, FRAMES, dtype=F64)
    actions = draw(ROWS, FRAMES, ACTION, seed=1)
    t[:, 0] = 0
    wanted = model(x, t, Condition(vector=actions)).mean
    known = Condition()
    for first in range(read):  # one by one, as in a rollout
        now = slice(first, first + 1)
        known = read_frames(model, x[:, now], t[:, now], of_frames(known, actions, now))
    rest = slice(read, None)
    found = model(x[:, rest], t[:, rest], of_frames(known, actions, rest)).mean
    torch.testing.assert_close(found, wanted[:, rest], rtol=0, atol=1e-13)
    other = of_frames(known, actions, rest)
    other.extra["frame_kv"][:, :, :, :, 0] += 1
    assert not torch.allclose(model(x[:, rest], t[:, rest], other).mean, wanted[:, rest], atol=1e-3)


@torch.no_grad()
def test_a_sampled_rollout_is_the_same_with_and_without_the_cache():
    """Frame by frame, 3 steps each, by the ordinary sampler: the cache is a condition like any other."""
    model, noise, actions = denoiser(), draw(ROWS, FRAMES, *SHAPE), draw(ROWS, FRAMES, ACTION, seed=1)
    knots, sampler, draws = (1.0, 0.7, 0.3, 0.0), DPMpp(order=2), RowSeeds.of(0, ROWS)
    plain, cached, known = noise[:, :1], noise[:, :1], Condition()
    for f in range(1, FRAMES):
        x = torch.cat([plain, noise[:, f : f + 1]], 1)
        times = [torch.cat([torch.zeros(f, dtype=F64), torch.tensor([k], dtype=F64)]).expand(ROWS, -1) for k in knots]
        state = sampler.init(model, x, times[0], draws, Condition(vector=actions[:, : f + 1]))
        *_, state = walk(model, sampler, state, times[1:])
        plain = state.x
        known = read_frames(
            model, cached[:, -1:], torch.zeros(ROWS, dtype=F64), of_frames(known, actions, slice(f - 1, f))
        )
        one = [torch.full((ROWS,), k, dtype=F64) for k in knots]
        now = of_frames(known, actions, slice(f, f + 1))
        *_, state = walk(model, sampler, sampler.init(model, noise[:, f : f + 1], one[0], draws, now), one[1:])
        cached = torch.cat([cached, state.x], 1)
    torch.testing.assert_close(cached, plain, rtol=0, atol=1e-12)


@torch.no_grad()
def test_rows_at_different_frames_are_joined():
    model, x, actions = denoiser(), draw(ROWS, FRAMES, *SHAPE), draw(ROWS, FRAMES, ACTION, seed=1)
    zero, half, known = torch.zeros(ROWS, dtype=F64), torch.full((ROWS,), 0.5, dtype=F64), []
    for count in (2, 4):
        read = read_frames(model, x[:, :count], zero, Condition(vector=actions[:, :count]))
        known.append(of_frames(read, actions, slice(count, count + 1)))
    new = draw(ROWS, 1, *SHAPE, seed=2)
    sampler = DPMpp()
    states = [sampler.init(model, new, half, RowSeeds.of(0, ROWS), each) for each in known]
    both = State.join(states)
    assert both.condition.extra["frames_read"].tolist() == [2] * ROWS + [4] * ROWS
    wanted = torch.cat([model(s.x, s.t, s.condition).mean for s in states])
    torch.testing.assert_close(model(both.x, both.t, both.condition).mean, wanted, rtol=0, atol=1e-13)


def test_a_vector_for_each_frame_is_told_to_that_frame():
    model, x, actions = denoiser(), draw(ROWS, FRAMES, *SHAPE), draw(ROWS, FRAMES, ACTION, seed=1)
    t = torch.full((ROWS,), 0.5, dtype=F64)
    before = model(x, t, Condition(vector=actions)).mean
    actions[:, 3] += 1
    after = model(x, t, Condition(vector=actions)).mean
    assert torch.equal(after[:, :3], before[:, :3])
    assert not torch.allclose(after[:, 3], before[:, 3], atol=1e-3)
    same = actions[:, :1].expand(-1, FRAMES, -1)
    torch.testing.assert_close(
        model(x, t, Condition(vector=same)).mean, model(x, t, Condition(vector=actions[:, 0])).mean
    )
    dropped = Condition(vector=actions).drop(torch.tensor([True, False, False]))
    mixed = model(x, t, dropped).mean
    torch.testing.assert_close(mixed[:1], model(x[:1], t[:1]).mean)
    torch.testing.assert_close(mixed[1:], after[1:])


def test_what_does_not_fit_is_refused():
    x, t = draw(ROWS, FRAMES, *SHAPE), torch.zeros(ROWS, dtype=F64)
    with pytest.raises(UsageError, match="causal attention"):
        read_frames(denoiser(is_causal=False), x, t, None)
    with pytest.raises(UsageError, match="attends causally"):
        read_frames(lambda *_: None, x, t, None)
    model = denoiser()
    known = read_frames(model, x[:, :4], t, None)
    with pytest.raises(UsageError, match="after 4 others"):
        model(x[:, :3], t, known)
    with pytest.raises(UsageError, match="one for each frame of x"):
        model(x, t, Condition(vector=draw(ROWS, 2, ACTION)))

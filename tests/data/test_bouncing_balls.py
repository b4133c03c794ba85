"""The simulator against the laws it keeps, and what frames show of them."""

import torch

from unmelt import data
from unmelt.rng import Stream

BOX = data.BouncingBalls(balls=3, radius=0.08)


def run(box, rows=20, moments=60):
    state, states = box.start(rows, Stream(0)), []
    for _ in range(moments):
        states.append(state)
        state = box.step(state)
    return states


def test_energy_is_conserved_and_balls_stay_in_the_box_and_apart():
    states = run(BOX)
    energy = torch.stack([s.velocity.square().sum((1, 2)) for s in states])
    torch.testing.assert_close(energy, energy[:1].expand_as(energy), rtol=1e-9, atol=0)
    place = torch.stack([s.position for s in states])
    slack = BOX.speed / 8 * 2.5  # a substep of the fastest that three balls can make of one
    assert (place > BOX.radius - slack).all()
    assert (place < 1 - BOX.radius + slack).all()
    gaps = (place[:, :, [0, 0, 1]] - place[:, :, [1, 2, 2]]).norm(dim=3)
    assert gaps.min() > 2 * BOX.radius - 2 * slack
    turned = (torch.stack([s.velocity for s in states]).diff(dim=0).abs() > 1e-9).any(3)
    assert turned.sum() > 100  # they do meet


def test_momentum_is_conserved_where_no_wall_is_met():
    for before, after in zip(run(BOX)[:-1], run(BOX)[1:], strict=True):
        margin = BOX.radius + 3 * BOX.speed
        free = ((before.position > margin) & (before.position < 1 - margin)).all(2).all(1)
        torch.testing.assert_close(before.velocity.sum(1)[free], after.velocity.sum(1)[free], rtol=0, atol=1e-12)


def test_the_light_is_at_the_centre_of_mass_and_the_post_hides_it():
    box = data.BouncingBalls(balls=1, size=64)
    for state in run(box, moments=10):
        seen = data.centre_of_light(box.frame(state, with_post=False).float() / 255)
        torch.testing.assert_close(seen.double(), state.position[:, 0], atol=2e-3, rtol=0)
    hidden = state._replace(position=torch.full_like(state.position, 0.5))
    nothing = state._replace(position=torch.full_like(state.position, 9.0))
    assert torch.equal(box.frame(hidden)[..., 24:40], box.frame(nothing)[..., 24:40])


def test_balls_are_tracked_through_collisions_and_walls():
    box = data.BouncingBalls(size=32)
    states = run(box, moments=60)
    frames = torch.stack([box.frame(s, with_post=False) for s in states], 1).float() / 255
    place = torch.stack([s.position for s in states], 1)
    found = data.track_balls(frames, place[:, 0])
    gap = torch.minimum((found - place).norm(dim=3).amax(2), (found.flip(2) - place).norm(dim=3).amax(2))
    assert gap.max() < 0.02  # two thirds of a pixel, of balls that touch
    assert gap.median() < 0.003
    dark = data.track_balls(0 * frames, place[:, 0])
    torch.testing.assert_close(dark, place[:, :1].expand_as(dark))


def test_films_are_episodes_without_actions():
    films = data.BouncingBalls(size=16).films(5, 9, seed=1)
    assert films[0].frames.shape == (9, 1, 16, 16)
    assert films[0].actions.shape == (9, 0)
    x, condition = data.FrameWindows(films, 4).batch(0, 3)
    assert x.shape == (3, 4, 1, 16, 16)
    assert condition.vector.shape == (3, 4, 0)

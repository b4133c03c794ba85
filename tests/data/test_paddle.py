"""The paddle game against its own law: what frames show, what may follow, and how often it does."""

from itertools import pairwise

import torch

from unmelt import data
from unmelt.rng import Stream

GAME = data.PaddleGame()


def games(rows=400, moments=60, seed=0):
    """(states, actions) of every moment."""
    rng, state, action = Stream(seed), GAME.start(rows, Stream(seed + 1)), torch.ones(rows, dtype=torch.int64)
    found = []
    for _ in range(moments):
        action = GAME.player(state, action, rng)
        found.append((state, action))
        state = GAME.advance(state, action, rng)
    return found


def test_two_frames_show_the_whole_state():
    played = games()
    seen = [GAME.frame(state).float() / 255 for state, _ in played]
    for (state, _), before, now in zip(played[1:], seen[:-1], seen[1:], strict=True):
        read, fine = GAME.read(before, now)
        assert fine.all()
        for own, shown in zip(state, read, strict=True):
            assert torch.equal(own, shown)


def test_what_follows_is_one_of_the_choices_each_as_often_as_it_should_be():
    played, counts = games(rows=2000), {1: [], 3: [], 4: []}
    for (state, action), (following, _) in pairwise(played):
        choice = GAME.may_follow(state, action, GAME.frame(following).float() / 255)
        assert (choice >= 0).all()
        for number in counts:
            counts[number].append(choice[GAME.choices(state, action) == number])
    for number, found in counts.items():
        share = torch.bincount(torch.cat(found), minlength=number).double()
        assert len(share) == number
        expected = share.sum() / number
        assert ((share - expected) ** 2 / expected).sum() < 20  # chi-square of at most 3 degrees of freedom
        assert share.sum() > 500


def test_another_frame_may_not_follow():
    played = games()
    wrong = 0
    for (state, action), (following, _) in pairwise(played[20:]):
        other = GAME.frame(following).roll(1, 3).float() / 255
        wrong += int((GAME.may_follow(state, action, other) >= 0).sum())
        late = GAME.frame(state).float() / 255
        assert (GAME.may_follow(state, action, late) < 0).all()
        broken = GAME.frame(following).float() / 255
        broken[:, :, 0, 0] = 1 - broken[:, :, 0, 0]
        assert (GAME.may_follow(state, action, broken) < 0).all()
    assert wrong == 0


def test_an_episode_has_the_action_beside_the_frame_it_was_taken_in():
    (one,) = GAME.play(1, 40, seed=3)
    frames = one.frames.float() / 255
    for k in range(1, 39):
        state, fine = GAME.read(frames[k - 1 : k], frames[k : k + 1])
        action = one.actions[k].argmax()[None]
        assert fine.all()
        assert GAME.may_follow(state, action, frames[k + 1 : k + 2]) >= 0

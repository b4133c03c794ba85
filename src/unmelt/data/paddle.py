"""A game whose law is known: a ball between three walls, and a paddle that a player moves.

    paddle <- paddle + 2 (action - 1), within the field               action 0 is left, 1 stays, 2 is right
    ball   <- ball + velocity; the left, right and upper wall reflect it
    at the paddle's height, on its way down:   on the paddle, it goes up, across by -1, 0 or 1, each 1/3
                                               beside it, it is lost and lies in the middle of the field for a moment
    lying:                                     it is served, down, across by -2, -1, 1 or 2, each 1/4

Everything stands on whole pixels of a picture of 32 x 32. Two frames in a row show the whole state: a frame shows the
places, and their difference the velocity. What follows is certain, but at a bounce off the paddle and at a serve;
`choices` says how many states may follow, all of them alike, and `step` makes each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.data.episodes import Episodes
from unmelt.errors import UsageError
from unmelt.rng import Stream, fold

SIZE, WIDE, BALL, STEP, SPEED = 32, 8, 2, 2, 2
"""Sides of the picture, of the paddle and of the ball; steps of the paddle and of the ball, down or up."""

PADDLE, CONTACT, MIDDLE = SIZE - 4, SIZE - 6, (14, 8)
"""Upper row of the paddle, which is 2 high; of the ball where it meets the paddle; and where a ball lies, (x, y)."""

EDGE = SIZE - BALL
"""The ball's largest x."""

ACTIONS = ("left", "stay", "right")
SERVES, BOUNCES = (-2, -1, 1, 2), (-1, 0, 1)


class PaddleState(NamedTuple):
    """Games under way, whole numbers.

    Args:
        x: [rows], left edge of the ball.
        y: [rows], upper edge of the ball.
        across: [rows], its velocity to the right.
        down: [rows], its velocity downwards; 0 where it lies.
        paddle: [rows], left edge of the paddle.
    """

    x: Int64[Tensor, " rows"]
    y: Int64[Tensor, " rows"]
    across: Int64[Tensor, " rows"]
    down: Int64[Tensor, " rows"]
    paddle: Int64[Tensor, " rows"]


@final
@checked_init("um.data.PaddleGame")
@dataclass(frozen=True, kw_only=True)
class PaddleGame:
    """The game, and a player for demonstrations who follows the ball, wanders or dawdles.

    Args:
        skill: Share of moments at which the player follows the ball; at the others it goes on with what it did.

    Raises:
        UsageError: If the share is not in [0, 1].
    """

    skill: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.skill <= 1:
            raise UsageError(f"skill={self.skill}", "a share from 0 to 1", "PaddleGame(skill=0.6)")

    def start(self, rows: int, rng: Stream) -> PaddleState:
        """Games before the first serve, the paddle anywhere.

        Args:
            rows: How many.
            rng: Source of randomness.

        Returns:
            Their states.
        """
        places = (SIZE - WIDE) // STEP + 1
        paddle = STEP * (places * rng.uniform((rows,), torch.float64)).long()
        zero = torch.zeros(rows, dtype=torch.int64)
        return PaddleState(zero + MIDDLE[0], zero + MIDDLE[1], zero, zero, paddle)

    def choices(self, state: PaddleState, action: Int64[Tensor, " rows"]) -> Int64[Tensor, " rows"]:
        """How many states may follow, all of them alike: 1, 3 at a bounce off the paddle, 4 at a serve.

        Args:
            state: The games.
            action: [rows], what the player does.

        Returns:
            [rows].
        """
        hit = _meets(state) & _on(state, _moved(state, action))
        return torch.where(state.down == 0, len(SERVES), torch.where(hit, len(BOUNCES), 1))

    def step(self, state: PaddleState, action: Int64[Tensor, " rows"], choice: Int64[Tensor, " rows"]) -> PaddleState:
        """One moment.

        Args:
            state: The games.
            action: [rows], what the player does.
            choice: [rows], which of the states that may follow, from 0 to `choices` - 1.

        Returns:
            The states a moment later.
        """
        paddle = _moved(state, action)
        lies, meets, on = state.down == 0, _meets(state), _on(state, paddle)
        served = torch.tensor(SERVES)[choice.clamp_max(len(SERVES) - 1)]
        bounced = torch.tensor(BOUNCES)[choice.clamp_max(len(BOUNCES) - 1)]
        across = torch.where(lies, served, torch.where(meets & on, bounced, state.across))
        down = torch.where(lies, SPEED, torch.where(meets & on, -SPEED, state.down))
        x, y = state.x + across, state.y + down
        across = torch.where((x < 0) | (x > EDGE), -across, across)
        x = torch.where(x > EDGE, 2 * EDGE - x, x.abs())
        down, y = torch.where(y < 0, -down, down), y.abs()
        lost, zero = meets & ~on, torch.zeros_like(x)
        return PaddleState(
            torch.where(lost, MIDDLE[0], x),
            torch.where(lost, MIDDLE[1], y),
            torch.where(lost, zero, across),
            torch.where(lost, zero, down),
            paddle,
        )

    def advance(self, state: PaddleState, action: Int64[Tensor, " rows"], rng: Stream) -> PaddleState:
        """One moment, by the law of the game.

        Args:
            state: The games.
            action: [rows], what the player does.
            rng: Source of randomness.

        Returns:
            The states a moment later.
        """
        choice = (self.choices(state, action) * rng.uniform((len(action),), torch.float64)).long()
        return self.step(state, action, choice)

    def frame(self, state: PaddleState) -> UInt8[Tensor, "rows 1 32 32"]:
        """The picture: ball and paddle white on black.

        Args:
            state: The games.

        Returns:
            [rows, 1, 32, 32], 0 or 255.
        """
        place = torch.arange(SIZE)

        def within(start: Tensor, length: int) -> Tensor:
            return (place >= start[:, None]) & (place < start[:, None] + length)

        ball = within(state.y, BALL)[:, :, None] & within(state.x, BALL)[:, None]
        row = torch.full_like(state.x, PADDLE)
        paddle = within(row, BALL)[:, :, None] & within(state.paddle, WIDE)[:, None]
        return 255 * (ball | paddle)[:, None].to(torch.uint8)

    def player(self, state: PaddleState, before: Int64[Tensor, " rows"], rng: Stream) -> Int64[Tensor, " rows"]:
        """What the player does.

        Args:
            state: The games.
            before: [rows], what it did a moment ago.
            rng: Source of randomness.

        Returns:
            [rows], actions.
        """
        gap = state.x + BALL // 2 - state.paddle - WIDE // 2
        follow = torch.where(gap > 1, 2, torch.where(gap < -1, 0, 1))
        u = rng.uniform((len(gap), 3), torch.float64)
        other = torch.where(u[:, 1] < 0.7, before, (3 * u[:, 2]).long())
        return torch.where(u[:, 0] < self.skill, follow, other)

    def play(self, games: int, moments: int, seed: int = 0) -> Episodes:
        """Episodes of frames and actions.

        Args:
            games: How many.
            moments: Frames of each.
            seed: Seed of all of them.

        Returns:
            Episodes of bytes and of one-hot actions.
        """
        rng = Stream(fold(seed, 0))
        state, action = self.start(games, rng), torch.ones(games, dtype=torch.int64)
        frames, actions = [], []
        for _ in range(moments):
            action = self.player(state, action, rng)
            frames.append(self.frame(state))
            actions.append(torch.nn.functional.one_hot(action, len(ACTIONS)))
            state = self.advance(state, action, rng)
        seen, done = torch.stack(frames, 1).numpy(), torch.stack(actions, 1).float().numpy()
        return Episodes([{"frames": f, "actions": a} for f, a in zip(seen, done, strict=True)])

    def read(
        self, before: Float[Tensor, "rows 1 32 32"], now: Float[Tensor, "rows 1 32 32"]
    ) -> tuple[PaddleState, Bool[Tensor, " rows"]]:
        """The state that two frames in a row show, pixels above 1/2 being white.

        Args:
            before: [rows, 1, 32, 32], numbers in [0, 1].
            now: The next frame.

        Returns:
            The states, and whether the later frame is one of the game, pixel for pixel.
        """
        (x0, y0, _), (x, y, paddle) = _places(before), _places(now)
        across, down = x - x0, y - y0
        lies = (x == MIDDLE[0]) & (y == MIDDLE[1]) & (down.abs() != SPEED)
        zero = torch.zeros_like(x)
        state = PaddleState(x, y, torch.where(lies, zero, across), torch.where(lies, zero, down), paddle)
        exact = (self.frame(state) > 0) == (now > 0.5)
        return state, exact.flatten(1).all(1) & (lies | (down.abs() == SPEED))

    def may_follow(
        self, state: PaddleState, action: Int64[Tensor, " rows"], frame: Float[Tensor, "rows 1 32 32"]
    ) -> Int64[Tensor, " rows"]:
        """Which of the states that may follow a frame shows.

        Args:
            state: The games.
            action: [rows], what the player did.
            frame: [rows, 1, 32, 32], the next frame, in [0, 1].

        Returns:
            [rows], the number of the choice, -1 where the frame shows none that may follow.
        """
        found, count = torch.full_like(action, -1), self.choices(state, action)
        for choice in range(len(SERVES)):
            shown = self.frame(self.step(state, action, torch.full_like(action, choice))) > 0
            same = (shown == (frame > 0.5)).flatten(1).all(1) & (choice < count) & (found < 0)
            found = torch.where(same, choice, found)
        return found


def _moved(state: PaddleState, action: Tensor) -> Tensor:
    return (state.paddle + STEP * (action - 1)).clamp(0, SIZE - WIDE)


def _meets(state: PaddleState) -> Tensor:
    return (state.down > 0) & (state.y >= CONTACT)


def _on(state: PaddleState, paddle: Tensor) -> Tensor:
    return (state.x + BALL > paddle) & (state.x < paddle + WIDE)


def _places(frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(x, y) of the ball and the left edge of the paddle: the first white pixels above and in the paddle's rows."""
    white = frame[:, 0] > 0.5
    above, below = white[:, :PADDLE], white[:, PADDLE : PADDLE + BALL].any(1)
    return above.any(1).int().argmax(1), above.any(2).int().argmax(1), below.int().argmax(1)

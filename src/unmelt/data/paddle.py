"""A game whose law is known: a ball between three walls, and a paddle that a player moves.

    ball <- ball + velocity each moment; it bounces off the left, right and upper wall
    at the paddle: off the paddle it bounces up, across by -1, 0 or 1 at random, each 1/3; beside it, the ball is lost
    lost: the next ball is served from the middle of the field, across by -2, -1, 1 or 2 at random, each 1/4
    paddle <- paddle + 2 (action - 1), within the field;       action 0 is left, 1 stays, 2 is right

All of it stands on whole pixels of a picture of 32 x 32, so that a frame shows the state but for the velocity, which
the frame before it shows. A move is deterministic but for a bounce off the paddle and a serve; what is drawn there is
seen one frame later. `next_frames` lists every frame that may follow, with its probability.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Int64
from torch import Tensor

SIZE, WIDE, BALL, STEP = 32, 8, 2, 2
"""Sides of the picture, of the paddle and of the ball in pixels, and pixels that the paddle moves."""

PADDLE_ROW = SIZE - 3
"""The row of the paddle, which is 2 high."""

SPEED = 2
"""Pixels up or down a moment."""

ACTIONS = ("left", "stay", "right")

SERVES = (-2, -1, 1, 2)
BOUNCES = (-1, 0, 1)


class PaddleState(NamedTuple):
    """Games under way; every field is [rows], whole numbers.

    Args:
        x: Left edge of the ball.
        y: Upper edge of the ball.
        across: Its velocity to the right.
        down: Its velocity downwards.
        paddle: Left edge of the paddle.
    """

    x: Int64[Tensor, " rows"]
    y: Int64[Tensor, " rows"]
    across: Int64[Tensor, " rows"]
    down: Int64[Tensor, " rows"]
    paddle: Int64[Tensor, " rows"]


class Outcome(NamedTuple):
    """A state that may follow another, and the share of games in which it does.

    Args:
        state: The state of each row.
        probability: [rows], 0 where it cannot follow.
    """

    state: PaddleState
    probability: Tensor

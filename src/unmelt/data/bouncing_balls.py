"""Balls that bounce off the walls of a box and off one another, some of the time behind a post.

    position <- position + dt velocity;       walls reflect;       equal balls that touch exchange, along the line
    between them, their velocities:           v_1 <- v_1 - ((v_1 - v_2) . n) n,    v_2 <- v_2 + ((v_1 - v_2) . n) n

Energy is conserved at every moment, and momentum except at the walls. A frame shows discs with smooth edges. The post
hides what is behind it, so that a film must remember where a ball is and how fast it goes. The centre of mass is read
from frames without a post as the centroid of their light, and every ball as the centroid of the light nearest to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.data.episodes import Episodes
from unmelt.errors import UsageError
from unmelt.rng import Stream

SUBSTEPS = 8
"""Steps of the simulation between two frames."""

POST = 0.35
"""Brightness of the post; balls have 1."""

ROUNDS = 4
"""Rounds of light to balls and balls to light, with which the balls of a frame are found."""


class BallsState(NamedTuple):
    """Balls on their way, in a box of side 1.

    Args:
        position: [rows, balls, 2], x and y of their centres.
        velocity: [rows, balls, 2], box sides per frame.
    """

    position: Float64[Tensor, "rows balls 2"]
    velocity: Float64[Tensor, "rows balls 2"]


@final
@checked_init("um.data.BouncingBalls")
@dataclass(frozen=True, kw_only=True)
class BouncingBalls:
    """The box.

    Args:
        balls: Number of balls.
        radius: Of a ball, in sides of the box.
        speed: Of every ball at the start, in sides of the box per frame.
        post: Width of the post in the middle, in sides of the box; 0 for none.
        size: Side of a frame, in pixels.

    Raises:
        UsageError: If there is no ball, they do not fit into the box, or a number is negative.
    """

    balls: int = 2
    radius: float = 0.1
    speed: float = 0.06
    post: float = 0.25
    size: int = 32

    def __post_init__(self) -> None:
        fits = self.balls >= 1 and self.radius > 0 and 2 * self.radius * self.balls < 0.8
        if not fits or not 0 <= self.speed < self.radius * SUBSTEPS or not 0 <= self.post < 1 or self.size < 8:
            raise UsageError(
                f"{self.balls} balls of radius {self.radius} and speed {self.speed}, a post of {self.post}, "
                f"{self.size} pixels",
                "balls that fit beside one another, a speed below 8 radii, a post below 1, at least 8 pixels",
                "BouncingBalls(balls=2, radius=0.1)",
            )

    def start(self, rows: int, rng: Stream) -> BallsState:
        """Balls at random places that do not touch, in random directions.

        Args:
            rows: How many boxes.
            rng: Source of randomness.

        Returns:
            Their states.
        """
        low, room = self.radius, 1 - 2 * self.radius
        position = low + room * rng.uniform((rows, self.balls, 2), torch.float64)
        while (bad := self._touching(position).flatten(1).any(1)).any():
            position[bad] = low + room * rng.uniform((int(bad.sum()), self.balls, 2), torch.float64)
        angle = 2 * torch.pi * rng.uniform((rows, self.balls), torch.float64)
        return BallsState(position, self.speed * torch.stack([angle.cos(), angle.sin()], 2))

    def _touching(self, position: Tensor) -> Tensor:
        gap = (position[:, :, None] - position[:, None]).norm(dim=3)
        return (gap < 2 * self.radius).triu(1)

    def step(self, state: BallsState) -> BallsState:
        """The state one frame later.

        Args:
            state: The balls.

        Returns:
            Their states.
        """
        position, velocity = state.position.clone(), state.velocity.clone()
        for _ in range(SUBSTEPS):
            position = position + velocity / SUBSTEPS
            out = ((position < self.radius) & (velocity < 0)) | ((position > 1 - self.radius) & (velocity > 0))
            velocity = torch.where(out, -velocity, velocity)
            for one in range(self.balls):
                for other in range(one + 1, self.balls):
                    between = position[:, one] - position[:, other]
                    normal = between / between.norm(dim=1, keepdim=True).clamp_min(1e-9)
                    closing = ((velocity[:, one] - velocity[:, other]) * normal).sum(1, keepdim=True)
                    near = between.norm(dim=1, keepdim=True) < 2 * self.radius
                    push = torch.where(near & (closing < 0), closing, 0.0) * normal
                    velocity[:, one], velocity[:, other] = velocity[:, one] - push, velocity[:, other] + push
        return BallsState(position, velocity)

    def frame(self, state: BallsState, with_post: bool = True) -> UInt8[Tensor, "rows 1 size size"]:
        """The picture.

        Args:
            state: The balls.
            with_post: Whether the post stands before them.

        Returns:
            [rows, 1, size, size].
        """
        place = (torch.arange(self.size, dtype=torch.float64) + 0.5) / self.size
        x, y = state.position[..., 0, None, None], state.position[..., 1, None, None]
        gap = ((place - x) ** 2 + (place[:, None] - y) ** 2).sqrt()
        light = ((self.radius - gap) * self.size + 0.5).clamp(0, 1).amax(1)
        if with_post and self.post:
            light[:, :, (place - 0.5).abs() < self.post / 2] = POST
        return (255 * light[:, None]).round().to(torch.uint8)

    def films(self, count: int, moments: int, seed: int = 0) -> Episodes:
        """Episodes of frames alone.

        Args:
            count: How many.
            moments: Frames of each.
            seed: Seed of all of them.

        Returns:
            The episodes, without actions.
        """
        state, frames = self.start(count, Stream(seed)), []
        for _ in range(moments):
            frames.append(self.frame(state))
            state = self.step(state)
        return Episodes([{"frames": film} for film in torch.stack(frames, 1).numpy()])


def centre_of_light(frames: Float[Tensor, "*n 1 height width"]) -> Float[Tensor, "*n 2"]:
    """The centroid of the light of frames: the centre of mass of balls before black.

    Args:
        frames: [*n, 1, height, width], in [0, 1].

    Returns:
        [*n, 2], x and y from 0 to 1; NaN where a frame is dark.
    """
    light = frames[..., 0, :, :].double()
    height, width = light.shape[-2:]
    total = light.sum((-2, -1))
    x = (light.sum(-2) * (torch.arange(width) + 0.5) / width).sum(-1) / total
    y = (light.sum(-1) * (torch.arange(height) + 0.5) / height).sum(-1) / total
    return torch.stack([x, y], -1).float()


def track_balls(
    frames: Float[Tensor, "rows moments 1 height width"], first: Float64[Tensor, "rows balls 2"]
) -> Float64[Tensor, "rows moments balls 2"]:
    """Where every ball is in frames without a post: the centroid of the light that is nearer to it than to the others.

    Args:
        frames: [rows, moments, 1, height, width], in [0, 1].
        first: [rows, balls, 2], where they are at about the first frame, in sides of the box.

    Returns:
        [rows, moments, balls, 2]; a ball without light stays where it was.
    """
    height, width = frames.shape[-2:]
    y = ((torch.arange(height, dtype=torch.float64) + 0.5) / height)[:, None].expand(height, width)
    x = ((torch.arange(width, dtype=torch.float64) + 0.5) / width).expand(height, width)
    place = torch.stack([x, y], 2).view(-1, 2)
    now, found = first, []
    for light in frames.double().flatten(2).unbind(1):
        for _ in range(ROUNDS):
            nearest = (place - now[:, :, None]).square().sum(3).argmin(1)
            share = torch.nn.functional.one_hot(nearest, first.shape[1]).mT * light[:, None]
            total = share.sum(2, keepdim=True)
            now = torch.where(total > 1e-6, share @ place / total.clamp_min(1e-6), now)
        found.append(now)
    return torch.stack(found, 1)

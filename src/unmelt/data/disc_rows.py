"""A heavy point passes discs that stand in rows of 1, 2 and 3: 2 * 3 * 4 = 24 routes, and no average of two is one.

    o   at y = 0.5        velocity <- velocity + dt * clip(kp (waypoint - position) - kd velocity, most)
   o o  at y = 1.0        position <- position + dt * velocity
  o o o at y = 1.5

A plan is 32 waypoints, which a tracker follows with limited force. The script chooses a gap in every row, all alike,
and threads a smooth path through them; what it demonstrates are the waypoints and the states in which they were given.
With `jitter` the discs of every episode stand elsewhere, and the observation says where. Everything is computed for
many rows at a time, in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.data.episodes import Episodes
from unmelt.errors import UsageError
from unmelt.rng import Stream

HEIGHTS = (0.5, 1.0, 1.5)
"""Where the rows of discs are; row k has k + 1 of them."""

SPACING, RADIUS = 0.5, 0.1
"""Distance of two discs of a row, and radius of discs and point together."""

WAYPOINTS, SUBSTEPS, DT = 32, 4, 1 / 64
KP, KD, MOST_FORCE = 200.0, 20.0, 20.0

ROUTES = math.prod(k + 2 for k in range(len(HEIGHTS)))
"""Number of routes."""

END = 2.0
"""Where plans end."""


class PointState(NamedTuple):
    """Points on their way.

    Args:
        position: [rows, 2].
        velocity: [rows, 2].
        discs: [rows, 6, 2], the centres of all discs.
        path: [rows, moments, 2], where the point has been.
        failed: [rows], True where it has hit a disc.
    """

    position: Float64[Tensor, "rows 2"]
    velocity: Float64[Tensor, "rows 2"]
    discs: Float64[Tensor, "rows 6 2"]
    path: Float64[Tensor, "rows moments 2"]
    failed: Bool[Tensor, " rows"]


@final
@checked_init("um.data.DiscRows")
@dataclass(frozen=True, kw_only=True)
class DiscRows:
    """The environment and its script.

    Args:
        jitter: Standard deviation of the place of every disc; 0 for the same discs in every episode.
        spread: Standard deviation of the script's path about the middle of a gap.

    Raises:
        UsageError: If one of them is negative.
    """

    jitter: float = 0.0
    spread: float = 0.03

    def __post_init__(self) -> None:
        if not (self.jitter >= 0 and self.spread >= 0):
            raise UsageError(f"DiscRows(jitter={self.jitter}, spread={self.spread})", "0 or more", "DiscRows()")

    def start(self, rows: int, rng: Stream) -> PointState:
        """Points that rest at the bottom, below their discs.

        Args:
            rows: How many.
            rng: Source of randomness.

        Returns:
            Their states.
        """
        centres = [(SPACING * (i - k / 2), y) for k, y in enumerate(HEIGHTS) for i in range(k + 1)]
        discs = torch.tensor(centres, dtype=torch.float64).expand(rows, -1, 2)
        discs = discs + self.jitter * rng.normal((rows, len(centres), 2), torch.float64)
        across = 0.05 * rng.normal((rows, 1), torch.float64)
        position = torch.cat([across, torch.zeros_like(across)], 1)
        failed = torch.zeros(rows, dtype=torch.bool)
        return PointState(position, torch.zeros_like(position), discs, position[:, None], failed)

    def observation(self, state: PointState) -> Float64[Tensor, "rows 16"]:
        """What is seen: place, velocity, and the centres of the discs.

        Args:
            state: The points.

        Returns:
            [rows, 16].
        """
        return torch.cat([state.position, state.velocity, state.discs.flatten(1)], 1)

    def step(self, state: PointState, waypoint: Float64[Tensor, "rows 2"]) -> PointState:
        """Follow a waypoint for one moment.

        Args:
            state: The points.
            waypoint: [rows, 2], where they are to go.

        Returns:
            Their states a moment later.
        """
        position, velocity, failed, path = state.position, state.velocity, state.failed, [state.path]
        for _ in range(SUBSTEPS):
            force = KP * (waypoint - position) - KD * velocity
            force = force * (MOST_FORCE / force.norm(dim=1, keepdim=True).clamp_min(MOST_FORCE))
            velocity = velocity + DT * force
            position = position + DT * velocity
            failed = failed | ((position[:, None] - state.discs).norm(dim=2) < RADIUS).any(1)
            path.append(position[:, None])
        return PointState(position, velocity, state.discs, torch.cat(path, 1), failed)

    def follow(self, state: PointState, plan: Float64[Tensor, "rows waypoints 2"]) -> PointState:
        """Follow a whole plan.

        Args:
            state: The points.
            plan: [rows, waypoints, 2].

        Returns:
            Their states at its end.
        """
        for waypoint in plan.unbind(1):
            state = self.step(state, waypoint)
        return state

    def script(self, state: PointState, rng: Stream) -> Float64[Tensor, "rows 32 2"]:
        """Plans of the script: every gap of a row is as likely as any other.

        Args:
            state: Points at the start.
            rng: Source of randomness.

        Returns:
            [rows, 32, 2], waypoints.
        """
        rows, middles, first = len(state.position), [], 0
        for k, _ in enumerate(HEIGHTS):
            of_row = state.discs[:, first : first + k + 1]
            gaps = _gaps(of_row)
            choice = (rng.uniform((rows,), torch.float64) * (k + 2)).long()
            middle = gaps[torch.arange(rows), choice]
            middles.append(
                middle + self.spread * torch.cat([rng.normal((rows, 1), torch.float64), 0 * middle[:, 1:]], 1)
            )
            first += k + 1
        end = torch.stack([middles[-1][:, 0], torch.full((rows,), END, dtype=torch.float64)], 1)
        return _smooth(torch.stack([state.position, *middles, end], 1), WAYPOINTS)

    def demonstrations(self, episodes: int, seed: int = 0) -> Episodes:
        """Episodes of the script, those that fail included.

        Args:
            episodes: How many.
            seed: Seed of all of them.

        Returns:
            Episodes of 32 observations and waypoints.
        """
        rng = Stream(seed)
        state = self.start(episodes, rng)
        plan, seen = self.script(state, rng), []
        for waypoint in plan.unbind(1):
            seen.append(self.observation(state))
            state = self.step(state, waypoint)
        observations = torch.stack(seen, 1).float()
        return Episodes(
            [{"observations": o, "actions": a} for o, a in zip(observations.numpy(), plan.float().numpy(), strict=True)]
        )

    def success(self, state: PointState) -> Bool[Tensor, " rows"]:
        """Whether points have passed all rows and hit nothing.

        Args:
            state: Points at the end.

        Returns:
            [rows].
        """
        return ~state.failed & (state.position[:, 1] > max(HEIGHTS) + RADIUS)

    def route(self, state: PointState) -> Int64[Tensor, " rows"]:
        """The number of the route that points have taken, from 0 to 23; sensible where they have succeeded.

        Args:
            state: Points at the end.

        Returns:
            [rows].
        """
        number, first, rows = torch.zeros(len(state.position), dtype=torch.int64), 0, torch.arange(len(state.position))
        for k, y in enumerate(HEIGHTS):
            passed = (state.path[:, :, 1] < y).sum(1).clamp_max(state.path.shape[1] - 1)
            gap = (state.discs[:, first : first + k + 1, 0] < state.path[rows, passed, :1]).sum(1)
            number, first = number * (k + 2) + gap, first + k + 1
        return number


def route_entropy(routes: Int64[Tensor, " rows"]) -> float:
    """The entropy of the routes taken, as a share of that of all 24 alike.

    Args:
        routes: [rows], numbers of routes.

    Returns:
        From 0 (one route) to 1.
    """
    share = torch.bincount(routes, minlength=ROUTES).double() / max(1, len(routes))
    return float(torch.special.entr(share).sum() / math.log(ROUTES))


def _gaps(of_row: Float64[Tensor, "rows k 2"]) -> Float64[Tensor, "rows gaps 2"]:
    """The middles of the gaps of a row of discs, those beside the outer ones at half the spacing."""
    side = of_row.new_tensor([SPACING / 2, 0.0])
    between = (of_row[:, 1:] + of_row[:, :-1]) / 2
    return torch.cat([of_row[:, :1] - side, between, of_row[:, -1:] + side], 1)


def _smooth(knots: Float64[Tensor, "rows n 2"], waypoints: int) -> Float64[Tensor, "rows waypoints 2"]:
    """Waypoints at equal steps of y, x between two knots following 3 u^2 - 2 u^3, so that it is level at each knot."""
    y = knots[:, :1, 1] + (knots[:, -1:, 1] - knots[:, :1, 1]) * torch.arange(1, waypoints + 1) / waypoints
    index = (y[..., None] > knots[:, None, 1:-1, 1]).sum(2)
    low, high = (knots.gather(1, (index + i)[..., None].expand(-1, -1, 2)) for i in (0, 1))
    u = ((y - low[..., 1]) / (high[..., 1] - low[..., 1])).clamp(0, 1)
    x = low[..., 0] + (high[..., 0] - low[..., 0]) * u**2 * (3 - 2 * u)
    return torch.stack([x, y], 2)

"""A model of actions at work: observation in, action out.

    plan ~ p(actions | last observations, the actions that are already decided)
    act:  the next `act_steps` actions of the plan, one a call; then a new plan

Receding horizon (Chi et al., 2023, section 3.1): a plan is longer than what is carried out of it. A new plan may begin
with actions that are already decided: the first `hold` of those that the old plan had left. They stand at t = 0 while
the others are sampled beside them, which is inpainting that is exact as far as the network has learned it
(`objective.KnownPrefix`). Successive plans then take the same route, and an arm does not jump where one plan follows
another (Black et al., 2025).

With a latency budget the number of sampling steps is the largest of 16, 8, 4, 2 and 1 whose plan was made in time when
the policy was begun.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.model.model import Model
from unmelt.rng import fold
from unmelt.sampler import Adams, Sampler, continue_frames, grid

STEPS = (16, 8, 4, 2, 1)
"""Numbers of sampling steps that a budget chooses among."""

TRIALS = 3
"""Plans that are timed for each number of steps, of which the slowest counts."""


@checked_init("um.Policy")
class Policy:
    """A policy: `act(observation)` returns the next action.

    Args:
        model: A model of actions given observations, such as `um.recipe.policy` makes.
        steps: Sampling steps of a plan, which are network calls. None: as the budget says, or else 8.
        act_steps: Actions that are carried out before a new plan is made. None: half of the horizon.
        hold: Actions left of the old plan with which the new one begins.
        budget: Seconds that a plan may take; None for no budget.
        sampler: Replaces Adams' method.
        seed: Seed of the plans.

    Raises:
        UsageError: If the model is not one of actions given observations, a number is out of its range, or no plan can
            be made within the budget.
    """

    def __init__(
        self,
        model: Model,
        *,
        steps: int | None = None,
        act_steps: int | None = None,
        hold: int = 0,
        budget: float | None = None,
        sampler: Sampler | None = None,
        seed: int = 0,
    ) -> None:
        backbone, shape = model.denoiser.backbone, tuple(model.denoiser.shape)
        if len(shape) != 2 or not hasattr(backbone, "mean") or not hasattr(backbone, "vector_width"):
            raise UsageError(
                f"a model of rows of shape {shape} with a {type(backbone).__name__}",
                "a model of actions, given observations",
                "um.Policy(um.recipe.policy(episodes='demos.npz').fit())",
            )
        self.model, self.seed, self.budget = model, seed, budget
        self.horizon, self.features = shape[0], len(backbone.mean)
        self.observed = backbone.vector_width // self.features
        self.act_steps = (self.horizon + 1) // 2 if act_steps is None else act_steps
        self.hold, self.sampler = hold, sampler or Adams()
        if not 1 <= self.act_steps <= self.horizon or not 0 <= hold < self.horizon or (steps or 1) < 1:
            raise UsageError(
                f"act_steps={act_steps}, hold={hold}, steps={steps} of plans of {self.horizon} actions",
                "1 to all of them carried out, fewer than all held, and at least one sampling step",
                f"Policy(model, act_steps={(self.horizon + 1) // 2}, hold=0, steps=8)",
            )
        self.reset()
        self.steps = steps or 8
        if budget is not None:
            self.steps = self._steps_within(budget, (steps,) if steps else STEPS)
            self.reset()

    def reset(self) -> None:
        """Begin a new episode: forget what was observed and planned."""
        self._seen: deque[Tensor] = deque(maxlen=self.observed)
        self._left: Tensor | None = None
        self._done = self._plans = 0

    def act(self, observation: Any) -> np.ndarray:
        """The next action.

        Args:
            observation: [features] of one environment, or [rows, features] of several that run side by side; numbers
                in the units of the demonstrations.

        Returns:
            The action, [numbers] or [rows, numbers], as numpy has them.

        Raises:
            UsageError: If the observation has another shape than those learned from, or is not finite.
        """
        seen = torch.as_tensor(np.asarray(observation)).float()
        alone = seen.ndim == 1
        seen = seen[None] if alone else seen
        self._check(seen)
        self._seen.append(seen)
        if self._left is None or self._done >= self.act_steps:
            held = None if self._left is None else self._left[:, : self.hold]
            self._left, self._done = self.plan(self._history(), held), 0
        action, self._left = self._left[:, 0], self._left[:, 1:]
        self._done += 1
        found: np.ndarray = (action[0] if alone else action).numpy()
        return found

    def plan(
        self,
        observations: Float[Tensor, "rows observed features"],
        held: Float[Tensor, "rows held numbers"] | None = None,
    ) -> Float[Tensor, "rows horizon numbers"]:
        """A plan for each row.

        Args:
            observations: [rows, observed, features], the last ones, the newest last.
            held: [rows, held, numbers], actions with which the plan begins; None for none.

        Returns:
            [rows, horizon, numbers], on the CPU.
        """
        model, rows = self.model, len(observations)
        past = observations.new_zeros(rows, 0, model.denoiser.shape[1]) if held is None else held
        known, device = past.shape[1], model.device
        with torch.no_grad():
            start = model.codec.encode(past.to(device))
            made = continue_frames(
                model.denoiser,
                start,
                frames=self.horizon - known,
                sampler=self.sampler,
                grid=grid.FrameGrid(grid.uniform(self.steps), self.horizon, known=known),
                seed=fold(self.seed, self._plans),
                condition=Condition(vector=observations.flatten(1).to(device)),
            )
            self._plans += 1
            return torch.cat([past, model.codec.decode(made).cpu()], 1)

    def _history(self) -> Float[Tensor, "rows observed features"]:
        """The last observations; the first one stands for those before it."""
        missing = self.observed - len(self._seen)
        return torch.stack([self._seen[0]] * missing + list(self._seen), 1)

    def _check(self, seen: Tensor) -> None:
        rows = len(self._seen[-1]) if self._seen else len(seen)
        if seen.ndim != 2 or seen.shape[1] != self.features or len(seen) != rows or not seen.isfinite().all():
            raise UsageError(
                f"an observation of shape {tuple(seen.shape)}" + ("" if seen.isfinite().all() else " with NaN in it"),
                f"{self.features} finite numbers, of as many rows as before",
                "policy.reset() between episodes, and policy.act(observation)",
            )

    def _steps_within(self, budget: float, choices: tuple[int, ...]) -> int:
        """The largest number of steps whose plan is made in time."""
        seen = torch.tensor(self.model.denoiser.backbone.mean).expand(1, self.observed, -1)
        took = float("inf")
        for steps in choices:
            self.steps, took = steps, 0.0
            self.plan(seen)  # a first call allocates
            for _ in range(TRIALS):
                begun = time.perf_counter()
                self.plan(seen)
                took = max(took, time.perf_counter() - begun)
            if took <= budget:
                return steps
        raise UsageError(
            f"a budget of {budget} s, where a plan of {choices[-1]} steps takes {took:.3g} s",
            "a budget that one plan fits into",
            f"budget={2 * took:.2g}, or a smaller network",
        )

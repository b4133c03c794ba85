"""A world model at work: action in, next frame out.

    frame_(f+1) ~ p(frame | the last frames, the actions that were taken in them)

Known frames stand at a small time `context_time`, for which they are noised anew at every step; the new frame goes from
noise to data beside them in a few network calls. Without frames to begin with, the world dreams a first window of its
own, as far as the model has learned whole windows (`objective.KnownPrefix` with a share below 1).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.model.model import Model
from unmelt.rng import fold
from unmelt.sampler import Adams, Sampler, continue_frames, grid


@checked_init("um.World")
class World:
    """A world: `step(action)` returns the next frame.

    Args:
        model: A model of windows of frames given actions, such as `um.recipe.world` makes.
        rows: Number of worlds side by side.
        steps: Sampling steps of a frame, which are network calls.
        context_time: Time at which known frames stand, at most the noise that the model was trained with.
        sampler: Replaces Adams' method.
        seed: Seed of what is left to chance.

    Raises:
        UsageError: If the model is not one of frames given actions, or a number is out of its range.
    """

    def __init__(
        self,
        model: Model,
        *,
        rows: int = 1,
        steps: int = 4,
        context_time: float = 0.05,
        sampler: Sampler | None = None,
        seed: int = 0,
    ) -> None:
        shape = tuple(model.denoiser.shape)
        self.actions = int(getattr(model.denoiser.backbone, "vector_width", 0))
        if len(shape) != 4 or not self.actions:
            raise UsageError(
                f"a model of rows of shape {shape}",
                "a model of windows of frames, given actions",
                "um.World(um.recipe.world(episodes='games.npz').fit())",
            )
        if rows < 1 or steps < 1 or not 0 <= context_time < 1:
            raise UsageError(
                f"rows={rows}, steps={steps}, context_time={context_time}",
                "at least one row and one step, and a time from 0 to below 1",
                "um.World(model, steps=4, context_time=0.05)",
            )
        self.model, self.rows, self.steps, self.context_time = model, rows, steps, context_time
        self.sampler, self.seed, self.known = sampler or Adams(), seed, shape[0] - 1
        self._made = 0
        self._frames = torch.zeros(rows, 0, *shape[1:])
        self._before = torch.zeros(rows, 0, self.actions)

    @property
    def frame(self) -> Float[Tensor, "rows channels height width"]:
        """The frame that is shown now, in data space."""
        return self.model.decode(self._frames[:, -1:].to(self.model.device))[:, 0].cpu()

    def reset(
        self,
        frames: Float[Tensor, "rows known channels height width"] | None = None,
        actions: Float[Tensor, "rows known numbers"] | None = None,
    ) -> Float[Tensor, "rows channels height width"]:
        """Begin.

        Args:
            frames: [rows, known, channels, height, width], frames to begin with, in data space, at least as many as a
                window has before its last. None: a dreamed window.
            actions: [rows, known, numbers], the action before each of them. None: none is known, which is 0.

        Returns:
            The last frame.

        Raises:
            UsageError: If there are too few frames, or of another shape.
        """
        device, shape = self.model.device, tuple(self.model.denoiser.shape)
        if frames is None:
            self._before = torch.zeros(self.rows, shape[0], self.actions)
            self._frames = self._sample(torch.zeros(self.rows, 0, *shape[1:]), self._before)
            return self.frame
        if tuple(frames.shape[2:]) != shape[1:] or len(frames) != self.rows or frames.shape[1] < self.known:
            raise UsageError(
                f"frames of shape {tuple(frames.shape)}",
                f"{self.rows} rows of at least {self.known} frames of shape {shape[1:]}",
                "world.reset(frames)",
            )
        with torch.no_grad():
            self._frames = self.model.codec.encode(frames.to(device)).cpu()
        self._before = torch.zeros(*frames.shape[:2], self.actions) if actions is None else actions.float()
        return self.frame

    def step(self, action: Any) -> Float[Tensor, "rows channels height width"]:
        """The next frame.

        Args:
            action: The number of an action, or one for each row; or vectors [rows, numbers].

        Returns:
            [rows, channels, height, width], in data space, on the CPU.

        Raises:
            UsageError: If there is no such action.
        """
        if self._frames.shape[1] < self.known:
            self.reset()
        self._before = torch.cat([self._before[:, -self.known :], self._vector(action)[:, None]], 1)
        past = self._frames[:, -self.known :]
        new = self._sample(past, self._before)
        self._frames = torch.cat([past, new], 1)
        return self.frame

    def _vector(self, action: Any) -> Float[Tensor, "rows numbers"]:
        given = torch.as_tensor(action)
        if given.ndim == 2 and given.shape == (self.rows, self.actions):
            return given.float()
        if given.is_floating_point() or given.ndim > 1 or given.numel() not in (1, self.rows):
            raise UsageError(
                f"an action of shape {tuple(given.shape)}",
                f"a number from 0 to {self.actions - 1}, one for each row, or a vector of {self.actions} numbers",
                "world.step(0)",
            )
        if given.min() < 0 or given.max() >= self.actions:
            raise UsageError(f"action {int(given.max())}", f"0 to {self.actions - 1}", "world.step(0)")
        return torch.nn.functional.one_hot(given.long().reshape(-1).expand(self.rows), self.actions).float()

    def _sample(self, past: Tensor, before: Tensor) -> Tensor:
        """Frames after known ones in a window, in model space."""
        device, frames, known = self.model.device, self.known + 1, past.shape[1]
        made = continue_frames(
            self.model.denoiser,
            past.to(device),
            frames=frames - known,
            sampler=self.sampler,
            grid=grid.FrameGrid(grid.uniform(self.steps), frames, known=known),
            context_time=self.context_time if known else 0.0,
            seed=fold(self.seed, self._made),
            condition=Condition(vector=before.to(device)),
        )
        self._made += 1
        return made.cpu()

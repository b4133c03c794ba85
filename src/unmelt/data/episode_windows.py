"""Windows that are cut from episodes: what a policy or a world model learns from.

    ActionChunks    x = actions k, ..., k + horizon - 1;      vector = the last `observed` observations up to k
    FrameWindows    x = frames k, ..., k + frames - 1;        vector[f] = the action before frame f

A chunk that reaches beyond the end of its episode repeats the last action, and observations before the beginning are
the first one. Windows of frames lie within their episode; the action before the first frame of an episode is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.data.episodes import Episodes
from unmelt.data.source import Arrays
from unmelt.data.split import digest
from unmelt.errors import UsageError


class _Moments:
    """All moments at which a window begins, in an endless order, and which moments a window consists of."""

    def __init__(self, episodes: Episodes, starts: Sequence[Tensor], seed: int) -> None:
        lengths = torch.tensor([len(one) for one in episodes])
        self.first = lengths.cumsum(0) - lengths
        self.last = self.first + lengths - 1
        self.episode = torch.cat([torch.full((len(each),), number) for number, each in enumerate(starts)])
        self.at = torch.cat([self.first[number] + each for number, each in enumerate(starts)])
        self.order = Arrays(torch.arange(len(self.at)), seed=seed)

    def window(
        self, items: Int64[Tensor, " rows"], offsets: Int64[Tensor, " n"]
    ) -> tuple[Int64[Tensor, "rows n"], Tensor]:
        """Moments at offsets from the beginnings of windows, the nearest that the episode has; and which it has."""
        wanted, episode = self.at[items, None] + offsets, self.episode[items, None]
        inside = wanted.clamp(self.first[episode], self.last[episode])
        return inside, inside == wanted


@final
class ActionChunks:
    """Chunks of actions, each given the observations before it.

    Args:
        episodes: The episodes, with observations.
        horizon: Actions of a chunk.
        observed: Observations that are given, the newest last.
        stride: Moments between the beginnings of two chunks; 0 for one chunk for each episode, from its beginning.
        seed: Seed of the order in which chunks come.

    Raises:
        UsageError: If a number is too small or the episodes have no observations.
    """

    classes: tuple[str, ...] = ()

    def __init__(
        self, episodes: Episodes, horizon: int = 16, observed: int = 1, stride: int = 1, seed: int = 0
    ) -> None:
        if horizon < 1 or observed < 1 or stride < 0:
            raise UsageError(
                f"horizon={horizon}, observed={observed}, stride={stride}",
                "at least one action and one observation, and a stride of at least 0",
                "ActionChunks(episodes, horizon=16, observed=2)",
            )
        self.episodes, self.horizon, self.observed, self.stride, self.seed = episodes, horizon, observed, stride, seed
        self.actions, self.observations = episodes.stacked("actions"), episodes.stacked("observations")
        starts = [torch.arange(0, len(one), stride) if stride else torch.zeros(1).long() for one in episodes]
        self._moments = _Moments(episodes, starts, seed)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.horizon, self.actions.shape[1])

    def __len__(self) -> int:
        """The number of chunks."""
        return len(self._moments.at)

    def rows_of(self, items: Int64[Tensor, " rows"]) -> tuple[Float[Tensor, "rows horizon numbers"], Condition]:
        """Read chunks by their numbers.

        Args:
            items: [rows], numbers of chunks.

        Returns:
            (x, condition): actions [rows, horizon, numbers], and observations [rows, observed * features].
        """
        ahead, _ = self._moments.window(items, torch.arange(self.horizon))
        behind, _ = self._moments.window(items, torch.arange(1 - self.observed, 1))
        return self.actions[ahead], Condition(vector=self.observations[behind].flatten(1))

    def batch(self, step: int, rows: int) -> tuple[Float[Tensor, "rows horizon numbers"], Condition]:
        return self.rows_of(self._moments.order.items(step, rows))

    def identity(self) -> dict[str, Any]:
        """What distinguishes these data from others; see `data.identity`."""
        return {
            "rows": len(self),
            "contents": digest(self.episodes.keys().numpy().tobytes()),
            "windows": [self.horizon, self.observed, self.stride],
        }


@final
class FrameWindows:
    """Consecutive frames, each given the action before it.

    Args:
        episodes: The episodes, with frames.
        frames: Frames of a window.
        seed: Seed of the order in which windows come.

    Raises:
        UsageError: If a window has fewer than 2 frames, the episodes have none, or no episode is long enough.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, episodes: Episodes, frames: int = 8, seed: int = 0) -> None:
        longest = max(len(one) for one in episodes)
        if not 2 <= frames <= longest:
            raise UsageError(
                f"windows of {frames} frames of episodes of at most {longest}",
                "at least 2 frames, and an episode that has as many",
                f"FrameWindows(episodes, frames={min(8, longest)})",
            )
        self.episodes, self.frames, self.seed = episodes, frames, seed
        self.pixels, self.actions = episodes.stacked("frames"), episodes.stacked("actions")
        self._moments = _Moments(episodes, [torch.arange(len(one) - frames + 1) for one in episodes], seed)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.frames, *self.pixels.shape[1:])

    def __len__(self) -> int:
        """The number of windows."""
        return len(self._moments.at)

    def rows_of(self, items: Int64[Tensor, " rows"]) -> tuple[Float[Tensor, "rows frames *pixels"], Condition]:
        """Read windows by their numbers.

        Args:
            items: [rows], numbers of windows.

        Returns:
            (x, condition): frames [rows, frames, channels, height, width] in [0, 1], and the actions before them
            [rows, frames, numbers].
        """
        now, _ = self._moments.window(items, torch.arange(self.frames))
        before, real = self._moments.window(items, torch.arange(-1, self.frames - 1))
        x = self.pixels[now]
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        return x, Condition(vector=torch.where(real[..., None], self.actions[before], 0.0))

    def batch(self, step: int, rows: int) -> tuple[Float[Tensor, "rows frames *pixels"], Condition]:
        return self.rows_of(self._moments.order.items(step, rows))

    def identity(self) -> dict[str, Any]:
        """What distinguishes these data from others; see `data.identity`."""
        return {
            "rows": len(self),
            "contents": digest(self.episodes.keys().numpy().tobytes()),
            "windows": [self.frames],
        }

"""Episodes: what was seen, done and earned at each moment of a run through an environment.

    episode = observations [T, numbers], actions [T, numbers], rewards [T], frames [T, channels, height, width]

Every episode has actions, and each of the others if any episode has it. Films are episodes of frames alone, none of
which has actions: these then have no numbers, [T, 0]. The action at index k is the one taken after
observation and frame k were seen. Environments of gymnasium return one observation more than they take actions; the
last one, after which nothing was done, is cut off. What is not usable is refused by the name of its episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unmelt.data.split import digest, held_out_rows
from unmelt.errors import UsageError

ARRAYS = ("actions", "observations", "rewards", "frames")
"""What an episode may have, the first of them always."""

OTHER_NAMES = {
    "actions": ("action", "acts"),
    "observations": ("observation", "observation.state", "obs", "state"),
    "rewards": ("reward", "next.reward"),
    "frames": ("images", "pixels", "video"),
}
"""Other names of the arrays, as gymnasium, Minari, RLDS and LeRobot have them."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One episode; all arrays have its T moments first.

    Args:
        name: Its name, by which messages call it.
        actions: [T, numbers].
        observations: [T, numbers]; None for none, as for the two that follow.
        rewards: [T].
        frames: [T, channels, height, width], bytes, or floats in [0, 1].
    """

    name: str
    actions: Float[Tensor, "T numbers"]
    observations: Float[Tensor, "T features"] | None = None
    rewards: Float[Tensor, " T"] | None = None
    frames: Shaped[Tensor, "T channels height width"] | None = None

    def __len__(self) -> int:
        """The number of its moments."""
        return len(self.actions)


@final
class Episodes(Sequence[Episode]):
    """Episodes of one kind: all have the same arrays, of the same widths.

    Args:
        episodes: Each a mapping with "actions", and as there are, "observations", "rewards" and "frames" (or, of films,
            "frames" alone); lists and arrays of numpy or torch are taken, and the names of gymnasium, Minari, RLDS and
            LeRobot. Actions that are whole numbers [T] are classes, and become one-hot vectors.
        names: A name for each; their numbers if empty.

    Raises:
        UsageError: If there are none, or one of them lacks its actions or another array, has arrays of other lengths or
            widths, or NaN among its numbers. The message names it.
    """

    def __init__(self, episodes: Sequence[Mapping[str, Any] | Episode], names: Sequence[str] = ()) -> None:
        if not episodes or (names and len(names) != len(episodes)):
            raise UsageError(
                f"{len(episodes)} episodes and {len(names)} names",
                "at least one episode, and a name for each or none",
                "Episodes([{'observations': observations, 'actions': actions}])",
            )
        called = list(names) or [getattr(one, "name", f"episode {number}") for number, one in enumerate(episodes)]
        raw = [_arrays(name, one) for name, one in zip(called, episodes, strict=True)]
        films = all("frames" in one and "actions" not in one for one in raw)
        for name, arrays, given in zip(called, raw, episodes, strict=True):
            if films:
                arrays["actions"] = torch.zeros(len(arrays["frames"]), 0)
            elif "actions" not in arrays:
                there = ", ".join(map(str, given)) if isinstance(given, Mapping) else ""
                raise _refused(name, f"no actions; it has {there or 'nothing'}", "an array 'actions'")
        classes = _action_classes(called, raw)
        self._episodes = [_episode(name, one, classes) for name, one in zip(called, raw, strict=True)]
        first = self._episodes[0]
        for one in self._episodes[1:]:
            for array in ARRAYS:
                own, others = getattr(one, array), getattr(first, array)
                if (own is None) != (others is None):
                    lacks, has = (one, first) if own is None else (first, one)
                    raise _refused(lacks.name, f"no {array}, which {has.name} has", "the same arrays in every episode")
                if own is not None and own.shape[1:] != others.shape[1:]:
                    raise _refused(
                        one.name,
                        f"{array} of {tuple(own.shape[1:])} numbers, where {first.name} has {tuple(others.shape[1:])}",
                        "arrays of the same width in every episode",
                    )

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, which: Any) -> Any:
        """An episode by its number, or some of them by a slice or a list of numbers."""
        if isinstance(which, int | np.integer):
            return self._episodes[which]
        chosen = self._episodes[which] if isinstance(which, slice) else [self._episodes[int(k)] for k in which]
        return Episodes(chosen)

    def has(self, array: str) -> bool:
        """Whether the episodes have an array.

        Args:
            array: "observations", "rewards" or "frames".

        Returns:
            Whether they have it; all do or none does.
        """
        return getattr(self._episodes[0], array) is not None

    def stacked(self, array: str) -> Shaped[Tensor, "moments *numbers"]:
        """An array of all episodes, one after the other.

        Args:
            array: "actions", "observations", "rewards" or "frames".

        Returns:
            [moments of all episodes, *numbers].

        Raises:
            UsageError: If the episodes have no such array.
        """
        if array not in ARRAYS or not self.has(array):
            raise UsageError(
                f"episodes without {array}",
                f"episodes that have {array}",
                f"Episodes([{{'actions': actions, {array!r}: {array}}}])",
            )
        return torch.cat([getattr(one, array) for one in self._episodes])

    def split(self, held_out: float = 0.1, seed: int = 0) -> tuple[Episodes, Episodes]:
        """Split into training and held-out episodes by their content, by the rules of `data.split`.

        Args:
            held_out: The held-out share, between 0 and 1.
            seed: Seed of the split.

        Returns:
            (the rest, the held-out episodes).

        Raises:
            UsageError: If the share is not between 0 and 1 or leaves one side empty.
        """
        out = held_out_rows([torch.arange(len(self))], self.keys, held_out, seed, "content")
        return self[(~out).nonzero()[:, 0]], self[out.nonzero()[:, 0]]

    def keys(self) -> Tensor:
        """Hash the content of every episode.

        Returns:
            [episodes], int64; episodes of the same content have the same.
        """
        found = []
        for one in self._episodes:
            arrays = [value for array in ARRAYS if (value := getattr(one, array)) is not None]
            whole = digest(b"".join(value.contiguous().numpy().tobytes() for value in arrays))
            found.append(int(whole[:16], 16) - (1 << 63))
        return torch.tensor(found, dtype=torch.int64)


def _refused(name: str, has: str, needed: str) -> UsageError:
    return UsageError(f"{name} has {has}", needed, "episodes that leave it out, or have it mended")


def _arrays(name: str, episode: Mapping[str, Any] | Episode) -> dict[str, Tensor]:
    """The arrays of an episode under their own names."""
    if isinstance(episode, Episode):
        return {array: value for array in ARRAYS if (value := getattr(episode, array)) is not None}
    found = {}
    for array in ARRAYS:
        key = next((each for each in (array, *OTHER_NAMES[array]) if episode.get(each) is not None), None)
        if key is None:
            continue
        try:
            found[array] = torch.as_tensor(np.asarray(episode[key]))
        except (TypeError, ValueError, RuntimeError):
            raise _refused(name, f"{array} that are not numbers of one shape", "an array of numbers") from None
    return found


def _action_classes(names: Sequence[str], raw: Sequence[dict[str, Tensor]]) -> int:
    """How many classes there are of actions that are whole numbers; 0 where they are vectors."""
    are_classes = [one["actions"].ndim == 1 and not one["actions"].is_floating_point() for one in raw]
    if not all(are_classes):
        if any(are_classes):
            raise _refused(names[are_classes.index(True)], "actions that are classes", "vectors, as the others have")
        return 0
    for name, one in zip(names, raw, strict=True):
        if len(one["actions"]) and one["actions"].min() < 0:
            raise _refused(name, "a negative action", "classes from 0 on")
    return 1 + max((int(one["actions"].max()) for one in raw if len(one["actions"])), default=0)


def _episode(name: str, arrays: dict[str, Tensor], classes: int) -> Episode:
    """An episode whose arrays are of one length, finite, and of the right number of dimensions."""
    actions = arrays["actions"]
    if classes:
        actions = torch.nn.functional.one_hot(actions.long(), classes)
    made = {"actions": actions.float()[:, None] if actions.ndim == 1 else actions.float()}
    if not len(actions):
        raise _refused(name, "no moments", "at least one")
    for array, value in arrays.items():
        if array == "actions":
            value = made["actions"]
        elif len(value) not in (len(actions), len(actions) + 1 if array in ("observations", "frames") else -1):
            raise _refused(name, f"{len(value)} {array} and {len(actions)} actions", "as many, or one observation more")
        value = value[: len(actions)]
        if array == "observations":
            value = value.float().flatten(1) if value.ndim > 1 else value.float()[:, None]
        if array == "rewards":
            value = value.float().flatten()
        if array == "frames" and value.dtype != torch.uint8:
            value = value.float()
        dimensions = {"actions": 2, "observations": 2, "rewards": 1, "frames": 4}[array]
        if value.ndim != dimensions or len(value) != len(actions):
            raise _refused(name, f"{array} of shape {tuple(value.shape)}", f"{dimensions} dimensions, moments first")
        if value.is_floating_point() and not value.isfinite().all():
            bad = (
                int((~value.flatten(1).isfinite().all(1)).nonzero()[0])
                if value.ndim > 1
                else int((~value.isfinite()).nonzero()[0])
            )
            raise _refused(name, f"NaN or infinity among its {array}, first at moment {bad}", "finite numbers")
        made[array] = value
    return Episode(name=name, **made)

"""Everything a sampler knows between two steps, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.rng import Rows


@dataclass(frozen=True)
class State:
    """Rows on their way back, each at its own time; a value, never changed in place.

    x          [rows, *shape], the rows as they are now
    t          [rows], the time each stands at
    x0         [rows, *shape], what was last believed of the clean data (0 before the first step)
    rng        the seed of each row and how often it has drawn
    condition  what is known of each row
    memory     what a multistep sampler remembers; every entry has rows first

    Since all history is here, rows can be split off (`state[rows]`), joined (`State.join`), saved and moved between
    batches at any step.
    """

    x: Shaped[Tensor, "rows *shape"]
    t: Float[Tensor, " rows"]
    x0: Shaped[Tensor, "rows *shape"]
    rng: Rows
    condition: Condition | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        x: Shaped[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        rng: Rows,
        condition: Condition | None = None,
        **memory: Tensor,
    ) -> State:
        """Rows that have not yet taken a step."""
        return cls(x, t, torch.zeros_like(x), rng, condition, memory)

    def moved(
        self, x: Tensor, s: Float[Tensor, " rows"], x0: Tensor, rng: Rows | None = None, **memory: Tensor
    ) -> State:
        """The same rows one step on."""
        return State(x, s, x0, rng or self.rng, self.condition, {**self.memory, **memory} if memory else self.memory)

    def recall(self, name: str) -> Tensor:
        """Something from memory; a state that has no such thing was begun by another sampler."""
        if name not in self.memory:
            raise UsageError(
                f"a state from another sampler, which remembers {sorted(self.memory) or 'nothing'}",
                f"one that remembers {name!r}",
                "the state that this sampler's own init gives",
            )
        return self.memory[name]

    def put(self, rows: Bool[Tensor, " rows"], part: State) -> State:
        """These rows replaced by those of `part`, in order."""
        at = rows.nonzero()[:, 0]

        def placed(whole: Tensor, new: Tensor) -> Tensor:
            return whole.index_copy(0, at.to(whole.device), new)

        return State(
            placed(self.x, part.x),
            placed(self.t, part.t),
            placed(self.x0, part.x0),
            replace(
                self.rng,
                seeds=placed(self.rng.seeds, part.rng.seeds),
                draws=placed(self.rng.draws, part.rng.draws),
            ),
            self.condition,
            {name: placed(value, part.memory[name]) for name, value in self.memory.items()},
        )

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> State:
        """Some of the rows, by slice, index or mask."""
        return State(
            self.x[rows],
            self.t[rows],
            self.x0[rows],
            self.rng[rows],
            None if self.condition is None else self.condition[rows],
            {name: value[rows] for name, value in self.memory.items()},
        )

    @staticmethod
    def join(parts: Sequence[State]) -> State:
        """Rows of several states in one batch; they must come from one sampler and have one shape."""
        first = parts[0]
        for part in parts[1:]:
            if part.memory.keys() != first.memory.keys() or part.x.shape[1:] != first.x.shape[1:]:
                raise UsageError(
                    f"states of shape {tuple(first.x.shape[1:])} with {sorted(first.memory)} "
                    f"and of shape {tuple(part.x.shape[1:])} with {sorted(part.memory)}",
                    "rows of one shape, from one kind of sampler",
                    "State.join([a, b]) with both from the same sampler.init",
                )
        return State(
            torch.cat([part.x for part in parts]),
            torch.cat([part.t for part in parts]),
            torch.cat([part.x0 for part in parts]),
            Rows.join([part.rng for part in parts]),
            Condition.join([part.condition for part in parts], [len(part) for part in parts]),
            {name: torch.cat([part.memory[name] for part in parts]) for name in first.memory},
        )

"""Everything a sampler knows between two steps, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds


@dataclass(frozen=True)
class State:
    """Rows on their way back, each at its own time; a value, never changed in place.

    Since all history is here, rows can be split off (`state[rows]`), joined (`State.join`), saved and moved between
    batches at any step.

    Args:
        x: [rows, *axes, *rest], the rows as they are now.
        t: [rows, *axes], the time at which each row stands, or each frame of a row.
        x0: What was last believed of the clean data, of the shape of x (0 before the first step).
        rng: Seed of each row, and how often it has drawn.
        condition: What is known of each row.
        memory: What a multistep sampler remembers, by name; every entry has rows first.
    """

    x: Shaped[Tensor, "rows *shape"]
    t: Float[Tensor, "rows *axes"]
    x0: Shaped[Tensor, "rows *shape"]
    rng: RowSeeds
    condition: Condition | None = None
    memory: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        x: Shaped[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        rng: RowSeeds,
        condition: Condition | None = None,
        **memory: Tensor,
    ) -> State:
        """Rows that have not yet taken a step.

        Args:
            x: [rows, *axes, *rest], the rows.
            t: [rows, *axes], the times at which they stand. Their axes are the leading axes of x.
            rng: Seed of each row.
            condition: What is known of each row.
            **memory: What the sampler will remember, rows first.

        Returns:
            The state, in which nothing is believed yet.

        Raises:
            UsageError: If the axes of t are not the leading axes of x.
        """
        if x.shape[: t.ndim] != t.shape:
            raise UsageError(
                f"times of shape {tuple(t.shape)} for x of shape {tuple(x.shape)}",
                "one time a row, or one for each index of the leading axes of x",
                f"t of shape {tuple(x.shape[:1])} or {tuple(x.shape[:2])}",
            )
        return cls(x, t, torch.zeros_like(x), rng, condition, memory)

    def moved(
        self, x: Tensor, s: Float[Tensor, "rows *axes"], x0: Tensor, rng: RowSeeds | None = None, **memory: Tensor
    ) -> State:
        """The same rows one step on.

        Args:
            x: The rows as they are now.
            s: [rows, *axes], the time at which they stand now.
            x0: What was believed of the clean data.
            rng: Their next draw; None if nothing was drawn.
            **memory: Entries of the memory that changed.

        Returns:
            The state after the step.
        """
        return State(x, s, x0, rng or self.rng, self.condition, {**self.memory, **memory} if memory else self.memory)

    def recall(self, name: str) -> Tensor:
        """An entry of the memory.

        Args:
            name: Of the entry.

        Returns:
            The tensor remembered under that name.

        Raises:
            UsageError: If there is none, as in a state begun by another sampler.
        """
        if name not in self.memory:
            raise UsageError(
                f"a state from another sampler, which remembers {sorted(self.memory) or 'nothing'}",
                f"one that remembers {name!r}",
                "the state that this sampler's own init gives",
            )
        return self.memory[name]

    def put(self, where: Bool[Tensor, "rows *axes"], part: State) -> State:
        """Replace rows, or frames of rows, by those of another state.

        Args:
            where: [rows] or [rows, *axes], True where to replace.
            part: The rows of which any frame is replaced, in order.

        Returns:
            The whole state. A row draws on if any of its frames is replaced.
        """
        rows = where.flatten(1).any(1) if where.ndim > 1 else where
        index, inside = rows.nonzero()[:, 0], where[rows]

        def placed(whole: Tensor, new: Tensor) -> Tensor:
            at = index.to(whole.device)
            if 1 < where.ndim <= whole.ndim:
                new = torch.where(inside.view(*inside.shape, *(1,) * (new.ndim - inside.ndim)), new, whole[at])
            return whole.index_copy(0, at, new)

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
        """Rows of several states in one batch.

        Args:
            parts: States from one sampler, their rows of one shape and their times of one shape.

        Returns:
            The state of all rows, in order.

        Raises:
            UsageError: If shapes differ, or what is remembered.
        """
        first = parts[0]
        for part in parts[1:]:
            shapes = part.x.shape[1:] != first.x.shape[1:] or part.t.shape[1:] != first.t.shape[1:]
            if shapes or part.memory.keys() != first.memory.keys():
                raise UsageError(
                    f"states of shape {tuple(first.x.shape[1:])} with {sorted(first.memory)} "
                    f"and of shape {tuple(part.x.shape[1:])} with {sorted(part.memory)}",
                    "rows of one shape, with times of one shape, from one kind of sampler",
                    "State.join([a, b]) with both from the same sampler.init",
                )
        return State(
            torch.cat([part.x for part in parts]),
            torch.cat([part.t for part in parts]),
            torch.cat([part.x0 for part in parts]),
            RowSeeds.join([part.rng for part in parts]),
            Condition.join([part.condition for part in parts], [len(part) for part in parts]),
            {name: torch.cat([part.memory[name] for part in parts]) for name in first.memory},
        )

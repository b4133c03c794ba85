"""SDEdit (Meng et al., 2022): melt what there is part of the way, and walk back.

    x_t = alpha(t) x0 + sigma(t) noise  at t = strength,  then any sampler from t to 0

Features coarser than the noise are kept, finer ones are sampled again: a sketch becomes a picture. Strength 1 samples
from pure noise where the schedule leaves no signal; near 0 nothing changes.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked
from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import RowSeeds, Seed
from unmelt.sampler.grid import Grid
from unmelt.sampler.loop import Prepared, frames, knots
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


def prepare_edit(
    denoiser: Denoiser,
    x0: Float[Tensor, "rows *shape"] | Int64[Tensor, "rows *shape"],
    *,
    strength: float,
    sampler: Sampler,
    grid: Grid,
    seed: Seed = 0,
    condition: Condition | None = None,
) -> Prepared:
    """Melt data and begin: all of `edit` before its first step.

    Args:
        denoiser: As for `edit`, like all that follow.
        x0: [rows, *shape], data to edit.
        strength: Time to which they are melted, above 0 and at most 1.
        sampler: The sampler.
        grid: The grid; all its steps are taken, from t = strength on.
        seed: One for all rows, or one for each. None draws a fresh one.
        condition: What is known of each row.

    Returns:
        The rows at t = strength.

    Raises:
        UsageError: If the strength is not in (0, 1].
    """
    if not 0 < strength <= 1:
        raise UsageError(f"strength={strength}", "above 0 (nothing changed) and at most 1 (all anew)", "strength=0.5")
    with torch.no_grad():
        start, *times = knots(replace(grid, start=float(strength)), denoiser.process.schedule, len(x0), x0.device)
        rng = RowSeeds.of(seed, len(x0))
        x_t, _ = denoiser.process.corrupt(x0, start, rng)
        state = sampler.init(denoiser, x_t, start, rng.advance(), condition)
    return Prepared(denoiser, sampler, state, tuple(times))


@checked("um.sampler.edit")
def edit(
    denoiser: Denoiser,
    x0: Float[Tensor, "rows *shape"] | Int64[Tensor, "rows *shape"],
    *,
    strength: float,
    sampler: Sampler,
    grid: Grid,
    seed: Seed = 0,
    condition: Condition | None = None,
) -> Iterator[State]:
    """The state at every time of a grid that starts at t = strength: melted data first, edited data last.

    Args:
        denoiser: The denoiser to sample from.
        x0: [rows, *shape], data to edit.
        strength: Time to which they are melted, above 0 and at most 1.
        sampler: The sampler.
        grid: The grid; all its steps are taken, from t = strength on.
        seed: One for all rows, or one for each. None draws a fresh one.
        condition: What is known of each row.

    Returns:
        An iterator of the states at each of the grid's times.

    Raises:
        UsageError: If the strength is not in (0, 1].
    """
    settings: Any = {"strength": strength, "sampler": sampler, "grid": grid, "seed": seed, "condition": condition}
    return frames(*prepare_edit(denoiser, x0, **settings))

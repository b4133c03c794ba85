"""SDEdit (Meng et al., 2022): corrupt data part of the way, and sample back from there.

    x_t = alpha(t) x0 + sigma(t) noise  at t = strength,  then any sampler from t to 0

Structure coarser than the noise is kept, and finer structure is sampled anew: a sketch becomes a picture. Strength near
0 changes nothing. Strength 1 keeps nothing, if the schedule leaves no signal at t = 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.rng import Rows
from unmelt.sampler.grid import Grid
from unmelt.sampler.loop import frames, knots
from unmelt.sampler.sampler import Sampler
from unmelt.sampler.state import State


def edit(
    denoiser: Denoiser,
    x0: Float[Tensor, "rows *shape"],
    *,
    strength: float,
    sampler: Sampler,
    grid: Grid,
    seed: int | Sequence[int] = 0,
    condition: Condition | None = None,
) -> Iterator[State]:
    """Corrupt data to t = strength and sample back to t = 0.

    Args:
        denoiser: The denoiser.
        x0: [rows, *shape], clean data.
        strength: The time in (0, 1] that data are corrupted to; the grid is made to start there.
        sampler: The sampler.
        grid: The grid; all of its steps are taken between t = strength and 0.
        seed: One seed, or one for each row, as in `trajectory`.
        condition: What is known of each row.

    Yields:
        The state at every time of the grid: corrupted data first, edited data last.

    Raises:
        UsageError: If the strength is not in (0, 1].
    """
    if not 0 < strength <= 1:
        raise UsageError(
            f"strength={strength}", "above 0 (nothing changes) and at most 1 (nothing is kept)", "strength=0.5"
        )
    with torch.no_grad():
        start, *times = knots(replace(grid, start=float(strength)), denoiser.process.schedule, len(x0), x0.device)
        rng = Rows.of(seed, len(x0))
        x_t, _ = denoiser.process.corrupt(x0, start, rng)
        state = sampler.init(denoiser, x_t, start, rng.advance(), condition)
    yield from frames(denoiser, sampler, state, times)

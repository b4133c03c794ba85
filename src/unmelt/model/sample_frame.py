"""One moment of a sample on its way, as it is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.process import Mask
from unmelt.process.gaussian import expand_like
from unmelt.sampler import State

if TYPE_CHECKING:
    from unmelt.model.model import Model


class SampleFrame(NamedTuple):
    """One moment of a trajectory, in data space, on the CPU.

    Args:
        x: [rows, *shape], the rows at time t, scaled to the size of data so that they can be looked at. A masked token
            is what the codec makes of a blank one.
        t: The time.
        x0: [rows, *shape], what the model believes they will become.
    """

    x: Float[Tensor, "rows *shape"]
    t: float
    x0: Float[Tensor, "rows *shape"]


def sample_frame(model: Model, state: State) -> SampleFrame:
    """A sampler's state in data space.

    Args:
        model: The model.
        state: State of a sampler, in model space.

    Returns:
        The frame.
    """
    process = model.denoiser.process
    if isinstance(process, Mask):
        x = torch.where(process.masked(state.x), getattr(model.codec, "blank", 0), state.x)
    elif model.of_tokens:
        x = state.x
    else:
        alpha, sigma = process.level(state.t)
        x = state.x / expand_like(torch.sqrt(alpha**2 + (sigma / model.denoiser.data_sd) ** 2), state.x)
    return SampleFrame(model.decode(x).cpu(), state.t.flatten()[0].item(), model.decode(state.x0).cpu())

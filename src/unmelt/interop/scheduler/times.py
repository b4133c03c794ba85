"""The times that a scheduler of diffusers would visit, for samples that are to be those of diffusers.

    chain of betas      timestep i is t = (i + 1) / T; what is no whole timestep is placed by its sigma / alpha
    flow matching       sigma = u: t is where the schedule has sigma / (alpha + sigma) = u

The last time is 0, or 1 / T where the scheduler stops at the first timestep (`set_alpha_to_one` of DDIM, and
`final_sigmas_type`). The first is below 1 where timesteps are spaced "leading": diffusers starts from unit noise there.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from unmelt.errors import UsageError
from unmelt.interop.betas import Betas
from unmelt.interop.diffusers_package import diffusers
from unmelt.interop.scheduler.config import SchedulerConfig
from unmelt.sampler.grid import MOST_STEPS

BY_TIMESTEP = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler")
"""Schedulers that step to the timestep T // steps below, whatever they visit next."""


def times_of_chain(config: SchedulerConfig, steps: int) -> Float64[Tensor, " knots"]:
    """The times that a scheduler on a chain of betas visits.

    Args:
        config: The scheduler.
        steps: Number of steps that it is asked for.

    Returns:
        [knots], decreasing; one more than network calls of a solver of order 1.

    Raises:
        UsageError: If it cannot take so many steps, visits midpoints, or steps to other times than it visits next.
    """
    if config.kind.startswith("KDPM2"):
        raise UsageError(
            f"the times of {config.kind}, which visits midpoints, too", "those of another scheduler", "DDIMScheduler"
        )
    scheduler, betas = _made(config), config.schedule
    assert isinstance(betas, Betas)
    _set(scheduler, steps, {})
    stamps = torch.as_tensor(scheduler.timesteps).double().unique_consecutive()
    first = torch.ones((), dtype=torch.float64) / betas.steps
    if config.kind in BY_TIMESTEP:
        jump = betas.steps // steps
        if (stamps.diff() != -jump).any() or stamps[-1] >= jump:
            raise UsageError(
                f"{config.kind} with {steps} steps spaced {config.settings['timestep_spacing']!r} over {betas.steps}, "
                "which steps to other timesteps than it visits next",
                "a number of steps that divides theirs, or spacing 'leading' or 'trailing'",
                f"steps={_divisor(betas.steps, steps)}",
            )
        is_clean = config.kind == "DDPMScheduler" or config.settings["set_alpha_to_one"]
        last = first[None] * (not is_clean)
        return torch.cat([(stamps + 1) / betas.steps, last]).unique_consecutive()
    ratios = torch.as_tensor(scheduler.sigmas).double().unique_consecutive()
    if (stamps != stamps.round()).any():
        return betas.time(-2 * torch.log(ratios))
    return torch.cat([(stamps + 1) / betas.steps, first[None] * bool(ratios[-1] > 0)])


def times_of_flow(
    config: SchedulerConfig, steps: int, sigmas: Sequence[float] | None = None, mu: float | None = None
) -> Float64[Tensor, " knots"]:
    """The times that a scheduler of flow matching visits.

    Args:
        config: The scheduler.
        steps: Number of steps.
        sigmas: The noise levels before they are shifted, where a pipeline states them. None: the scheduler's own.
        mu: The dynamic shift, where a pipeline states it.

    Returns:
        [knots], decreasing to 0.

    Raises:
        UsageError: If it cannot take so many steps.
    """
    scheduler = _made(config)
    given: dict[str, Any] = {} if mu is None else {"mu": mu}
    _set(scheduler, steps, given | ({} if sigmas is None else {"sigmas": list(sigmas)}))
    u = torch.as_tensor(scheduler.sigmas).double().unique_consecutive()
    return torch.cat([config.schedule.time(2 * torch.log((1 - u[:-1]) / u[:-1])), u.new_zeros(1)])


def _made(config: SchedulerConfig) -> Any:
    return getattr(diffusers(), config.kind).from_config(dict(config.settings))


def _set(scheduler: Any, steps: int, given: dict[str, Any]) -> None:
    if not 1 <= steps <= MOST_STEPS:
        raise UsageError(f"steps={steps}", f"a whole number from 1 to {MOST_STEPS}", "steps=20")
    set_timesteps: Callable[..., None] = scheduler.set_timesteps
    try:
        if "sigmas" in given:
            set_timesteps(**given)
        else:
            set_timesteps(steps, **given)
    except Exception as error:  # each scheduler refuses in its own way
        raise UsageError(
            f"{type(scheduler).__name__} with {steps} steps ({error})", "a number of steps that it takes", "steps=20"
        ) from None


def _divisor(of: int, near: int) -> int:
    """The divisor nearest to a number."""
    return min((n for n in range(1, of + 1) if of % n == 0), key=lambda n: abs(n - near))

"""A sampler and a grid as the diffusers scheduler that takes exactly the same steps, where there is one.

    DPMpp(2)          karras, log_snr                           EDMDPMSolverMultistepScheduler
    Euler, DDIM(0)    karras, log_snr                           EDMEulerScheduler
    Euler, DDIM(0)    balanced; uniform on Straight             FlowMatchEulerDiscreteScheduler
    Jump(0)           any                                       FlowMatchEulerDiscreteScheduler, given its levels

EDM schedulers start from sigma_max and need a schedule that ends there, with some signal left. Flow matching
schedulers integrate in straight coordinates, in which every schedule is flow matching; a balanced grid is their shift.
"""

import math
from typing import Any, NamedTuple

import torch

from unmelt.errors import UsageError
from unmelt.interop.diffusers_package import diffusers
from unmelt.sampler import DDIM, DPMpp, Euler, Grid, Jump, Sampler
from unmelt.sampler.grid import Balanced, Karras, LogSNR, Uniform
from unmelt.schedule import Schedule, Straight


class SchedulerMatch(NamedTuple):
    """A diffusers scheduler and how to use it.

    Args:
        scheduler: The scheduler.
        convention: Its convention: "edm" or "flow" (see `wrapped`).
        start: The value of u = sigma / (alpha + sigma) where it starts, for "flow".
        sigmas: The values of u at the grid's times but the last, where the scheduler is to be given them.
    """

    scheduler: Any
    convention: str
    start: float
    sigmas: tuple[float, ...] | None = None


def is_euler(sampler: Sampler) -> bool:
    """Whether a sampler is Euler's method, under any of its names.

    Args:
        sampler: The sampler.

    Returns:
        True for Euler, DDIM without noise and DPM-Solver++ of order 1.
    """
    return isinstance(sampler, Euler) or sampler in (DDIM(0.0), DPMpp(order=1))


def match_scheduler(sampler: Sampler, grid: Grid, schedule: Schedule, data_sd: float) -> SchedulerMatch:
    """Find the scheduler that takes the same steps as a sampler on a grid.

    Args:
        sampler: The sampler.
        grid: Its grid.
        schedule: The schedule of the process.
        data_sd: Standard deviation of the data, sigma_data in EDM.

    Returns:
        The scheduler and how to use it.

    Raises:
        UsageError: If diffusers has no equivalent.
    """
    spacing, instead = grid.spacing, "sampler=um.sampler.Euler(), grid=um.grid.balanced(20)"
    if sampler == Jump(0.0):
        times = grid(schedule)[:-1]
        alpha, sigma = schedule.alpha(times), schedule.sigma(times)
        levels = tuple((sigma / (alpha + sigma)).tolist())
        return SchedulerMatch(diffusers().FlowMatchEulerDiscreteScheduler(), "flow", levels[0], levels)
    if not (is_euler(sampler) or sampler == DPMpp(order=2)):
        raise UsageError(
            f"the sampler {sampler}, which diffusers has no equivalent of", "DPMpp(order=2), Euler() or DDIM()", instead
        )
    if grid.start != 1:
        raise UsageError(f"a grid that starts at t = {grid.start}", "one that starts from noise", instead)
    one = torch.ones((), dtype=torch.float64)
    top = torch.exp(-schedule.log_snr(one) / 2).item()
    if isinstance(spacing, Karras | LogSNR):
        if not math.isclose(min(spacing.sigma_max, 2 * top), top, rel_tol=1e-6):
            raise UsageError(
                f"a grid from sigma = {spacing.sigma_max} on a {type(schedule).__name__} schedule, "
                f"which starts from {top:.6g}",
                "EDM's schedulers start where the grid does",
                instead if top == math.inf else f"grid=um.grid.karras({grid.steps}, sigma_max={top})",
            )
        settings = {
            "sigma_min": min(spacing.sigma_min, top / 2),
            "sigma_max": top,
            "sigma_data": data_sd,
            "sigma_schedule": "karras" if isinstance(spacing, Karras) else "exponential",
            "rho": getattr(spacing, "rho", 7.0),
        }
        package = diffusers()
        scheduler = package.EDMEulerScheduler if is_euler(sampler) else package.EDMDPMSolverMultistepScheduler
        return SchedulerMatch(scheduler(**settings), "edm", 1.0)
    if not is_euler(sampler):
        raise UsageError(f"{sampler} on a grid spaced {spacing}", "karras or log_snr for it, in diffusers", instead)
    if isinstance(spacing, Balanced):
        shift, start = spacing.pivot, 1.0 if top == math.inf else top / (top + spacing.pivot)
    elif isinstance(spacing, Uniform) and isinstance(schedule, Straight):
        shift, start = schedule.shift, 1.0
    else:
        raise UsageError(
            f"a grid spaced {spacing} on a {type(schedule).__name__} schedule, which diffusers has no equivalent of",
            "karras, log_snr or balanced; uniform on Straight",
            instead,
        )
    return SchedulerMatch(diffusers().FlowMatchEulerDiscreteScheduler(shift=shift), "flow", start)

"""The times that a pipeline of diffusers would visit, by its scheduler and its conventions.

Stable Diffusion 3 leaves the noise levels to its scheduler. Flux 2 and Z-Image state them: n equal steps from 1 to
1 / n, which the scheduler shifts.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked
from unmelt.errors import UsageError
from unmelt.interop.diffusers_files import read_json
from unmelt.interop.diffusers_package import diffusers
from unmelt.interop.pipeline.flow_model import dynamic_shift
from unmelt.interop.pipeline.folder import INDEX
from unmelt.interop.scheduler.config import FLOWS, read_scheduler
from unmelt.interop.scheduler.times import times_of_chain, times_of_flow

STATED = ("Flux2KleinPipeline", "ZImagePipeline")
"""Pipelines that state noise levels."""


@checked("um.interop.pipeline_times")
def pipeline_times(folder: str | Path, steps: int, shape: Sequence[int] | None = None) -> Float64[Tensor, " knots"]:
    """The times that a pipeline's scheduler visits, in the time of its model.

    Give them to a sampler of the same kind (`DDIM` to DDIMScheduler, `Euler` to EulerDiscreteScheduler and to flow
    matching), and it takes the steps of the pipeline:

        times = um.interop.pipeline_times(folder, 20)
        states = um.sampler.walk(denoiser, sampler, sampler.init(denoiser, x, times[:1].expand(rows), seeds), times[1:])

    Times from 1 to 0 are also a grid: `um.grid.fixed(times.tolist())`.

    Args:
        folder: The pipeline's folder.
        steps: Number of steps that it is asked for.
        shape: [channels, height, width], of one row in model space; needed where the times depend on it.

    Returns:
        [knots], decreasing; the last is 0, or that of the first timestep where the scheduler stops there.

    Raises:
        UsageError: If the scheduler is not supported, cannot take so many steps, or needs the shape.
    """
    diffusers()
    folder = Path(folder)
    kind = str(read_json(folder / INDEX).get("_class_name"))
    scheduler = read_scheduler(read_json(folder / "scheduler" / "scheduler_config.json"))
    if scheduler.kind not in FLOWS:
        return times_of_chain(scheduler, steps)
    is_flux = kind.startswith("Flux2")
    patch = 1 if is_flux else 2
    shift = dynamic_shift(scheduler, "flux2" if is_flux else "linear", patch, 1.15 if kind in STATED else 1.16)
    if shift is not None and shape is None:
        raise UsageError(
            "times that depend on the size of the picture, without one",
            "the shape of one row in model space",
            f"pipeline_times(folder, {steps}, (16, 64, 64))",
        )
    mu = None if shift is None or shape is None else shift.for_shape(shape).mu(steps)
    sigmas = [1 - k / steps for k in range(steps)] if kind in STATED else None
    return times_of_flow(scheduler, steps, sigmas, mu)

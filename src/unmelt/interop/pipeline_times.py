"""The times that a pipeline of diffusers would visit, by its scheduler and its conventions."""

from pathlib import Path

from jaxtyping import Float64
from torch import Tensor

from unmelt.arguments import checked
from unmelt.interop.diffusers_files import read_json
from unmelt.interop.diffusers_package import diffusers
from unmelt.interop.scheduler_config import read_scheduler
from unmelt.interop.scheduler_times import times_of_chain


@checked("um.interop.pipeline_times")
def pipeline_times(folder: str | Path, steps: int) -> Float64[Tensor, " knots"]:
    """The times that a pipeline's scheduler visits, in the time of its model.

    Give them to a sampler of the same kind (`DDIM` and `Euler` to DDIMScheduler and EulerDiscreteScheduler), and it
    takes the steps of the pipeline:

        times = um.interop.pipeline_times(folder, 20)
        states = um.sampler.walk(denoiser, sampler, sampler.init(denoiser, x, times[:1].expand(rows), seeds), times[1:])

    Args:
        folder: The pipeline's folder.
        steps: Number of steps that it is asked for.

    Returns:
        [knots], decreasing; the last is 0, or that of the first timestep where the scheduler stops there.

    Raises:
        UsageError: If the scheduler is not supported, or it cannot take so many steps.
    """
    diffusers()
    return times_of_chain(read_scheduler(read_json(Path(folder) / "scheduler" / "scheduler_config.json")), steps)

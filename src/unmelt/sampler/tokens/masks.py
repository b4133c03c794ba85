"""What samplers that fill in masks ask of a denoiser: that there are any."""

from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process import Mask


def check_masks(denoiser: Denoiser) -> Mask:
    """The denoiser's process, if what melts in it becomes a mask and nothing else."""
    process = denoiser.process
    if not isinstance(process, Mask):
        raise UsageError(
            f"a denoiser on {type(process).__name__}, for a sampler that fills in masks",
            "a process whose noise is masks",
            "um.sampler.Ancestral()",
        )
    return process

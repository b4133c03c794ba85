"""The check, common to all samplers that unmask, that a denoiser is on masks."""

from unmelt.denoiser.denoiser import Denoiser
from unmelt.errors import UsageError
from unmelt.process import Mask


def check_masks(denoiser: Denoiser) -> Mask:
    """The denoiser's process, if it corrupts tokens to masks and to nothing else.

    Args:
        denoiser: The denoiser to check.

    Returns:
        Its process.

    Raises:
        UsageError: If its process is another one.
    """
    process = denoiser.process
    if not isinstance(process, Mask):
        raise UsageError(
            f"a denoiser on {type(process).__name__}, for a sampler that unmasks",
            "a denoiser on masks",
            "um.sampler.Ancestral()",
        )
    return process

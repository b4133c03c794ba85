"""A diffusers checkpoint as a denoiser: UNet2DModel, trained on a chain of betas.

Only unet/config.json, its safetensors and scheduler/scheduler_config.json are read: no code, no pickle.
"""

from pathlib import Path

from unmelt.denoiser import BoundedDenoiser, NetworkDenoiser
from unmelt.errors import UsageError
from unmelt.interop.betas import Betas
from unmelt.interop.diffusers_files import fill, read_json
from unmelt.interop.network.settings import settings_of
from unmelt.interop.network.unet import DiffusersUNet
from unmelt.interop.scheduler.config import read_scheduler
from unmelt.process import Gaussian


def from_diffusers(folder: str | Path) -> NetworkDenoiser | BoundedDenoiser:
    """Load the denoiser of a folder that a diffusers pipeline was saved to (`DDPMPipeline`, `DDIMPipeline`, ...).

    Its images are in [-1, 1]: use the codec `um.codec.Affine.images()`. Every sampler runs on it, at any times.

    Args:
        folder: The folder, with unet/ and scheduler/.

    Returns:
        The denoiser, in evaluation mode. Its beliefs are clipped where the scheduler says so (`clip_sample`,
        `thresholding`).

    Raises:
        UsageError: If files are missing or damaged, the network or the scheduler is of a kind that is not supported, or
            the scheduler has a setting that is not honoured.
    """
    folder = Path(folder)
    unet, scheduler = (
        read_json(folder / "unet" / "config.json"),
        read_json(folder / "scheduler" / "scheduler_config.json"),
    )
    if unet.get("_class_name") != "UNet2DModel":
        raise UsageError(
            f"{folder} holds a network of class {unet.get('_class_name')}", "a UNet2DModel", "another checkpoint"
        )
    settings = settings_of(unet)
    channels, size = settings.get("in_channels", 3), settings.get("sample_size")
    if settings.get("out_channels", 3) != channels:
        raise UsageError(
            f"a network from {channels} channels to {settings.get('out_channels', 3)}",
            "as many out as in, without a learned variance",
            "another checkpoint",
        )
    if not isinstance(size, int | list):
        raise UsageError(f"a network with sample_size={size!r}", "the size of its images", '"sample_size": 32')
    found = read_scheduler(scheduler)
    if not isinstance(found.schedule, Betas):
        raise UsageError(
            f"a scheduler {found.kind}, without betas",
            "one on a chain of betas: DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler, ...",
            "another checkpoint",
        )
    backbone = DiffusersUNet(found.schedule, settings, classes=settings.get("num_class_embeds") or 0)
    fill(backbone.network, folder / "unet")
    shape = (channels, size, size) if isinstance(size, int) else (channels, *size)
    denoiser = NetworkDenoiser(backbone, Gaussian(found.schedule), found.prediction, shape).eval()
    return denoiser if found.bound is None else BoundedDenoiser(denoiser, found.bound).eval()

"""A diffusers checkpoint as a denoiser: UNet2DModel, trained on a chain of betas.

Only unet/config.json, its safetensors and scheduler/scheduler_config.json are read: no code, no pickle.
"""

from pathlib import Path
from typing import Any

from unmelt.denoiser import NetworkDenoiser, prediction
from unmelt.errors import UsageError
from unmelt.interop.betas import Betas
from unmelt.interop.diffusers_files import fill, read_json
from unmelt.interop.unet import DiffusersUNet
from unmelt.process import Gaussian

PREDICTIONS = {"epsilon": prediction.Noise(), "sample": prediction.X0(), "v_prediction": prediction.V()}
"""Predictions by the names that diffusers gives them."""


def from_diffusers(folder: str | Path) -> NetworkDenoiser:
    """Load the denoiser of a folder that a diffusers pipeline was saved to (`DDPMPipeline`, `DDIMPipeline`, ...).

    Its images are in [-1, 1]: use the codec `um.codec.Affine.images()`. Every sampler runs on it, at any times.

    Args:
        folder: The folder, with unet/ and scheduler/.

    Returns:
        The denoiser, in evaluation mode.

    Raises:
        UsageError: If files are missing or damaged, or the network or the scheduler is of a kind that is not supported.
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
    settings = {name: value for name, value in unet.items() if not name.startswith("_")}
    channels, size = settings.get("in_channels", 3), settings.get("sample_size")
    if settings.get("out_channels", 3) != channels:
        raise UsageError(
            f"a network from {channels} channels to {settings.get('out_channels', 3)}",
            "as many out as in, without a learned variance",
            "another checkpoint",
        )
    if not isinstance(size, int | list):
        raise UsageError(f"a network with sample_size={size!r}", "the size of its images", '"sample_size": 32')
    betas, output = chain(scheduler), PREDICTIONS.get(str(scheduler.get("prediction_type", "epsilon")))
    if output is None:
        raise UsageError(
            f"prediction_type {scheduler['prediction_type']!r}",
            f"one of {', '.join(PREDICTIONS)}",
            "another checkpoint",
        )
    backbone = DiffusersUNet(betas, settings, classes=settings.get("num_class_embeds") or 0)
    fill(backbone.network, folder / "unet")
    shape = (channels, size, size) if isinstance(size, int) else (channels, *size)
    return NetworkDenoiser(backbone, Gaussian(betas), output, shape).eval()


def chain(scheduler: dict[str, Any]) -> Betas:
    """The betas that a scheduler_config.json states.

    Args:
        scheduler: Its content.

    Returns:
        The schedule.

    Raises:
        UsageError: If there are no valid betas, or they are rescaled to zero terminal signal-to-noise ratio.
    """
    if "beta_schedule" not in scheduler:
        raise UsageError(
            f"a scheduler {scheduler.get('_class_name')}, without betas",
            "one on a chain of betas: DDPMScheduler, DDIMScheduler, DPMSolverMultistepScheduler, ...",
            "another checkpoint",
        )
    if scheduler.get("rescale_betas_zero_snr"):
        raise UsageError(
            "betas rescaled to end without any signal",
            "a last beta below 1: where no signal is left, noise tells nothing of the image",
            '"rescale_betas_zero_snr": false, if the network was trained so',
        )
    given = scheduler.get("trained_betas") or ()
    try:
        return Betas(
            spacing="linear" if given else scheduler["beta_schedule"],
            start=float(scheduler.get("beta_start", 1e-4)),
            end=float(scheduler.get("beta_end", 0.02)),
            steps=len(given) or int(scheduler.get("num_train_timesteps", 1000)),
            given=tuple(map(float, given)),
        )
    except TypeError as error:
        raise UsageError(f"betas that are no numbers ({error})", "numbers", "the file as it was saved") from None

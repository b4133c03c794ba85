"""Stable Diffusion 1, 2 and XL: a UNet on latents that reads CLIP's states of the prompt.

(Rombach et al., 2022; Podell et al., 2023.) Where no negative prompt is given, guidance moves away from an empty one.
In XL that is zeros, if its index says so (`force_zeros_for_empty_prompt`).
"""

from pathlib import Path
from typing import Any

import torch

from unmelt.denoiser import BoundedDenoiser, NetworkDenoiser
from unmelt.errors import UsageError
from unmelt.interop.betas import Betas
from unmelt.interop.diffusers_files import fill, read_json
from unmelt.interop.network.autoencoder import codec_from_diffusers
from unmelt.interop.network.conditional_unet import DiffusersConditionalUNet
from unmelt.interop.network.settings import settings_of
from unmelt.interop.scheduler.config import SchedulerConfig, read_scheduler
from unmelt.interop.text_encoder.features import Features, features
from unmelt.interop.text_encoder.stable_diffusion import StableDiffusionText
from unmelt.interop.text_encoder.stable_diffusion_xl import StableDiffusionXLText
from unmelt.modality import Images
from unmelt.model import Model
from unmelt.process import Gaussian
from unmelt.sampler import DPMpp
from unmelt.sampler.grid import karras

STEPS, RHO, SIGMA_MIN = 25, 7.0, 0.029
"""Steps of the grid, its exponent, and its lowest noise level, which is about that of the first timestep."""


def load(folder: Path, index: dict[str, Any]) -> Model:
    """Load a pipeline.

    Args:
        folder: Its folder.
        index: The content of its model_index.json.

    Returns:
        The model.

    Raises:
        UsageError: If a part of it cannot be read.
    """
    encoder = StableDiffusionText(str(folder.absolute()))
    scheduler = read_scheduler(read_json(folder / "scheduler" / "scheduler_config.json"))
    backbone = conditional_unet(folder, scheduler, features(encoder, ""))
    return model_of_latents(folder, backbone, scheduler, encoder)


def load_xl(folder: Path, index: dict[str, Any]) -> Model:
    """Load a pipeline of Stable Diffusion XL.

    Args:
        folder: Its folder.
        index: The content of its model_index.json.

    Returns:
        The model.

    Raises:
        UsageError: If a part of it cannot be read, or it is the refiner, which reads an aesthetic score.
    """
    if index.get("requires_aesthetics_score"):
        raise UsageError(f"{folder}, a refiner, which reads an aesthetic score", "the base model", "another pipeline")
    encoder = StableDiffusionXLText(str(folder.absolute()))
    null = features(encoder, "")
    assert null.vector is not None
    if index.get("force_zeros_for_empty_prompt", True):
        null = Features(torch.zeros_like(null.sequence), torch.zeros_like(null.vector))
    scheduler = read_scheduler(read_json(folder / "scheduler" / "scheduler_config.json"))
    backbone = conditional_unet(folder, scheduler, null)
    return model_of_latents(folder, backbone, scheduler, encoder)


def conditional_unet(folder: Path, scheduler: SchedulerConfig, null: Features) -> DiffusersConditionalUNet:
    """The network of a pipeline.

    Args:
        folder: The pipeline's folder.
        scheduler: Its scheduler.
        null: What its text encoders make of an empty prompt.

    Returns:
        The network, with its weights.

    Raises:
        UsageError: If it cannot be read, or reads prompts of another width.
    """
    assert isinstance(scheduler.schedule, Betas)
    settings = settings_of(read_json(folder / "unet" / "config.json"))
    codec = codec_from_diffusers(folder)
    backbone = DiffusersConditionalUNet(scheduler.schedule, settings, len(null.sequence), codec.factor)
    backbone.set_null(*null)
    fill(backbone.network, folder / "unet")
    return backbone


def model_of_latents(folder: Path, backbone: Any, scheduler: SchedulerConfig, encoder: Any) -> Model:
    """The model of a network on latents that was trained on a chain of betas.

    Args:
        folder: The pipeline's folder.
        backbone: The network.
        scheduler: Its scheduler.
        encoder: Its text encoder; None for none.

    Returns:
        The model.

    Raises:
        UsageError: If the autoencoder cannot be read, or the network does not say how large its pictures are.
    """
    shape = latent_shape(backbone.network.config)
    denoiser: Any = NetworkDenoiser(backbone, Gaussian(scheduler.schedule), scheduler.prediction, shape)
    if scheduler.bound is not None:
        denoiser = BoundedDenoiser(denoiser, scheduler.bound)
    return Model(
        denoiser=denoiser.requires_grad_(True),
        codec=codec_from_diffusers(folder),
        encoder=encoder,
        sampler=DPMpp(order=2),
        grid=karras(STEPS, RHO, SIGMA_MIN),
        modality=Images(),
    )


def latent_shape(known: Any) -> tuple[int, int, int]:
    """The shape of the latents that a network was trained on.

    Args:
        known: The network's settings.

    Returns:
        (channels, height, width).

    Raises:
        UsageError: If the settings do not say.
    """
    size = known.sample_size
    sides = (size, size) if isinstance(size, int) else tuple(size or ())
    if len(sides) != 2:
        raise UsageError(f"a network with sample_size={size!r}", "the size of its latents", '"sample_size": 64')
    return int(known.in_channels), int(sides[0]), int(sides[1])

"""Stable Diffusion 3: a transformer on latents that reads CLIP's and T5's states of the prompt (Esser et al., 2024)."""

from pathlib import Path
from typing import Any

from unmelt.interop.diffusers_files import read_json
from unmelt.interop.network.settings import settings_of
from unmelt.interop.network.stable_diffusion_3 import DiffusersSD3
from unmelt.interop.pipeline.flow_model import dynamic_shift, flow_model, flow_scheduler
from unmelt.interop.pipeline.stable_diffusion import latent_shape
from unmelt.interop.text_encoder.features import features
from unmelt.interop.text_encoder.stable_diffusion_3 import StableDiffusion3Text
from unmelt.model import Model

STEPS = 28
"""Steps of the grid."""


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
    scheduler, settings = flow_scheduler(folder), settings_of(read_json(folder / "transformer" / "config.json"))
    has_t5 = index.get("text_encoder_3") not in (None, [None, None])
    encoder = StableDiffusion3Text(str(folder.absolute()), int(settings.get("joint_attention_dim", 4096)), has_t5)
    backbone = DiffusersSD3(settings, len(features(encoder, "").sequence))
    shift = dynamic_shift(scheduler, "linear", backbone.patch[0], 1.16)
    return flow_model(folder, backbone, scheduler, encoder, latent_shape(backbone.network.config), shift, STEPS)

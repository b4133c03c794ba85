"""A pipeline of diffusers as a model: its networks, its autoencoder and its text encoders in one facade.

    model = um.load_diffusers("stable-diffusion")
    model.sample(4, prompt="a cat", negative="blurry", guidance=7.5, steps=20, seed=0)

Networks stay diffusers' own classes. Weights are read from safetensors alone, settings from JSON, and no code that
comes with a folder is run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unmelt import hub
from unmelt.arguments import checked
from unmelt.codec import Affine
from unmelt.errors import UsageError
from unmelt.interop.diffusers_package import diffusers
from unmelt.interop.pipeline import dit, flux2, stable_diffusion, stable_diffusion_3, z_image
from unmelt.interop.pipeline.download import download_pipeline
from unmelt.interop.pipeline.folder import INDEX, read_index
from unmelt.interop.pipeline.from_diffusers import from_diffusers
from unmelt.modality import Images
from unmelt.model import Model
from unmelt.sampler.grid import balanced

STEPS = 25
"""Steps of a model without captions."""


@checked("um.load_diffusers")
def load_diffusers(folder: str | Path, device: str | torch.device = "auto") -> Model:
    """Load a pipeline that diffusers saved as a model.

    Args:
        folder: The pipeline's folder, with model_index.json, as `save_pretrained` writes it; or its name on the Hub,
            "owner/name", from which JSON, safetensors and the text files of tokenizers are downloaded.
        device: Where weights go; "auto" is a GPU where there is one.

    Returns:
        The model: it samples, edits and inpaints with every sampler, grid and guidance.

    Raises:
        UsageError: If diffusers is not installed, the Hub cannot be reached, the folder is no pipeline, a part of it is
            missing, damaged, a pickle or of a class that is not supported, or its scheduler has a setting that is not
            honoured.
    """
    folder = Path(folder)
    diffusers()
    if not folder.exists() and hub.is_remote(str(folder)):
        folder = download_pipeline(str(folder))
    if not (folder / INDEX).is_file():
        raise UsageError(
            f"there is no {folder / INDEX}",
            "a folder that diffusers saved a pipeline to",
            "pipeline.save_pretrained(folder)",
        )
    index = read_index(folder)
    kind = str(index["_class_name"])
    model = FAMILIES[kind](folder, index)
    model.notes = f"diffusers' {kind}"
    return model.to(device)


def _pixels(folder: Path, index: dict[str, Any]) -> Model:
    """A model of pixels, without captions."""
    denoiser = from_diffusers(folder)
    return Model(denoiser=denoiser, codec=Affine.images(), grid=balanced(STEPS), modality=Images())


FAMILIES: dict[str, Callable[[Path, dict[str, Any]], Model]] = {
    "DDPMPipeline": _pixels,
    "DDIMPipeline": _pixels,
    "DiTPipeline": dit.load,
    "Flux2KleinPipeline": flux2.load,
    "ZImagePipeline": z_image.load,
    "StableDiffusion3Pipeline": stable_diffusion_3.load,
    "StableDiffusionPipeline": stable_diffusion.load,
    "StableDiffusionXLPipeline": stable_diffusion.load_xl,
}
"""What makes a model of each pipeline."""

"""DiT, the class-conditional transformer of latents (Peebles and Xie, 2023)."""

from pathlib import Path
from typing import Any

from unmelt.interop.betas import Betas
from unmelt.interop.diffusers_files import fill, read_json
from unmelt.interop.network.dit import DiffusersDiT
from unmelt.interop.network.settings import settings_of
from unmelt.interop.pipeline.stable_diffusion import model_of_latents
from unmelt.interop.scheduler.config import read_scheduler
from unmelt.model import Model


def load(folder: Path, index: dict[str, Any]) -> Model:
    """Load a pipeline.

    Args:
        folder: Its folder.
        index: The content of its model_index.json, which may name the classes (`id2label`).

    Returns:
        The model.

    Raises:
        UsageError: If a part of it cannot be read.
    """
    scheduler = read_scheduler(read_json(folder / "scheduler" / "scheduler_config.json"))
    assert isinstance(scheduler.schedule, Betas)
    backbone = DiffusersDiT(scheduler.schedule, settings_of(read_json(folder / "transformer" / "config.json")))
    fill(backbone.network, folder / "transformer")
    model = model_of_latents(folder, backbone, scheduler, None)
    names = index.get("id2label")
    names = names if isinstance(names, dict) else {}
    model.classes = tuple(str(names.get(str(number), number)) for number in range(backbone.classes))
    return model

"""Flux 2 [klein]: a transformer on patched latents that reads three layers of a language model."""

from pathlib import Path
from typing import Any

from unmelt.interop.diffusers_files import read_json
from unmelt.interop.network.flux2 import DiffusersFlux2
from unmelt.interop.network.settings import settings_of
from unmelt.interop.pipeline.flow_model import dynamic_shift, flow_model, flow_scheduler
from unmelt.interop.text_encoder.chat import ChatText
from unmelt.interop.text_encoder.features import features
from unmelt.model import Model

STEPS, FEW_STEPS = 28, 4
"""Steps of the grid, and of that of a model that was distilled."""

SIDE = 64
"""Places along the side of a picture, as the pipeline has them: 1024 pixels."""

LAYERS = (9, 18, 27)
"""Layers of the language model that are read."""


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
    encoder = ChatText(str(folder.absolute()), str(index["text_encoder"][1]), LAYERS, padded=True)
    backbone = DiffusersFlux2(settings, len(features(encoder, "").sequence))
    shape = (int(backbone.network.config.in_channels), SIDE, SIDE)
    steps = FEW_STEPS if index.get("is_distilled") else STEPS
    return flow_model(folder, backbone, scheduler, encoder, shape, dynamic_shift(scheduler, "flux2", 1), steps)

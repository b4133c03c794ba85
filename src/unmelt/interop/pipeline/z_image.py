"""Z-Image: a transformer on latents that reads one layer of a language model.

The pipeline of diffusers counts guidance from 0: its scale 4 is 5 here.
"""

from pathlib import Path
from typing import Any

from unmelt.interop.diffusers_files import read_json
from unmelt.interop.network.settings import settings_of
from unmelt.interop.network.z_image import DiffusersZImage
from unmelt.interop.pipeline.flow_model import dynamic_shift, flow_model, flow_scheduler
from unmelt.interop.text_encoder.chat import ChatText
from unmelt.interop.text_encoder.features import features
from unmelt.model import Model

STEPS = 9
"""Steps of the grid: those of the distilled model."""

SIDE = 128
"""Places along the side of a picture, as the pipeline has them: 1024 pixels."""


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
    encoder = ChatText(str(folder.absolute()), str(index["text_encoder"][1]), thinking=True)
    backbone = DiffusersZImage(settings, len(features(encoder, "").sequence))
    shape = (int(backbone.network.config.in_channels), SIDE, SIDE)
    return flow_model(folder, backbone, scheduler, encoder, shape, dynamic_shift(scheduler, "linear", 2), STEPS)

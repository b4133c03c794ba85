"""diffusers' ZImageTransformer2DModel as a backbone: Z-Image, by flow matching.

It is given 1 - u, the share of the data, and the negative of the velocity comes out. Prompts are not padded.
The pipeline of diffusers counts guidance from 0: its scale 4 is 5 here.
"""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt import config
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.interop.chat_text import ChatText
from unmelt.interop.diffusers_files import fill, read_json
from unmelt.interop.diffusers_network import Settings, make_network, settings_of
from unmelt.interop.flow_levels import flow_input, flow_level
from unmelt.interop.flow_model import dynamic_shift, flow_model, flow_scheduler
from unmelt.interop.null_prompt import Prompt, prompt_or_null
from unmelt.interop.prompt_features import features
from unmelt.model import Model

STEPS = 9
"""Steps of the grid: those of the distilled model."""

SIDE = 128
"""Places along the side of a picture, as the pipeline has them: 1024 pixels."""


@config.register
class DiffusersZImage(CallRepr, nn.Module):
    """A ZImageTransformer2DModel.

    Args:
        settings: Arguments of ZImageTransformer2DModel.
        tokens: Tokens of the null prompt.

    Raises:
        UsageError: If ZImageTransformer2DModel does not take the settings, or reads images, too.
    """

    takes_any_size = True
    null_sequence: Tensor

    def __init__(self, settings: Settings, tokens: int = 1) -> None:
        super().__init__()
        self.network, self.settings = make_network("ZImageTransformer2DModel", settings)
        known = self.network.config
        if known.siglip_feat_dim is not None or 2 not in known.all_patch_size or 1 not in known.all_f_patch_size:
            raise UsageError(
                "a ZImageTransformer2DModel that reads images, or has no patches of 2 x 2", "Z-Image", "another one"
            )
        self.tokens, self.sequence_width, self.patch = tokens, int(known.cap_feat_dim), (2, 2)
        self.register_buffer("null_sequence", torch.zeros(1, tokens, self.sequence_width))

    def forward(
        self,
        x: Float[Tensor, "rows channels height width"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows channels height width"]:
        """The network's output.

        Args:
            x: Noisy latents, scaled to unit size.
            level: Noise levels, log(sigma / alpha) / 4.
            condition: Encoded prompts; rows without one have the null.

        Returns:
            The velocity of each row.
        """
        null = Prompt.of_real_tokens(self.null_sequence)
        prompt, u = prompt_or_null(condition, len(x), null), flow_level(level)
        words = [each[real].to(x.dtype) for each, real in zip(prompt.sequence, prompt.mask, strict=True)]
        share = (1 - u).to(torch.promote_types(x.dtype, torch.float32))
        found = self.network(list(flow_input(x, u)[:, :, None]), share, words, return_dict=False)[0]
        return -torch.stack(list(found))[:, :, 0]


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
    sequence = features(encoder, "").sequence
    backbone = DiffusersZImage(settings, len(sequence))
    if backbone.sequence_width != sequence.shape[1]:
        raise UsageError(
            f"a network for prompts of width {backbone.sequence_width} beside a text encoder of {sequence.shape[1]}",
            "parts that were trained together",
            "the whole pipeline",
        )
    backbone.null_sequence = sequence[None]
    fill(backbone.network, folder / "transformer")
    shape = (int(backbone.network.config.in_channels), SIDE, SIDE)
    return flow_model(folder, backbone, scheduler, encoder, shape, dynamic_shift(scheduler, "linear", 2), STEPS)

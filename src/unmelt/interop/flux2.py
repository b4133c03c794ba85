"""diffusers' Flux2Transformer2DModel as a backbone: Flux 2 [klein], by flow matching.

Its tokens are the places of patched latents. The variant with an embedded guidance scale ([dev]) is refused.
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

STEPS, FEW_STEPS = 28, 4
"""Steps of the grid, and of that of a model that was distilled."""

SIDE = 64
"""Places along the side of a picture, as the pipeline has them: 1024 pixels."""

LAYERS = (9, 18, 27)
"""Layers of the language model that are read."""


@config.register
class DiffusersFlux2(CallRepr, nn.Module):
    """A Flux2Transformer2DModel without an embedded guidance scale.

    Args:
        settings: Arguments of Flux2Transformer2DModel.
        tokens: Tokens of a prompt, padding included.

    Raises:
        UsageError: If Flux2Transformer2DModel does not take the settings, or it reads a guidance scale.
    """

    takes_any_size = True
    null_sequence: Tensor

    def __init__(self, settings: Settings, tokens: int = 512) -> None:
        super().__init__()
        self.network, self.settings = make_network("Flux2Transformer2DModel", settings)
        known = self.network.config
        if known.guidance_embeds:
            raise UsageError(
                "a Flux2Transformer2DModel that reads a guidance scale", "guidance_embeds=False", "Flux 2 [klein]"
            )
        self.tokens, self.sequence_width = tokens, int(known.joint_attention_dim)
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
        high, wide = x.shape[-2:]
        zero, length = torch.zeros(1, dtype=torch.int64), torch.arange(prompt.sequence.shape[1])
        places = torch.cartesian_prod(zero, torch.arange(high), torch.arange(wide), zero)
        words = torch.cartesian_prod(zero, zero, zero, length)
        found = self.network(
            hidden_states=flow_input(x, u).flatten(2).mT,
            timestep=u.to(torch.promote_types(x.dtype, torch.float32)),
            guidance=None,
            encoder_hidden_states=prompt.sequence.to(x.dtype),
            txt_ids=words.to(x.device).expand(len(x), -1, -1),
            img_ids=places.to(x.device).expand(len(x), -1, -1),
        ).sample
        return found.mT.unflatten(2, (high, wide))


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
    sequence = features(encoder, "").sequence
    backbone = DiffusersFlux2(settings, len(sequence))
    if backbone.sequence_width != sequence.shape[1]:
        raise UsageError(
            f"a network for prompts of width {backbone.sequence_width} beside a text encoder of {sequence.shape[1]}",
            "parts that were trained together",
            "the whole pipeline",
        )
    backbone.null_sequence = sequence[None]
    fill(backbone.network, folder / "transformer")
    shape = (int(backbone.network.config.in_channels), SIDE, SIDE)
    steps = FEW_STEPS if index.get("is_distilled") else STEPS
    return flow_model(folder, backbone, scheduler, encoder, shape, dynamic_shift(scheduler, "flux2", 1), steps)

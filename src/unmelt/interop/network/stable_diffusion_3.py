"""diffusers' SD3Transformer2DModel as a backbone: Stable Diffusion 3 (Esser et al., 2024), by flow matching."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.interop.network.flow_levels import flow_input, flow_level
from unmelt.interop.network.prompted import PromptedNetwork
from unmelt.interop.network.settings import Settings


@final
class DiffusersSD3(PromptedNetwork):
    """An SD3Transformer2DModel.

    Args:
        settings: Arguments of SD3Transformer2DModel.
        tokens: Tokens of a prompt, padding included.

    Raises:
        UsageError: If SD3Transformer2DModel does not take the settings.
    """

    def __init__(self, settings: Settings, tokens: int = 333) -> None:
        super().__init__("SD3Transformer2DModel", settings, tokens)
        known = self.network.config
        self.patch = (int(known.patch_size),) * 2
        self._set_widths(int(known.joint_attention_dim), int(known.pooled_projection_dim))

    def forward(
        self,
        x: Float[Tensor, "rows channels height width"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows channels height width"]:
        most = self.network.config.pos_embed_max_size * self.patch[0]
        if max(x.shape[-2:]) > most:
            raise UsageError(
                f"latents of {x.shape[-2]} x {x.shape[-1]} places", f"at most {most} a side", "a smaller size"
            )
        prompt, u = self.prompts(condition, x), flow_level(level)
        return self.network(
            hidden_states=flow_input(x, u),
            encoder_hidden_states=prompt.sequence,
            pooled_projections=prompt.vector,
            timestep=(1000 * u).to(torch.promote_types(x.dtype, torch.float32)),
        ).sample

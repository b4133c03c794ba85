"""diffusers' Flux2Transformer2DModel as a backbone: Flux 2 [klein], by flow matching.

Its tokens are the places of patched latents. The variant with an embedded guidance scale ([dev]) is refused.
"""

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
class DiffusersFlux2(PromptedNetwork):
    """A Flux2Transformer2DModel without an embedded guidance scale.

    Args:
        settings: Arguments of Flux2Transformer2DModel.
        tokens: Tokens of a prompt, padding included.

    Raises:
        UsageError: If Flux2Transformer2DModel does not take the settings, or it reads a guidance scale.
    """

    def __init__(self, settings: Settings, tokens: int = 512) -> None:
        super().__init__("Flux2Transformer2DModel", settings, tokens)
        known = self.network.config
        if known.guidance_embeds:
            raise UsageError(
                "a Flux2Transformer2DModel that reads a guidance scale", "guidance_embeds=False", "Flux 2 [klein]"
            )
        self._set_widths(int(known.joint_attention_dim))

    def forward(
        self,
        x: Float[Tensor, "rows channels height width"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows channels height width"]:
        prompt, u = self.prompts(condition, x), flow_level(level)
        high, wide = x.shape[-2:]
        zero, length = torch.zeros(1, dtype=torch.int64), torch.arange(prompt.sequence.shape[1])
        places = torch.cartesian_prod(zero, torch.arange(high), torch.arange(wide), zero)
        words = torch.cartesian_prod(zero, zero, zero, length)
        found = self.network(
            hidden_states=flow_input(x, u).flatten(2).mT,
            timestep=u.to(torch.promote_types(x.dtype, torch.float32)),
            guidance=None,
            encoder_hidden_states=prompt.sequence,
            txt_ids=words.to(x.device).expand(len(x), -1, -1),
            img_ids=places.to(x.device).expand(len(x), -1, -1),
        ).sample
        return found.mT.unflatten(2, (high, wide))

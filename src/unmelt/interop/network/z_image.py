"""diffusers' ZImageTransformer2DModel as a backbone: Z-Image, by flow matching.

It is given 1 - u, the share of the data, and the negative of the velocity comes out. Prompts are not padded.
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
class DiffusersZImage(PromptedNetwork):
    """A ZImageTransformer2DModel.

    Args:
        settings: Arguments of ZImageTransformer2DModel.
        tokens: Tokens of the empty prompt.

    Raises:
        UsageError: If ZImageTransformer2DModel does not take the settings, or reads images, too.
    """

    def __init__(self, settings: Settings, tokens: int = 1) -> None:
        super().__init__("ZImageTransformer2DModel", settings, tokens)
        known = self.network.config
        if known.siglip_feat_dim is not None or 2 not in known.all_patch_size or 1 not in known.all_f_patch_size:
            raise UsageError(
                "a ZImageTransformer2DModel that reads images, or has no patches of 2 x 2", "Z-Image", "another one"
            )
        self.patch = (2, 2)
        self._set_widths(int(known.cap_feat_dim))

    def forward(
        self,
        x: Float[Tensor, "rows channels height width"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows channels height width"]:
        prompt, u = self.prompts(condition, x), flow_level(level)
        words = [each[real] for each, real in zip(prompt.sequence, prompt.mask, strict=True)]
        share = (1 - u).to(torch.promote_types(x.dtype, torch.float32))
        found = self.network(list(flow_input(x, u)[:, :, None]), share, words, return_dict=False)[0]
        return -torch.stack(list(found))[:, :, 0]

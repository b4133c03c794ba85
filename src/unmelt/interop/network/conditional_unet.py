"""diffusers' UNet2DConditionModel as a backbone: Stable Diffusion 1, 2 and XL.

It attends to a prompt's tokens, and takes timesteps as `DiffusersUNet` does. That of XL is also given the prompt's
pooled vector, and six numbers in pixels: height and width before cropping, top and left of the crop, height and width
wanted (Podell et al., 2023, section 2.2). They are those of the picture that is made, uncropped.
"""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.interop.betas import Betas
from unmelt.interop.network.control import NetworkCall, check_runs, residuals
from unmelt.interop.network.prompted import PromptedNetwork
from unmelt.interop.network.settings import Settings

ONLY: dict[str, Any] = {
    "class_embed_type": None,
    "num_class_embeds": None,
    "encoder_hid_dim_type": None,
    "time_cond_proj_dim": None,
}
ONLY |= {"time_embedding_type": "positional", "attention_type": "default"}
"""Settings that other inputs come with, and the one value of each that is supported."""


@final
class DiffusersConditionalUNet(PromptedNetwork):
    """A UNet2DConditionModel that reads a prompt.

    Args:
        betas: The chain that gives timesteps their noise levels.
        settings: Arguments of UNet2DConditionModel.
        tokens: Tokens of a prompt, padding included.
        pixels: Pixels of a picture along the side of one place of the latents.

    Raises:
        UsageError: If UNet2DConditionModel does not take the settings, or they ask for inputs that are not supported.
    """

    def __init__(self, betas: Betas, settings: Settings, tokens: int = 77, pixels: int = 8) -> None:
        super().__init__("UNet2DConditionModel", settings, tokens)
        self.betas, self.pixels = betas, pixels
        self.controls: dict[str, Any] = {}  # as adapters, they are the model's, and no part of this network
        known: Any = self.network.config
        if odd := [name for name, only in ONLY.items() if known[name] != only]:
            raise UsageError(
                f"UNet2DConditionModel with {odd[0]}={known[odd[0]]!r}", f"{ONLY[odd[0]]!r}", "another checkpoint"
            )
        if known.addition_embed_type not in (None, "text_time"):
            raise UsageError(
                f"UNet2DConditionModel with addition_embed_type={known.addition_embed_type!r}",
                "None (Stable Diffusion) or 'text_time' (XL)",
                "another checkpoint",
            )
        if known.in_channels != known.out_channels:
            raise UsageError(
                f"a UNet2DConditionModel from {known.in_channels} channels to {known.out_channels}",
                "as many out as in: one that is not made for inpainting, upscaling or instructions",
                "the base model, whose inpaint and edit do the same",
            )
        if not isinstance(known.cross_attention_dim, int):
            raise UsageError("a UNet2DConditionModel with several widths of prompts", "one", "another checkpoint")
        width = 0
        if known.addition_embed_type is not None:
            width = known.projection_class_embeddings_input_dim - 6 * known.addition_time_embed_dim
        self._set_widths(int(known.cross_attention_dim), width)

    def forward(
        self,
        x: Float[Tensor, "rows channels height width"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows channels height width"]:
        call = self._call(x, level, condition)
        found = self.network(
            call.x,
            call.timestep,
            encoder_hidden_states=call.sequence,
            added_cond_kwargs=call.added,
            **residuals(self.controls, call, condition, self.pixels).arguments,
        )
        return found.sample

    def attach_control(self, name: str, control: nn.Module) -> None:
        """Let rows have a control picture that another network reads.

        Args:
            name: Name of the control.
            control: A control network, whose weights stay its own.

        Raises:
            UsageError: If it was not trained beside a network such as this.
        """
        side = 2 ** len(self.network.config.block_out_channels)
        x = self.null_sequence.new_zeros(1, self.network.config.in_channels, side, side)
        check_runs(self.network, control, self.pixels, self._call(x, x.new_zeros(1), None))
        self.controls[name] = control

    def _call(self, x: Tensor, level: Tensor, condition: Condition | None) -> NetworkCall:
        """What the network is called with."""
        prompt = self.prompts(condition, x)
        if prompt.sequence.shape[1] != self.tokens:
            raise UsageError(
                f"prompts of {prompt.sequence.shape[1]} tokens",
                f"{self.tokens}, padding included",
                "model.condition_of(rows, prompt=prompt)",
            )
        added = None
        if prompt.vector is not None:
            high, wide = (self.pixels * side for side in x.shape[-2:])
            ids = x.new_tensor([high, wide, 0, 0, high, wide]).expand(len(x), -1)
            added = {"text_embeds": prompt.vector, "time_ids": ids}
        fine = torch.promote_types(x.dtype, torch.float32)
        return NetworkCall(x, self.betas.timestep(level).to(fine), prompt.sequence, added)

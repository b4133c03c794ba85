"""diffusers' SD3Transformer2DModel as a backbone: Stable Diffusion 3 (Esser et al., 2024), by flow matching."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt import config
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.interop.diffusers_files import fill, read_json
from unmelt.interop.diffusers_network import Settings, make_network, settings_of
from unmelt.interop.flow_levels import flow_input, flow_level
from unmelt.interop.flow_model import dynamic_shift, flow_model, flow_scheduler
from unmelt.interop.null_prompt import Prompt, prompt_or_null
from unmelt.interop.prompt_features import features
from unmelt.interop.stable_diffusion import latent_shape
from unmelt.interop.stable_diffusion_3_text import StableDiffusion3Text
from unmelt.model import Model

STEPS = 28


@config.register
class DiffusersSD3(CallRepr, nn.Module):
    """An SD3Transformer2DModel.

    Args:
        settings: Arguments of SD3Transformer2DModel.
        tokens: Tokens of a prompt, padding included.

    Raises:
        UsageError: If SD3Transformer2DModel does not take the settings.
    """

    takes_any_size = True
    null_sequence: Tensor
    null_vector: Tensor

    def __init__(self, settings: Settings, tokens: int = 333) -> None:
        super().__init__()
        self.network, self.settings = make_network("SD3Transformer2DModel", settings)
        known = self.network.config
        self.tokens, self.sequence_width = tokens, int(known.joint_attention_dim)
        self.patch = (int(known.patch_size),) * 2
        self.register_buffer("null_sequence", torch.zeros(1, tokens, self.sequence_width))
        self.register_buffer("null_vector", torch.zeros(1, int(known.pooled_projection_dim)))

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

        Raises:
            UsageError: If pictures are larger than the network has places for.
        """
        most = self.network.config.pos_embed_max_size * self.patch[0]
        if max(x.shape[-2:]) > most:
            raise UsageError(
                f"latents of {x.shape[-2]} x {x.shape[-1]} places", f"at most {most} a side", "a smaller size"
            )
        null = Prompt.of_real_tokens(self.null_sequence, self.null_vector)
        prompt, u = prompt_or_null(condition, len(x), null), flow_level(level)
        assert prompt.vector is not None
        return self.network(
            hidden_states=flow_input(x, u),
            encoder_hidden_states=prompt.sequence.to(x.dtype),
            pooled_projections=prompt.vector.to(x.dtype),
            timestep=(1000 * u).to(torch.promote_types(x.dtype, torch.float32)),
        ).sample


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
    has_t5 = index.get("text_encoder_3") not in (None, [None, None])
    encoder = StableDiffusion3Text(str(folder.absolute()), int(settings.get("joint_attention_dim", 4096)), has_t5)
    sequence, vector = features(encoder, "")
    backbone = DiffusersSD3(settings, len(sequence))
    if vector is None or backbone.null_vector.shape != vector[None].shape or encoder.width != sequence.shape[1]:
        raise UsageError(
            "text encoders of other widths than the network reads", "parts trained together", "the whole pipeline"
        )
    backbone.null_sequence, backbone.null_vector = sequence[None], vector[None]
    fill(backbone.network, folder / "transformer")
    shift = dynamic_shift(scheduler, "linear", backbone.patch[0], 1.16)
    return flow_model(folder, backbone, scheduler, encoder, latent_shape(backbone.network.config), shift, STEPS)

"""diffusers' DiTTransformer2DModel as a backbone: the class-conditional DiT of Peebles and Xie, 2023.

It also outputs what a learned variance is made of (Nichol and Dhariwal, 2021), which samplers here have no use for: it
is left out. The null condition is a class of its own, after the last.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.interop.betas import Betas
from unmelt.interop.network.settings import Settings, make_network


@final
class DiffusersDiT(CallRepr, nn.Module):
    """A DiTTransformer2DModel.

    Args:
        betas: The chain that gives timesteps their noise levels.
        settings: Arguments of DiTTransformer2DModel.

    Raises:
        UsageError: If DiTTransformer2DModel does not take the settings, or its output is neither the prediction alone
            nor with a variance.
    """

    def __init__(self, betas: Betas, settings: Settings) -> None:
        super().__init__()
        self.betas = betas
        self.network, self.settings = make_network("DiTTransformer2DModel", settings)
        known = self.network.config
        self.channels, made = int(known.in_channels), known.out_channels or known.in_channels
        if made not in (self.channels, 2 * self.channels):
            raise UsageError(
                f"a DiTTransformer2DModel from {self.channels} channels to {made}",
                "as many out as in, or twice as many with a learned variance",
                "another checkpoint",
            )
        self.classes = int(known.num_embeds_ada_norm)

    def forward(
        self,
        x: Float[Tensor, "rows channels height width"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows channels height width"]:
        """The network's output, without its variance.

        Args:
            x: Noisy latents, already scaled for the network.
            level: Noise levels, log(sigma / alpha) / 4.
            condition: Labels; rows without one have the null.

        Returns:
            One output for each row.
        """
        label = torch.full((len(x),), self.classes, device=x.device)
        if condition is not None and condition.label is not None:
            given = condition.is_given("label")
            label = condition.label if given is None else torch.where(given, condition.label, label)
        step = self.betas.timestep(level).to(torch.promote_types(x.dtype, torch.float32))
        return self.network(x, timestep=step, class_labels=label).sample[:, : self.channels]

"""diffusers' UNet2DModel as a backbone: a model trained on it can be exported as a diffusers checkpoint without code.

UNet2DModel takes timesteps 0 to T - 1, where our backbones take the noise level. A chain of betas translates: the level
of the chain at timestep i is passed as i, levels between them as fractional timesteps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.interop.betas import Betas
from unmelt.interop.network.settings import make_network


class DiffusersUNet(CallRepr, nn.Module):
    """A UNet2DModel: `DiffusersUNet(Betas(), {"sample_size": 32, "block_out_channels": (64, 128, 128), ...})`.

    Args:
        betas: The chain that gives timesteps their noise levels.
        settings: Arguments of UNet2DModel.
        classes: Number of classes. The network has as many embeddings, or one more, its last, for the null condition.

    Raises:
        UsageError: If UNet2DModel does not take the settings, or they do not fit the classes.
    """

    def __init__(self, betas: Betas, settings: Mapping[str, Any] | Sequence[tuple[str, Any]], classes: int = 0) -> None:
        super().__init__()
        given = dict(settings)
        embeddings = given.get("num_class_embeds") or 0
        if not classes <= embeddings <= classes + 1 or (embeddings and not classes):
            raise UsageError(
                f"classes={classes} and num_class_embeds={embeddings}",
                "an embedding for each class, and one more for null if it is to be guided",
                f"num_class_embeds={classes + 1}",
            )
        for name, only in (("time_embedding_type", "positional"), ("class_embed_type", None)):
            if given.get(name, only) != only:
                raise UsageError(f"UNet2DModel with {name}={given[name]!r}", f"{only!r}", f"{name}={only!r}")
        self.betas, self.classes = betas, classes
        self.null = classes if embeddings > classes else None
        self.network, self.settings = make_network("UNet2DModel", settings)

    def forward(
        self,
        x: Float[Tensor, "rows channels height width"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows channels height width"]:
        """The network's output.

        Args:
            x: Noisy images, already scaled for the network.
            level: Noise level, log(sigma / alpha) / 4.
            condition: Labels; None for the null condition.

        Returns:
            One image for each row.
        """
        return self.network(x, self.timestep(level).to(x.dtype), self._labels(len(x), condition)).sample

    def timestep(self, level: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """The fractional timestep of a noise level, rounded to 1e-3, which is what float32 can resolve.

        Args:
            level: Noise level, log(sigma / alpha) / 4.

        Returns:
            Timesteps within [0, T - 1].
        """
        return self.betas.timestep(level)

    def _labels(self, rows: int, condition: Condition | None) -> Tensor | None:
        if not self.classes:
            return None
        label = None if condition is None else condition.label
        given = None if condition is None else condition.is_given("label")
        if label is not None and (given is None or (self.null is None and given.all())):
            return label
        if self.null is None:
            raise UsageError(
                "a row without its class", "a class for each: this network has no embedding for null", "label=3"
            )
        null = torch.full((rows,), self.null, device=self.network.device)
        return null if label is None or given is None else torch.where(given, label, null)

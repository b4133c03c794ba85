"""diffusers' UNet2DModel as a backbone: a model trained on it can be exported as a diffusers checkpoint without code.

UNet2DModel takes timesteps 0 to T - 1, where our backbones take the noise level. A chain of betas translates: the level
of the chain at timestep i is passed as i, levels between them as fractional timesteps.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt import config
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError, nearest
from unmelt.interop.betas import Betas
from unmelt.interop.diffusers_package import diffusers


@config.register
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
        kind = diffusers().UNet2DModel
        given = dict(settings)
        parameters = inspect.signature(kind).parameters
        for name in given:
            if name not in parameters:
                raise UsageError(
                    f"UNet2DModel has no setting {name!r}",
                    f"one of {', '.join(parameters)}",
                    repr(nearest(name, parameters)),
                )
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
        self.settings = tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in given.items())
        self.null = classes if embeddings > classes else None
        try:
            self.network = kind(**given)
        except Exception as error:  # a wrong value can make its constructor raise anything at all
            raise UsageError(
                f"settings that UNet2DModel cannot take ({error!r})",
                "those of diffusers' UNet2DModel",
                "the file as it was saved",
            ) from None

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
        step = self.betas.steps * self.betas.time(-8 * level.double()) - 1
        return step.clamp(0, self.betas.steps - 1).round(decimals=3)

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

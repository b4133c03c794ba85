"""diffusers' UNet2DModel as a backbone: what is trained on it is a diffusers checkpoint, with no code of ours.

It is told timesteps, 0 to T - 1, where our backbones are told the noise level. A chain of betas translates: the level
that the chain has at timestep i is heard as i, and those between as numbers between.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.errors import UsageError, nearest
from unmelt.interop.betas import Betas
from unmelt.interop.package import diffusers


class DiffusersUNet(nn.Module):
    """`DiffusersUNet(Betas(), {"sample_size": 32, "block_out_channels": (64, 128, 128), ...})`.

    betas      the chain that gives timesteps their noise levels
    settings   arguments of UNet2DModel
    classes    labels. The network has as many embeddings, or one more, its last, which is null
    """

    def __init__(self, betas: Betas, settings: Mapping[str, Any] | Sequence[tuple[str, Any]], classes: int = 0) -> None:
        super().__init__()
        kind = diffusers().UNet2DModel
        given = dict(settings)
        known = inspect.signature(kind).parameters
        for name in given:
            if name not in known:
                raise UsageError(
                    f"UNet2DModel has no setting {name!r}", f"one of {', '.join(known)}", repr(nearest(name, known))
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
        return self.network(x, self.timestep(level).to(x.dtype), self._labels(len(x), condition)).sample

    def timestep(self, level: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """Where on the chain this level, log(sigma / alpha) / 4, is; to the 1e-3 that float32 can tell."""
        step = self.betas.steps * self.betas.time(-8 * level.double()) - 1
        return step.clamp(0, self.betas.steps - 1).round(decimals=3)

    def _labels(self, rows: int, condition: Condition | None) -> Tensor | None:
        if not self.classes:
            return None
        label = None if condition is None else condition.label
        given = None if condition is None else condition.is_given("label")
        if label is not None and given is None:
            return label
        if self.null is None:
            raise UsageError(
                "a row without its class", "a class for each: this network has no embedding for null", "label=3"
            )
        null = torch.full((rows,), self.null, device=self.network.device)
        return null if label is None or given is None else torch.where(given, label, null)

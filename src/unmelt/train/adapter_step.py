"""Training an adapter alone: the denoiser computes with it, and its own weights stay as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from unmelt.objective import Objective
from unmelt.rng import Random
from unmelt.train.step import Batch, Phase, objective_at


@final
@dataclass(frozen=True, eq=False)
class AdapterStep:
    """The `TrainStep` of low-rank adaptation: one adapter learns by one objective.

    Args:
        denoiser: A denoiser whose network the adapter is attached to.
        adapter: The module that learns.
        attachment: The adapter in the network; its scale is 1 while a loss is computed and 0 otherwise.
        objective: (denoiser, x0, condition, rng) -> per-row loss.
    """

    denoiser: nn.Module
    adapter: nn.Module
    attachment: Any
    objective: Objective

    def networks(self) -> Mapping[str, nn.Module]:
        return {"adapter": self.adapter}

    def frozen(self) -> Sequence[nn.Module]:
        return (self.denoiser,)

    def phases(self) -> Sequence[Phase]:
        return (Phase(network="adapter", loss=self._loss),)

    def _loss(self, batch: Batch, rng: Random) -> Tensor:
        self.attachment.scale = 1.0
        objective = objective_at(self.objective, batch, self.adapter)
        return objective(self.denoiser, batch.x0, batch.condition, rng)

    def after_update(self, network: str, step: int) -> None:
        self.attachment.scale = 0.0

"""Which noise each data point is paired with.

Pairs drawn independently make paths that cross. Pairing within a batch by optimal transport makes them cross less, so
that few steps suffice (Pooladian et al., 2023; Tong et al., 2024). Where rows have a class, pairs are exchanged only
within a class: otherwise the noise would tell the class, and samples of one class would start from the wrong law.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Coupling(ABC):
    """A joint law of data and noise with the given marginals."""

    @abstractmethod
    def pair(
        self,
        x0: Float[Tensor, "rows *shape"],
        noise: Float[Tensor, "rows *shape"],
        label: Int64[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """Pair noise with data.

        Args:
            x0: [rows, *shape], data.
            noise: [rows, *shape], noise.
            label: [rows], the class of each row, within which pairs are exchanged.

        Returns:
            The noise, its rows reordered to belong to those of x0.
        """


@final
@dataclass(frozen=True)
class Independent(Coupling):
    """Independent pairs: the noise as it was drawn."""

    def pair(self, x0: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        return noise


@final
@dataclass(frozen=True)
class OptimalTransport(Coupling):
    """Minibatch optimal transport: the assignment of least total squared distance, within a class if there is one."""

    def pair(self, x0: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        from scipy.optimize import linear_sum_assignment

        paired = noise.clone()
        groups = (
            [torch.arange(len(x0))]
            if label is None
            else [(label == value).nonzero()[:, 0].cpu() for value in label.unique()]
        )
        for rows in groups:
            cost = torch.cdist(x0[rows].flatten(1), noise[rows].flatten(1)) ** 2
            _, chosen = linear_sum_assignment(cost.cpu().numpy())
            paired[rows] = noise[rows[torch.from_numpy(chosen)]]
        return paired

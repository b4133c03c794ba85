"""The best belief that is linear in x_t: a Gaussian fitted to each class (Wiener, 1949).

    E[x0 | x_t] = mu + alpha S (alpha^2 S + sigma^2 I)^-1 (x_t - alpha mu)

At high noise every distribution looks like its Gaussian, so there this is nearly all that any network could say (Wang
and Vastola, 2024). A class's covariance S is drawn towards the one all classes share, by a share `shrink`, as a class
alone has too few items to tell it (regularised discriminant analysis: Friedman, 1989). Rows without a class have the
Gaussian of all the data.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian, over

MOST = 4096
"""Numbers in a row beyond which covariances are too large to hold."""


class Wiener(nn.Module):
    """Means and covariances are buffers, saved with the model; `fit` finds them. Unfitted, it is of unit covariance.

    shape     of one row of x
    classes   labels; 0 for none
    shrink    how far, from 0 to 1, the covariance of each class is drawn towards the shared one
    floor     smallest variance in any direction
    """

    mean: Tensor
    basis: Tensor
    spread: Tensor

    def __init__(
        self, process: Gaussian, shape: Sequence[int], classes: int = 0, shrink: float = 0.3, floor: float = 1e-4
    ) -> None:
        super().__init__()
        size = math.prod(shape)
        if size > MOST:
            raise UsageError(f"Wiener for {size} numbers a row", f"at most {MOST}", "denoiser.Network, without it")
        if not 0 <= shrink <= 1 or floor <= 0:
            raise UsageError(f"Wiener with shrink={shrink}, floor={floor}", "0 <= shrink <= 1, floor > 0", "shrink=0.3")
        self.process, self.shape, self.classes, self.shrink, self.floor = process, tuple(shape), classes, shrink, floor
        self.register_buffer("mean", torch.zeros(classes + 1, size))
        self.register_buffer("basis", torch.eye(size).repeat(classes + 1, 1, 1))
        self.register_buffer("spread", torch.ones(classes + 1, size))

    @torch.no_grad()
    def fit(self, x0: Float[Tensor, "n *shape"], labels: Int64[Tensor, " n"] | None = None) -> "Wiener":
        """Set means and covariances to those of data in model space; the last is that of all, for null rows."""
        x = x0.flatten(1).double()
        groups = [x[labels == label] for label in range(self.classes)] if labels is not None else []
        if any(len(group) < 2 for group in groups):
            raise UsageError("a class with fewer than two items", "at least two of every class", "fewer classes")
        shared = sum(len(group) * torch.cov(group.T) for group in groups) / len(x) if groups else 0
        kinds = [(g.mean(0), (1 - self.shrink) * torch.cov(g.T) + self.shrink * shared) for g in groups]
        for row, (mean, covariance) in enumerate([*kinds, (x.mean(0), torch.cov(x.T))]):
            spread, basis = torch.linalg.eigh(covariance)
            self.mean[row], self.basis[row], self.spread[row] = mean, basis, spread.clamp_min(self.floor)
        return self

    def forward(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        kind = self._kind(len(x_t), condition)
        mean, basis, spread = self.mean[kind], self.basis[kind], self.spread[kind]
        flat = x_t.flatten(1)
        alpha, sigma = (over(part, flat) for part in self.process.level(t))
        aligned = torch.einsum("rd,rde->re", flat - alpha * mean, basis)
        pull = torch.einsum("re,rde->rd", aligned * (alpha * spread / (alpha**2 * spread + sigma**2)), basis)
        return Point((mean + pull).view_as(x_t))

    def _kind(self, rows: int, condition: Condition | None) -> Int64[Tensor, " rows"]:
        """Which Gaussian each row has: its class's, or the last."""
        if condition is None or condition.label is None:
            return torch.full((rows,), self.classes, device=self.mean.device)
        if condition.given is None:
            return condition.label
        return torch.where(condition.given, condition.label, self.classes)

"""What can be believed before any network: a mixture of Gaussians fitted to each class.

    E[x0 | x_t] = sum_k r_k(x_t) (mu_k + alpha S_k (alpha^2 S_k + sigma^2 I)^-1 (x_t - alpha mu_k))

At high noise every distribution looks like its Gaussian, so there this is nearly all that any network could say (Wang
and Vastola, 2024); with one component it is the best belief that is linear in x_t (Wiener, 1949). Components are the
clusters that k-means finds within a class. A covariance S_k is drawn towards the one all clusters share, by a share
`shrink`, as a cluster alone has too few items to tell it (regularised discriminant analysis: Friedman, 1989). Rows
without a class have one Gaussian, that of all the data.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian, expand_like

MOST = 4096
"""Numbers in a row beyond which covariances are too large to hold."""


class GaussianMixtureDenoiser(nn.Module):
    """What `fit` finds is kept in buffers, saved with the model. Unfitted, it is one Gaussian of unit covariance.

    shape        of one row of x
    classes      labels; 0 for none
    components   Gaussians of each class
    shrink       how far, from 0 to 1, each covariance is drawn towards the shared one
    floor        smallest variance in any direction
    """

    weight: Tensor
    mean: Tensor
    basis: Tensor
    spread: Tensor

    def __init__(
        self,
        process: Gaussian,
        shape: Sequence[int],
        classes: int = 0,
        components: int = 1,
        shrink: float = 0.5,
        floor: float = 1e-4,
    ) -> None:
        super().__init__()
        size = math.prod(shape)
        if size > MOST:
            raise UsageError(
                f"GaussianMixtureDenoiser for {size} numbers a row", f"at most {MOST}", "denoiser.Network, without it"
            )
        if not 0 <= shrink <= 1 or floor <= 0 or components < 1:
            raise UsageError(
                f"GaussianMixtureDenoiser with components={components}, shrink={shrink}, floor={floor}",
                "at least one component, shrink from 0 to 1, floor above 0",
                "GaussianMixtureDenoiser(process, shape, components=3, shrink=0.5)",
            )
        self.process, self.shape, self.classes = process, tuple(shape), classes
        self.components, self.shrink, self.floor = components, shrink, floor
        kinds = (classes + 1, components)
        self.register_buffer("weight", torch.zeros(kinds))
        self.register_buffer("mean", torch.zeros(*kinds, size))
        self.register_buffer("basis", torch.eye(size).repeat(*kinds, 1, 1))
        self.register_buffer("spread", torch.ones(*kinds, size))
        self.weight[:, 0] = 1

    @torch.no_grad()
    def fit(
        self, x0: Float[Tensor, "n *shape"], labels: Int64[Tensor, " n"] | None = None
    ) -> "GaussianMixtureDenoiser":
        """Find the Gaussians of data in model space; the last kind is all the data, for rows without a class."""
        x = x0.flatten(1).double()
        kinds = [] if labels is None else [x[labels == label] for label in range(self.classes)]
        if any(len(kind) < 2 for kind in kinds):
            raise UsageError("a class with fewer than two items", "at least two of every class", "fewer classes")
        clusters = [self._clusters(kind) for kind in kinds]
        every = [cluster for kind in clusters for cluster in kind]
        shared = sum((len(c) * _covariance(c) for c in every), torch.zeros_like(x[:1].T @ x[:1])) / len(x)
        self.weight.zero_()
        for kind, parts in enumerate(clusters):
            for part, cluster in enumerate(parts):
                covariance = (1 - self.shrink) * _covariance(cluster) + self.shrink * shared
                self._set(kind, part, len(cluster) / len(kinds[kind]), cluster.mean(0), covariance)
        self._set(self.classes, 0, 1.0, x.mean(0), _covariance(x))
        return self

    def _clusters(self, x: Float[Tensor, "n dim"]) -> list[Float[Tensor, "m dim"]]:
        """The rows of each cluster that has any."""
        if self.components == 1:
            return [x]
        _, which = kmeans2(x.cpu().numpy(), min(self.components, len(x)), iter=50, minit="++", seed=0, missing="warn")
        found = torch.from_numpy(which)
        return [x[found == cluster] for cluster in found.unique()]

    def _set(self, kind: int, part: int, weight: float, mean: Tensor, covariance: Tensor) -> None:
        spread, basis = torch.linalg.eigh(covariance)
        self.weight[kind, part], self.mean[kind, part] = weight, mean
        self.basis[kind, part], self.spread[kind, part] = basis, spread.clamp_min(self.floor)

    def forward(
        self, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, "rows *axes"], condition: Condition | None = None
    ) -> Point:
        if t.ndim != 1:
            raise UsageError(
                f"a GaussianMixtureDenoiser with times of shape {tuple(t.shape)}",
                "one time a row: its Gaussians are diagonalised for whole rows",
                "denoiser.Mixture(...), or a denoiser.Network",
            )
        with torch.autocast(x_t.device.type, enabled=False):
            kind = self._kind(len(x_t), condition)
            weight, mean, basis, spread = (part[kind] for part in (self.weight, self.mean, self.basis, self.spread))
            alpha, sigma = (expand_like(part, mean) for part in self.process.level(t))
            aligned = torch.einsum("rkd,rkde->rke", x_t.flatten(1)[:, None] - alpha * mean, basis)
            variance = alpha**2 * spread + sigma**2
            log_joint = torch.log(weight) - 0.5 * (aligned**2 / variance + torch.log(variance)).sum(-1)
            pull = torch.einsum("rke,rkde->rkd", alpha * spread / variance * aligned, basis)
            belief = torch.einsum("rk,rkd->rd", log_joint.softmax(1), mean + pull)
        return Point(belief.view_as(x_t))

    def _kind(self, rows: int, condition: Condition | None) -> Int64[Tensor, " rows"]:
        """Which Gaussians each row has: its class's, or the last."""
        if condition is None or condition.label is None:
            return torch.full((rows,), self.classes, device=self.mean.device)
        given = condition.is_given("label")
        return condition.label if given is None else torch.where(given, condition.label, self.classes)


def _covariance(x: Float[Tensor, "n dim"]) -> Float[Tensor, "dim dim"]:
    """Of the rows about their mean; 0 for a single one."""
    gap = x - x.mean(0)
    return gap.T @ gap / max(1, len(x) - 1)

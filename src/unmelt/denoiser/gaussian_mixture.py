"""A denoiser without a network: a mixture of Gaussians fitted to each class of the data.

    E[x0 | x_t] = sum_k r_k(x_t) (mu_k + alpha S_k (alpha^2 S_k + sigma^2 I)^-1 (x_t - alpha mu_k))

At high noise trained denoisers nearly agree with the Gaussian of the data (Wang and Vastola, 2024). With one component
this is the best belief that is linear in x_t (Wiener, 1949). Components are the clusters that k-means finds within a
class. A covariance S_k is shrunk towards the pooled within-cluster covariance, because one cluster has too few items to
estimate it (regularised discriminant analysis: Friedman, 1989). Rows without a class use the Gaussian of all data.

The probability-flow ODE of one Gaussian has a closed form: along each axis of S, with variance v = alpha^2 l + sigma^2,
x - alpha mu is scaled by sqrt(v_s / v_t) from t to s. As a belief D with which `process.ode_step` arrives exactly,

    D - mu = l (alpha_s + alpha_t q) / (v_t (sqrt(v_s / v_t) + q)) (x_t - alpha_t mu),      q = sigma_s / sigma_t

which is E[x0 | x_t] where s = t. Samplers can be spared much of their way by it (Wang and Vastola, 2024). The path of a
mixture is followed in a few such jumps, each with the mean of the Gaussians' D by their r_k where it begins.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian, Level, expand_like

MOST = 4096
"""Largest number of values in a row; covariances of more do not fit into memory."""

JUMPS = 4
"""Jumps in which the path of a mixture is followed, of equal lengths in straight coordinates."""


@checked_init("um.denoiser.GaussianMixtureDenoiser")
class GaussianMixtureDenoiser(CallRepr, nn.Module):
    """Denoiser that believes in a mixture of Gaussians for each class.

    The mixture is kept in buffers and saved with the model. Before `fit` it is one Gaussian of unit covariance.

    Args:
        process: The process that corrupts the data.
        shape: The shape of one row of x.
        classes: Number of classes; 0 for none.
        components: Gaussians for each class.
        shrink: Weight of the pooled covariance in each component's covariance, from 0 to 1.
        floor: Smallest variance in any direction.

    Raises:
        UsageError: If rows are too large, or a number is out of range.
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
                f"GaussianMixtureDenoiser for {size} numbers a row",
                f"at most {MOST}",
                "denoiser.NetworkDenoiser, without it",
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
        """Fit the Gaussians to data in model space.

        Args:
            x0: [n, *shape], clean data.
            labels: [n], the class of each row; None fits only the Gaussian of all data.

        Returns:
            The denoiser itself.

        Raises:
            UsageError: If a class has fewer than two rows.
        """
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
        """The rows of each cluster that is not empty."""
        if self.components == 1:
            return [x]
        from scipy.cluster.vq import kmeans2

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
        """E[x0 | x_t] under the mixture of each row's class.

        Args:
            x_t: [rows, *shape], the noisy data.
            t: [rows], the times.
            condition: What is known of each row; only labels matter.

        Returns:
            The belief.

        Raises:
            UsageError: If the times are finer than rows.
        """
        self._check_times(t)
        with torch.autocast(x_t.device.type, enabled=False):
            level = self.process.level(t)
            belief = _belief(x_t.flatten(1), self._parts(x_t, condition), level, level)
        return Point(belief.view_as(x_t))

    def jump(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        s: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Point:
        """The belief with which `process.ode_step` goes from x_t to x_s; exact for one Gaussian.

        Args:
            x_t: [rows, *shape], the noisy data.
            t: [rows], the times.
            s: [rows], times to arrive at, s <= t.
            condition: What is known of each row; only labels matter.

        Returns:
            The belief, of the shape of x_t.

        Raises:
            UsageError: If the times are finer than rows.
        """
        self._check_times(t)
        with torch.autocast(x_t.device.type, enabled=False):
            parts = self._parts(x_t, condition)
            (w, u_t), (_, u_s) = (self.process.straight_coordinates(x_t.flatten(1), each) for each in (t, s))
            u = [torch.lerp(u_t, u_s, k / JUMPS) for k in range(JUMPS)] + [u_s]
            beliefs, ratios = [], []  # u_r / u_t of each jump from t to r, also where both are 0
            for u_t, u_r in pairwise(u):
                beliefs.append(_belief(w, parts, Level(1 - u_t, u_t), Level(1 - u_r, u_r)))
                ratios.append(torch.where(u_r == u_t, 1.0, u_r / u_t))
                w = torch.lerp(beliefs[-1], w, expand_like(ratios[-1], w))
            belief = beliefs.pop()
            for left, (first, ratio) in enumerate(zip(beliefs[::-1], ratios[-2::-1], strict=True), start=1):
                # The belief of one jump in place of `first` and the `left` jumps of the same length after it.
                belief = torch.lerp(first, belief, expand_like(left / (left + 1) / ratio, w))
        return Point(belief.view_as(x_t))

    def _check_times(self, t: Tensor) -> None:
        if t.ndim != 1:
            raise UsageError(
                f"a GaussianMixtureDenoiser with times of shape {tuple(t.shape)}",
                "one time a row: its Gaussians are diagonalised for whole rows",
                "denoiser.Mixture(...), or a denoiser.NetworkDenoiser",
            )

    def _parts(self, x_t: Tensor, condition: Condition | None) -> list[Tensor]:
        """Weights, means, bases and spreads of the mixture of each row."""
        kind = self._kind(x_t.shape[0], condition)
        return [part[kind].to(x_t.dtype) for part in (self.weight, self.mean, self.basis, self.spread)]

    def _kind(self, rows: int, condition: Condition | None) -> Int64[Tensor, " rows"]:
        """The number of each row's mixture: its class, or the last for rows without a class."""
        if condition is None or condition.label is None:
            return torch.full((rows,), self.classes, device=self.mean.device)
        given = condition.is_given("label")
        return condition.label if given is None else torch.where(given, condition.label, self.classes)


def _belief(x_t: Float[Tensor, "rows dim"], parts: list[Tensor], at: Level, to: Level) -> Float[Tensor, "rows dim"]:
    """D above for a jump from one level to another; E[x0 | x_t] if they are the same."""
    weight, mean, basis, spread = parts
    q = torch.where(to.sigma == at.sigma, 1.0, to.sigma / at.sigma)  # also where both are 0
    alpha, sigma, alpha_s, sigma_s, q = (expand_like(each, mean) for each in (*at, *to, q))
    aligned = torch.einsum("rkd,rkde->rke", x_t[:, None] - alpha * mean, basis)
    variance = alpha**2 * spread + sigma**2
    scale = torch.sqrt((alpha_s**2 * spread + sigma_s**2) / variance)
    log_joint = torch.log(weight) - 0.5 * (aligned**2 / variance + torch.log(variance)).sum(-1)
    gain = spread * (alpha_s + alpha * q) / (variance * (scale + q))
    pull = torch.einsum("rke,rkde->rkd", gain * aligned, basis)
    return torch.einsum("rk,rkd->rd", log_joint.softmax(1), mean + pull)


def _covariance(x: Float[Tensor, "n dim"]) -> Float[Tensor, "dim dim"]:
    """The sample covariance of the rows; 0 for a single row."""
    gap = x - x.mean(0)
    return gap.T @ gap / max(1, len(x) - 1)

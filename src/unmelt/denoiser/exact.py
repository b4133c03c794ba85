"""Denoisers with no network: mixtures of Gaussians, whose every marginal, score and posterior is in closed form.

Data x0 ~ sum_k w_k N(mu_k, S_k) melt to x_t ~ sum_k w_k N(alpha mu_k, C_k) with C_k = alpha^2 S_k + sigma^2 I, and

    E[x0 | x_t] = sum_k r_k(x_t) (mu_k + alpha S_k C_k^-1 (x_t - alpha mu_k)),      r_k = p(k | x_t)

S_k is diagonalised once, so that C_k is diagonal in the same basis at every t. Where the frames of a row have times of
their own, alpha and sigma are diagonal matrices, C_k = alpha S_k alpha + sigma^2, and C_k is factorised for each row.
These are the truth that tests stand on.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked, checked_init
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.broadcast import expand_like
from unmelt.process.gaussian import Gaussian
from unmelt.rng import Stream


class _Seen(NamedTuple):
    """x_t as each component sees it, in the basis of its own covariance."""

    aligned: Float[Tensor, "rows components dim"]
    variance: Float[Tensor, "rows components dim"]
    log_joint: Float[Tensor, "rows components"]


class _SeenFrames(NamedTuple):
    """x_t as each component sees it where the frames of a row have their own times."""

    solved: Float[Tensor, "rows components dim"]
    """C_k^-1 (x_t - alpha mu_k)."""

    shift: Float[Tensor, "rows components dim"]
    """S_k alpha C_k^-1 (x_t - alpha mu_k)."""

    log_joint: Float[Tensor, "rows components"]


@checked_init("um.denoiser.Mixture")
class Mixture:
    """Exact denoiser of a mixture of Gaussians, each component belonging to a class.

    A condition with a label keeps only the components of that class, with their relative weights; a null row keeps all.

    Args:
        means: [components, *shape].
        covariances: [components, dim, dim], dim being the product of shape.
        process: The process.
        weights: [components]; they are normalised. None: all equal.
        labels: [components], the class of each. None: its own number.

    Raises:
        UsageError: If a covariance has a negative eigenvalue.
    """

    def __init__(
        self,
        means: Float[Tensor, "components *shape"],
        covariances: Float[Tensor, "components dim dim"],
        process: Gaussian,
        weights: Float[Tensor, " components"] | None = None,
        labels: Int64[Tensor, " components"] | None = None,
    ) -> None:
        self.process = process
        self.shape = tuple(means.shape[1:])
        count = len(means)
        self.means = means.flatten(1).double()
        spread, self.basis = torch.linalg.eigh(covariances.double())
        if spread.min() < -1e-9 * spread.abs().max():
            raise UsageError(
                "covariances with a negative eigenvalue", "positive semi-definite matrices", "sd**2 * torch.eye(dim)"
            )
        self.spread = spread.clamp_min(0)
        self.weights = torch.full((count,), 1 / count) if weights is None else weights
        self.weights = self.weights.double() / self.weights.double().sum()
        self.labels = torch.arange(count) if labels is None else labels

    @classmethod
    @checked("um.denoiser.Mixture.gaussian")
    def gaussian(
        cls,
        mean: Float[Tensor, " *shape"],
        covariance: Float[Tensor, "dim dim"],
        process: Gaussian,
    ) -> Mixture:
        """A single Gaussian.

        Args:
            mean: [*shape], the mean.
            covariance: [dim, dim].
            process: The process.

        Returns:
            The mixture of one component.
        """
        return cls(mean[None], covariance[None], process)

    @classmethod
    @checked("um.denoiser.Mixture.isotropic")
    def isotropic(
        cls,
        means: Float[Tensor, "components *shape"],
        sd: float,
        process: Gaussian,
        weights: Float[Tensor, " components"] | None = None,
    ) -> Mixture:
        """Isotropic components, all of one standard deviation.

        Args:
            means: [components, *shape].
            sd: Standard deviation of each component.
            process: The process.
            weights: [components]. None: all equal.

        Returns:
            The mixture.
        """
        dim = math.prod(means.shape[1:])
        return cls(means, (sd**2 * torch.eye(dim, dtype=torch.float64)).expand(len(means), dim, dim), process, weights)

    @classmethod
    @checked("um.denoiser.Mixture.ring")
    def ring(cls, modes: int, radius: float, sd: float, process: Gaussian) -> Mixture:
        """Isotropic modes evenly around a circle in the plane; class k is the mode at angle 2 pi k / modes.

        Args:
            modes: Number of modes.
            radius: Radius of the circle.
            sd: Standard deviation of each mode.
            process: The process.

        Returns:
            The mixture.
        """
        angle = 2 * math.pi * torch.arange(modes, dtype=torch.float64) / modes
        return cls.isotropic(radius * torch.stack([angle.cos(), angle.sin()], 1), sd, process)

    def sample(
        self, rows: int, rng: Stream, dtype: torch.dtype = torch.float32, label: int | None = None
    ) -> Float[Tensor, "rows *shape"]:
        """Exact draws of clean data.

        Args:
            rows: Number of draws.
            rng: Source of randomness.
            dtype: Precision of the draws.
            label: The class to draw from. None: all.

        Returns:
            [rows, *shape].
        """
        component = self._draw_components(rows, rng, label)
        spread, basis = self.spread[component], self.basis[component]
        normal = rng.normal((rows, self.means.shape[1]), torch.float64)
        x0 = self.means[component] + torch.einsum("rde,re->rd", basis, spread.sqrt() * normal)
        return x0.to(dtype).view(rows, *self.shape)

    def _draw_components(self, rows: int, rng: Stream, label: int | None) -> Int64[Tensor, " rows"]:
        weights = self.weights if label is None else self.weights * (self.labels == label)
        edges = weights.cumsum(0) / weights.sum()
        return torch.searchsorted(edges, rng.uniform((rows,), torch.float64), right=True).clamp_max(len(edges) - 1)

    def _see(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> _Seen:
        alpha, sigma = (part[:, None, None] for part in self.process.level(t))
        gap = x_t.flatten(1).double()[:, None] - alpha * self.means
        aligned = torch.einsum("rkd,kde->rke", gap, self.basis)
        variance = (alpha**2 * self.spread + sigma**2).clamp_min(1e-200)  # 0 where a flat covariance meets t = 0
        log_density = -0.5 * (aligned**2 / variance + torch.log(2 * math.pi * variance)).sum(-1)
        return _Seen(aligned, variance, log_density + self._log_weights(condition, len(x_t)))

    def _see_frames(self, x_t: Tensor, t: Tensor, condition: Condition | None) -> _SeenFrames:
        x = x_t.double()
        alpha, sigma = (expand_like(part, x).expand_as(x).flatten(1)[:, None] for part in self.process.level(t))
        covariance = (self.basis * self.spread[:, None]) @ self.basis.mT
        root = torch.linalg.cholesky(alpha[..., None] * covariance * alpha[..., None, :] + torch.diag_embed(sigma**2))
        gap = x.flatten(1)[:, None] - alpha * self.means
        solved = torch.cholesky_solve(gap[..., None], root)[..., 0]
        log_volume = root.diagonal(dim1=-2, dim2=-1).log().sum(-1) + gap.shape[-1] * math.log(2 * math.pi) / 2
        log_density = -0.5 * (gap * solved).sum(-1) - log_volume
        shift = torch.einsum("kde,rke->rkd", covariance, alpha * solved)
        return _SeenFrames(solved, shift, log_density + self._log_weights(condition, len(x_t)))

    def _log_weights(self, condition: Condition | None, rows: int) -> Float[Tensor, "rows components"]:
        weights = self.weights.expand(rows, -1)
        if condition is not None and condition.label is not None:
            match = condition.label[:, None] == self.labels
            if (given := condition.is_given("label")) is not None:
                match = match | ~given[:, None]
            if not match.any(1).all():
                raise UsageError(
                    f"a label that is not one of the mixture's classes {self.labels.unique().tolist()}",
                    "a class it has, or the null condition",
                    f"label={self.labels[0].item()}",
                )
            weights = weights * match
        return torch.log(weights / weights.sum(1, keepdim=True))

    def __call__(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Point:
        """E[x0 | x_t], exactly.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times. At t = 0 of a frame, the covariance of that frame must not be singular.
            condition: Label of each row.

        Returns:
            The posterior mean, of the shape of x_t.

        Raises:
            UsageError: If a label is not one of the mixture's classes.
        """
        if t.ndim > 1:
            frames = self._see_frames(x_t, t, condition)
            mean = torch.einsum("rk,rkd->rd", frames.log_joint.softmax(1), self.means + frames.shift)
            return Point(mean.to(x_t.dtype).view_as(x_t))
        seen = self._see(x_t, t, condition)
        alpha = self.process.level(t).alpha[:, None, None]
        pull = torch.einsum("rke,kde->rkd", alpha * self.spread / seen.variance * seen.aligned, self.basis)
        mean = torch.einsum("rk,rkd->rd", seen.log_joint.softmax(1), self.means + pull)
        return Point(mean.to(x_t.dtype).view_as(x_t))

    def log_density(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Float[Tensor, " rows"]:
        """log p_t(x_t) in nats; differentiable.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times.
            condition: Label of each row.

        Returns:
            [rows].
        """
        if t.ndim > 1:
            return self._see_frames(x_t, t, condition).log_joint.logsumexp(1)
        return self._see(x_t, t, condition).log_joint.logsumexp(1)

    def score(
        self,
        x_t: Float[Tensor, "rows *shape"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """The gradient of log p_t(x_t), in its own closed form.

        Args:
            x_t: [rows, *axes, *rest], data at time t.
            t: [rows, *axes], times.
            condition: Label of each row.

        Returns:
            The score, of the shape of x_t.
        """
        if t.ndim > 1:
            frames = self._see_frames(x_t, t, condition)
            return -torch.einsum("rk,rkd->rd", frames.log_joint.softmax(1), frames.solved).to(x_t.dtype).view_as(x_t)
        seen = self._see(x_t, t, condition)
        toward = torch.einsum("rke,kde->rkd", -seen.aligned / seen.variance, self.basis)
        return torch.einsum("rk,rkd->rd", seen.log_joint.softmax(1), toward).to(x_t.dtype).view_as(x_t)

"""The exact denoiser of a linear-Gaussian sequence whose frames have noise levels of their own.

    x_1 ~ N(m, S),      x_(f+1) = A x_f + N(0, Q)                       the frames of a row
    y_f = alpha_f x_f + sigma_f noise                                    what is seen of frame f at its own time t_f

All frames together are one Gaussian N(mu, V), so that the law of the clean frames given any frames at any times is in
closed form. With H = diag(alpha) and C = H V H + diag(sigma^2),

    E[x | y] = mu + V H C^-1 (y - H mu),      Cov[x | y] = V - V H C^-1 H V

The causal denoiser believes E[x_f | y_1, ..., y_f], which is the Kalman filter (Kalman, 1960). Frames that are sampled
one after the other, each beside clean frames before it, have the exact law under it; frames that are sampled together
have not, since a frame then never learns of those after it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser.exact import Mixture
from unmelt.errors import UsageError
from unmelt.posterior import Point
from unmelt.process.broadcast import expand_like
from unmelt.process.gaussian import Gaussian
from unmelt.rng import Stream


class GaussianLaw(NamedTuple):
    """A Gaussian law of each row.

    Args:
        mean: [rows, frames, numbers].
        covariance: [rows, frames * numbers, frames * numbers].
    """

    mean: Float64[Tensor, "rows frames numbers"]
    covariance: Float64[Tensor, "rows dim dim"]


@checked_init("um.denoiser.LinearGaussianSequence")
class LinearGaussianSequence:
    """Exact denoiser of x_(f+1) = A x_f + N(0, Q).

    Args:
        transition: [numbers, numbers], A.
        noise: [numbers, numbers], Q, positive definite.
        mean: [numbers], of the first frame.
        covariance: [numbers, numbers], of the first frame, positive definite.
        frames: Number of frames.
        process: The process.
        is_causal: Whether the belief about a frame depends on itself and the frames before it alone.

    Raises:
        UsageError: If a matrix has another shape, a covariance is not positive definite, or frames < 1.
    """

    def __init__(
        self,
        transition: Float[Tensor, "numbers numbers"],
        noise: Float[Tensor, "numbers numbers"],
        mean: Float[Tensor, " numbers"],
        covariance: Float[Tensor, "numbers numbers"],
        frames: int,
        process: Gaussian,
        is_causal: bool = False,
    ) -> None:
        count = len(mean)
        for name, matrix in (("transition", transition), ("noise", noise), ("covariance", covariance)):
            if tuple(matrix.shape) != (count, count):
                raise UsageError(
                    f"{name} of shape {tuple(matrix.shape)} for frames of {count} numbers",
                    f"a matrix of shape {(count, count)}",
                    f"{name}=torch.eye({count})",
                )
            if name != "transition" and torch.linalg.eigvalsh(matrix.double()).min() <= 0:
                raise UsageError(f"a {name} with an eigenvalue of at most 0", "positive definite", f"{name} + 1e-6 * I")
        if frames < 1:
            raise UsageError(f"frames={frames}", "at least one frame", "frames=8")
        self.transition, self.noise, self.mean, self.covariance = (
            each.double() for each in (transition, noise, mean, covariance)
        )
        self.frames, self.process, self.is_causal = frames, process, is_causal
        self.shape = (frames, count)
        self.joint = Mixture.gaussian(*self._joint(), process)

    def _joint(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance of all frames together: V_fg = A^(f-g) V_gg for f >= g."""
        means, blocks = [self.mean], [self.covariance]
        for _ in range(self.frames - 1):
            means.append(self.transition @ means[-1])
            blocks.append(self.transition @ blocks[-1] @ self.transition.T + self.noise)
        whole = torch.zeros(*self.shape, *self.shape, dtype=torch.float64)
        for g, block in enumerate(blocks):
            for f in range(g, self.frames):
                whole[f, :, g], whole[g, :, f] = block, block.T
                block = self.transition @ block
        dim = self.frames * self.shape[1]
        return torch.stack(means), whole.view(dim, dim)

    def sample(
        self, rows: int, rng: Stream, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "rows frames numbers"]:
        """Draw clean sequences exactly.

        Args:
            rows: Number of sequences.
            rng: Source of randomness.
            dtype: Precision of the draws.

        Returns:
            [rows, frames, numbers].
        """
        return self.joint.sample(rows, rng, dtype)

    def __call__(
        self,
        x_t: Float[Tensor, "rows frames numbers"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Point:
        """The belief about the clean frames.

        Args:
            x_t: [rows, frames, numbers], the noisy frames; where the denoiser is causal, there may be fewer of them.
            t: [rows] or [rows, frames], times.
            condition: Ignored.

        Returns:
            E[x | x_t], or of each frame given itself and those before it alone where the denoiser is causal.
        """
        if not self.is_causal:
            return self.joint(x_t, t)
        return Point(self._filtered(x_t.double(), t).to(x_t.dtype))

    def _filtered(self, y: Tensor, t: Tensor) -> Tensor:
        """The Kalman filter."""
        alpha, sigma = (expand_like(part, y).expand(*y.shape[:2], 1)[..., None] for part in self.process.level(t))
        mean, spread, believed = self.mean.expand(len(y), -1), self.covariance.expand(len(y), -1, -1), []
        one = torch.eye(self.shape[1], dtype=torch.float64)
        for f in range(y.shape[1]):
            a, s = alpha[:, f], sigma[:, f]
            gain = torch.linalg.solve(a**2 * spread + s**2 * one, a * spread).mT
            mean = mean + (gain @ (y[:, f] - a[..., 0] * mean)[..., None])[..., 0]
            spread = spread - a * gain @ spread
            believed.append(mean)
            mean, spread = mean @ self.transition.T, self.transition @ spread @ self.transition.T + self.noise
        return torch.stack(believed, 1)

    def conditional(self, x_t: Float[Tensor, "rows frames numbers"], t: Float[Tensor, "rows frames"]) -> GaussianLaw:
        """The law of the clean frames given any frames at any times.

        Args:
            x_t: [rows, frames, numbers], the noisy frames.
            t: [rows, frames], times. A frame at t = 0 is known, and one without signal (t = 1 on many schedules) is
                not known at all.

        Returns:
            The law of all frames, whatever `is_causal` says.
        """
        y, dim = x_t.double(), self.frames * self.shape[1]
        alpha, sigma = (expand_like(part, y).expand_as(y).flatten(1) for part in self.process.level(t))
        mean = self.joint.means[0]
        whole = self.joint.basis[0] * self.joint.spread[0] @ self.joint.basis[0].T
        pulled = alpha[:, :, None] * whole
        gain = torch.linalg.solve(pulled * alpha[:, None] + torch.diag_embed(sigma**2), pulled).mT
        believed = mean + (gain @ (y.flatten(1) - alpha * mean)[..., None])[..., 0]
        return GaussianLaw(believed.view(y.shape), (whole - gain @ pulled).view(-1, dim, dim))

    def log_density(
        self,
        x_t: Float[Tensor, "rows frames numbers"],
        t: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
    ) -> Float[Tensor, " rows"]:
        """log p_t(x_t) in nats; differentiable.

        Args:
            x_t: [rows, frames, numbers], the noisy frames.
            t: [rows] or [rows, frames], times.
            condition: Ignored.

        Returns:
            [rows].
        """
        return self.joint.log_density(x_t, t)

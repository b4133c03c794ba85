"""Exact problems for samplers: where each row of noise must end, to ten digits.

The probability-flow ODE carries every row of noise to one row of data. In straight coordinates

    (w, u) = (x, sigma) / (alpha + sigma),      dw/du = (w - E[x0 | w, u]) / u,      u from its start down to 0,

it is smooth all the way and the same for every schedule, and the denoisers here are mixtures of Gaussians, whose
E[x0 | x_t] is known exactly. The end points come from DOP853 (Hairer, Norsett and Wanner, 1993) in float64, and a
second solution at a wider tolerance says how far they can be trusted.

Anybody's sampler can be asked for the same end points: it shows a row at its own scale alpha and sigma and is told
E[x0 | x]. Every such answer, for all rows at once, is one evaluation, and there are only so many.
"""

import math
from dataclasses import dataclass, replace

import numpy
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import unmelt as um

TIGHT, LOOSE = 1e-12, 1e-10
"""Tolerances of the two solutions."""


class SpentError(Exception):
    """A sampler asked for more evaluations than it has."""


class Counted:
    """A belief that counts how often it is asked, and refuses when `allowed` is used up."""

    def __init__(self, process: um.process.Gaussian, shape: tuple[int, ...]) -> None:
        self.process, self.shape = process, shape
        self.spent = self.allowed = 0

    def allow(self, evaluations: int) -> None:
        self.spent, self.allowed = 0, evaluations

    def __call__(self, x_t: Tensor, t: Tensor, condition: um.Condition | None = None) -> um.posterior.Point:
        if self.spent >= self.allowed:
            raise SpentError
        self.spent += 1
        return um.posterior.Point(self.mean(x_t, t[:1]))


class OfMixture(Counted):
    """A mixture's denoiser.

    Its answers are those of `um.denoiser.Mixture`, worked out for rows that are all at one time, which is several
    times faster. `check` says how far the two are apart.
    """

    def __init__(self, mixture: um.denoiser.Mixture) -> None:
        super().__init__(mixture.process, mixture.shape)
        self.mixture = mixture
        components, dim = mixture.means.shape
        self.basis = mixture.basis.transpose(0, 1).reshape(dim, -1)
        self.centre = torch.einsum("kd,kde->ke", mixture.means, mixture.basis).flatten()
        self.spread = mixture.spread.flatten()
        self.add = torch.eye(components, dtype=torch.float64).repeat_interleave(dim, 0)
        self.log_weights = mixture.weights.log()

    def mean(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x0 | x], all rows at one time."""
        alpha, sigma = self.process.schedule.alpha(t), self.process.schedule.sigma(t)
        variance = alpha**2 * self.spread + sigma**2
        aligned = torch.addmm(-alpha * self.centre, x, self.basis)
        log_joint = (aligned.square() @ (self.add / variance[:, None])).mul_(-0.5)
        share = (log_joint + self.log_weights - 0.5 * variance.log() @ self.add).softmax(1)
        pull = aligned * (share @ self.add.T) * (alpha * self.spread / variance)
        return torch.addmm(share @ self.mixture.means, pull, self.basis.T)

    def check(self, x: Tensor) -> float:
        """Largest difference from the library's own denoiser, from clean to pure noise."""
        times = torch.linspace(1e-3, 1, 50, dtype=torch.float64)
        return max((self.mean(x, t[None]) - self.mixture(x, t.expand(len(x))).mean).abs().max().item() for t in times)


@dataclass(frozen=True)
class Problem:
    """Rows of noise, the denoiser, and the end points.

    data     of what: problems of the same data share noise and end points
    name     of the schedule, or of the data where there is one schedule
    truth    end points of all rows
    doubt    root mean square difference of the end points when the tolerance is 100 times wider
    high     sigma / alpha at the start, where the rows are `high` times the noise; pure noise if infinite
    sd       standard deviation of the data, whose mean is 0
    ranges   lowest and highest sigma / alpha for samplers that must be told; from there to 0 each library has its way
    """

    data: str
    name: str
    denoiser: Counted
    noise: Tensor
    truth: Tensor
    doubt: float
    high: float
    sd: float
    ranges: tuple[tuple[float, float], ...]

    @property
    def title(self) -> str:
        return self.name if self.name == self.data else f"{self.data}, {self.name}"

    def clean(self, x: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """E[x0 | x] for x = alpha x0 + sigma noise at any scale: one evaluation."""
        alpha, sigma = float(alpha), float(sigma)
        schedule = self.denoiser.process.schedule
        ratio = math.inf if alpha == 0 else sigma / alpha
        t = schedule.time(-2 * torch.log(torch.tensor(ratio, dtype=torch.float64)))
        own = (schedule.alpha(t) + schedule.sigma(t)).item()
        return self.denoiser(x * (own / (alpha + sigma)), t[None]).mean

    def start(self, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """The rows at a sampler's highest noise, at its scale.

        A sampler that begins below the start of the problem gets the noise at the standard deviation that x has on the
        path there, which is closer to the path than any library's own start; that it need not go further is its luck.
        """
        whole = math.hypot(float(alpha) * self.sd, float(sigma))
        return self.noise * (whole / math.hypot(1, self.sd / self.high))

    def error(self, x: Tensor) -> float:
        """Root mean square over rows and coordinates."""
        return (x - self.truth).square().mean().sqrt().item()

    def first(self, rows: int) -> "Problem":
        """The same with fewer rows."""
        return replace(self, noise=self.noise[:rows], truth=self.truth[:rows])


def solve(denoiser: Counted, w: Tensor, u: float, tolerance: float) -> Tensor:
    """The ODE from (w, u) to u = 0, all rows as one system."""
    process = denoiser.process

    def slope(u: float, flat: numpy.ndarray) -> numpy.ndarray:
        w = torch.from_numpy(flat).view(-1, *denoiser.shape)
        if u == 0:
            return -flat  # E[noise - x0] where there is no noise
        t = process.schedule.time(2 * torch.log(torch.tensor((1 - u) / u, dtype=torch.float64)))
        own = process.schedule.alpha(t) + process.schedule.sigma(t)
        return ((w - denoiser.mean(w * own, t[None])) / u).flatten().numpy()

    solved = solve_ivp(slope, (u, 0.0), w.flatten().numpy(), method="DOP853", rtol=tolerance, atol=tolerance)
    return torch.from_numpy(solved.y[:, -1].copy()).view_as(w)


def ends(denoiser: Counted, w: Tensor, u: float) -> tuple[Tensor, float]:
    """The end points, and how much they move at the wider tolerance."""
    truth = solve(denoiser, w, u, TIGHT)
    return truth, (solve(denoiser, w, u, LOOSE) - truth).square().mean().sqrt().item()


def ring(rows: int) -> Problem:
    """Six round modes in the plane, from sigma 80 (Karras et al., 2022) to data."""
    radius, width, high = 2.0, 0.15, 80.0
    process = um.process.Gaussian(um.schedule.VarianceExploding(0.002, high))
    denoiser = OfMixture(um.denoiser.Mixture.ring(6, radius, width, process))
    noise = torch.randn(rows, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    truth, doubt = ends(denoiser, noise * high / (1 + high), high / (1 + high))
    sd = math.sqrt(radius**2 / 2 + width**2)
    return Problem("ring", "ring", denoiser, noise, truth, doubt, high, sd, ((0.002, high),))


def mixtures(rows: int) -> list[Problem]:
    """Nine unequal Gaussians with full covariances in 8 dimensions, under two schedules, from pure noise.

    The data have mean 0 and standard deviation 1, as networks are given them. The Gaussians overlap: were they apart,
    one row that falls to the wrong side would outweigh thousands. The schedules share their end points.
    """
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    means, basis = normal(9, 8), torch.linalg.qr(normal(9, 8, 8)).Q
    spread, weights = torch.exp(0.5 * normal(9, 8) - 0.5), (0.7 * normal(9)).softmax(0)
    means = means - weights @ means
    scale = (weights @ (means.square() + spread.square()).mean(1)).sqrt()
    means, spread = means / scale, spread / scale
    covariances = (basis * spread[:, None] ** 2) @ basis.mT
    noise = normal(rows, 8)
    ranges = ((0.002, 80.0), (0.01, 80.0), (0.0292, 14.6))  # of EDM, k-diffusion's recipes, Stable Diffusion

    def under(schedule: um.schedule.Schedule) -> OfMixture:
        return OfMixture(um.denoiser.Mixture(means, covariances, um.process.Gaussian(schedule), weights))

    cosine, straight = under(um.schedule.Cosine()), under(um.schedule.Straight())
    truth, doubt = ends(straight, noise, 1.0)
    return [
        Problem("mixture", name, denoiser, noise, truth, doubt, math.inf, 1.0, ranges)
        for name, denoiser in (("cosine", cosine), ("straight", straight))
    ]

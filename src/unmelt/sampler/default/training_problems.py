"""Random problems to learn a sampler from: many mixtures of Gaussians in one batch, with exact beliefs.

A mixture has four to ten components in 2 to 8 dimensions, with random means, full covariances, unequal weights and
overall scale. Component widths range from about the distance between means to much less. For one mixture in ten,
beliefs are guided towards a few of the components.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.posterior import Point
from unmelt.process.gaussian import Gaussian
from unmelt.schedule import Straight

DIM, COMPONENTS = 8, 10
"""Dimensions and components of the largest problems; smaller ones leave some unused."""

FEWEST = 4
"""Smallest number of components."""

DIMS = (2, 4, 8, 8, 8)
"""Dimensions of the problems, in turn."""

WIDTH, SIZE, SCALE, GUIDED = (0.15, 1.2), (0.5, 1.6), (1.0, 3.0), 10
"""Ranges of component width over distance between means, of overall scale, and of guidance scale (1 problem in 10)."""


class TrainingProblems:
    """Denoiser of many random mixtures, each with its own rows of a batch. All rows must be at one time.

    Args:
        mixtures: Number of mixtures.
        rows: Rows of each mixture in a batch.
        seed: Seed of the mixtures.
    """

    def __init__(self, mixtures: int, rows: int, seed: int) -> None:
        self.process, self.shape, self.rows = Gaussian(Straight()), (DIM,), rows
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        def between(low: float, high: float) -> Tensor:
            """A number for each mixture."""
            return low + (high - low) * torch.rand(mixtures, 1, 1, generator=generator, dtype=torch.float64)

        dims = torch.tensor(DIMS).repeat(math.ceil(mixtures / len(DIMS)))[:mixtures]
        used = (torch.arange(DIM) < dims[:, None]).double()
        count = torch.randint(FEWEST, COMPONENTS + 1, (mixtures, 1), generator=generator)
        weights = (0.7 * normal(mixtures, COMPONENTS)).masked_fill(torch.arange(COMPONENTS) >= count, -torch.inf)
        weights = weights.softmax(1)
        means = normal(mixtures, COMPONENTS, DIM) * used[:, None]
        means = means - torch.einsum("mk,mkd->md", weights, means)[:, None]
        rough = 0.5 * torch.rand(mixtures, 1, 1, generator=generator, dtype=torch.float64)
        width = torch.exp(between(*map(math.log, WIDTH)) + rough * normal(mixtures, COMPONENTS, DIM))
        variance = torch.einsum("mk,mkd->m", weights, (means**2 + width**2) * used[:, None]) / dims
        size = (torch.exp(between(*map(math.log, SIZE)))[:, 0, 0] / variance.sqrt())[:, None, None]
        means, spread = size * means, (size * width) ** 2

        basis = torch.eye(DIM, dtype=torch.float64).expand(mixtures, COMPONENTS, -1, -1).clone()
        for dim in set(DIMS):
            of = dims == dim
            basis[of, :, :dim, :dim] = torch.linalg.qr(normal(int(of.sum()), COMPONENTS, dim, dim)).Q
        used = used[:, None].expand(-1, COMPONENTS, -1)

        self.means, self.spread, self.used = means, (spread * used).flatten(1), used[:, 0]
        self.basis = basis.transpose(1, 2).flatten(2)  # [mixtures, dim, components dim]
        self.centre = torch.einsum("mkd,mkde->mke", means, basis).flatten(1)
        self.log_weights = weights.log()
        guided = mixtures // GUIDED
        toward = torch.rand(guided, COMPONENTS, generator=generator) < 0.4
        toward[:, 0] = True
        self.log_toward = self.log_weights[:guided].masked_fill(~toward, -torch.inf)
        self.scale = between(*SCALE)[:guided]

    def noise(self, seed: int) -> Float64[Tensor, "rows dim"]:
        """Draw noise at t = 1; dimensions that a problem does not have are 0.

        Args:
            seed: Seed of the noise.

        Returns:
            [mixtures * rows, 8], noise.
        """
        shape = (len(self.used), self.rows, DIM)
        drawn = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return (drawn * self.used[:, None]).flatten(0, 1)

    def __call__(
        self, x_t: Float64[Tensor, "rows dim"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Point:
        """E[x0 | x_t] of each row's own mixture.

        Args:
            x_t: [mixtures * rows, 8], the noisy data.
            t: [mixtures * rows], the times, all the same.
            condition: Not used.

        Returns:
            The belief.
        """
        alpha, sigma = (level[0] for level in self.process.level(t))
        x = x_t.view(-1, self.rows, DIM)
        variance = alpha**2 * self.spread + sigma**2
        aligned = torch.baddbmm(-alpha * self.centre[:, None], x, self.basis)
        by_component = (*aligned.shape[:2], COMPONENTS, DIM)
        distance = (aligned.square() / variance[:, None]).view(by_component).sum(-1)
        log_size = variance.log().view(-1, COMPONENTS, DIM).sum(-1)
        log_likelihood = -0.5 * (distance + log_size[:, None])
        pulled = (aligned * (alpha * self.spread / variance)[:, None]).view(by_component)

        def mean(share: Tensor, of: slice) -> Tensor:
            pull = (pulled[of] * share[..., None]).flatten(2)
            return torch.baddbmm(share @ self.means[of], pull, self.basis[of].mT)

        belief = mean((log_likelihood + self.log_weights[:, None]).softmax(-1), slice(None))
        guided = slice(0, len(self.scale))
        toward = mean((log_likelihood[guided] + self.log_toward[:, None]).softmax(-1), guided)
        belief = torch.cat([belief[guided].lerp(toward, self.scale), belief[guided.stop :]])
        return Point(belief.flatten(0, 1))

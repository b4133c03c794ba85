"""Mixtures with closed-form densities, and an untrained network, whose flow has a density as well."""

import torch
from conformance.subjects import F64, full
from torch import nn

from unmelt.denoiser import Mixture, Network
from unmelt.denoiser.prediction import Preconditioned
from unmelt.process import Gaussian
from unmelt.rng import seeded


def nine(on):
    """Nine unequal Gaussians in 8 dimensions, every covariance full."""
    rng = torch.Generator().manual_seed(5)
    means = torch.randn(9, 8, generator=rng, dtype=F64)
    roots = 0.3 * torch.randn(9, 8, 8, generator=rng, dtype=F64)
    weights = 0.2 + torch.rand(9, generator=rng, dtype=F64)
    return Mixture(means, roots @ roots.mT + 0.01 * torch.eye(8, dtype=F64), Gaussian(on), weights=weights)


def own_prior(exact, condition=None):
    """The exact log-density of x_1, for schedules on which some signal is left at t = 1."""
    return lambda x_1: exact.log_density(x_1, full(len(x_1), 1.0), condition)


def truth(exact, x0, condition=None):
    return exact.log_density(x0, full(len(x0), 0.0), condition)


class Small(nn.Module):
    """A perceptron with random weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(dim + 1, 8), nn.Linear(8, dim)

    def forward(self, x, level, condition=None):
        return self.out(torch.tanh(self.into(torch.cat([x, level[:, None]], 1))))


def random_network(on, dim):
    """An untrained network in float64: a smooth belief that is not the posterior of any data."""
    with seeded(0):
        return Network(Small(dim), Gaussian(on), Preconditioned(1.0), (dim,)).double()

"""Every public kind of guidance, found by introspection, around an exact mixture of two classes."""

import torch
from conformance.subjects import F64, column, public

from unmelt import guidance
from unmelt.condition import Condition
from unmelt.denoiser import Mixture
from unmelt.guidance import Guidance
from unmelt.process import Gaussian
from unmelt.sampler import grid

INTERVAL = (0.3, 0.6)
WRAPPERS = {"Composition", "Rescale", "ZeroInit"}
"""Public guidance without a scale of its own; test_every_guidance combines it with kinds that have one."""

TOKENS = {"AllowedTokens", "Temperature", "TopP"}
"""Guidance of tokens, which truth/test_cached_decoding tests."""


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, inner):
        self.inner, self.process, self.shape, self.calls = inner, inner.process, inner.shape, 0

    def __call__(self, x_t, t, condition=None):
        self.calls += 1
        return self.inner(x_t, t, condition)

    def log_probability(self, x_t, t, condition):
        """log p(c | x_t) up to log p(c), by Bayes' rule; counted as a call."""
        self.calls += 1
        return self.inner.log_density(x_t, t, condition) - self.inner.log_density(x_t, t)


def classes(on):
    """Three unequal Gaussians in three dimensions, of two classes; the null belief is that of the whole mixture."""
    means = torch.tensor([[1.0, 0.5, -0.3], [-1.2, 0.3, 0.4], [0.2, -1.4, 0.1]], dtype=F64)
    root = torch.tensor([[0.6, 0.0, 0.1], [0.3, 0.4, 0.0], [0.0, 0.2, 0.5]], dtype=F64)
    covariances = torch.stack([root @ root.T, 0.3 * torch.eye(3, dtype=F64), root.T @ root])
    return Mixture(means, covariances, Gaussian(on), weights=column(0.5, 0.2, 0.3), labels=torch.tensor([0, 1, 1]))


def worse(on):
    """A blurred version of `classes`."""
    model = classes(on)
    covariances = model.basis * (model.spread + 0.3)[:, None] @ model.basis.mT
    return Mixture(model.means, covariances, model.process, model.weights, model.labels)


EXTRA = {
    "Autoguidance": lambda base: {"worse": worse(base.process.schedule)},
    "ClassifierGuidance": lambda base: {"log_probability": base.log_probability},
    "CFGpp": lambda base: {"grid": grid.karras(4)},
}
"""The arguments that kinds need beside a denoiser and a scale."""


def make(kind, base, scale, **settings):
    return kind(denoiser=base, scale=scale, **EXTRA.get(kind.__name__, lambda base: {})(base), **settings)


KINDS = public(guidance, Guidance)


def batch(count=40, dtype=F64):
    """Rows of both classes, at times over all of [0, 1], both ends included."""
    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(count, 3, dtype=F64, generator=generator), torch.linspace(0, 1, count, dtype=F64)
    return x.to(dtype), t, Condition(label=torch.arange(count) % 2)

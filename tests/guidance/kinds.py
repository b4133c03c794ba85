"""Every public kind of guidance, found and not listed, made around an exact mixture of two classes."""

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
"""What is public and has no scale of its own; each is wrapped or wraps in test_every_guidance."""

TOKENS = {"Allowed", "Nucleus", "Temperature"}
"""What reshapes beliefs about tokens; held to the truth in truth/test_blocks."""


class Counted:
    """A denoiser that counts how often it was asked."""

    def __init__(self, inner):
        self.inner, self.process, self.shape, self.calls = inner, inner.process, inner.shape, 0

    def __call__(self, x_t, t, condition=None):
        self.calls += 1
        return self.inner(x_t, t, condition)

    def log_probability(self, x_t, t, condition):
        """log p(c | x_t) up to log p(c), by Bayes' rule; counted too."""
        self.calls += 1
        return self.inner.log_density(x_t, t, condition) - self.inner.log_density(x_t, t)


def classes(on):
    """Three unequal Gaussians in space, of two classes, the whole mixture being null."""
    means = torch.tensor([[1.0, 0.5, -0.3], [-1.2, 0.3, 0.4], [0.2, -1.4, 0.1]], dtype=F64)
    root = torch.tensor([[0.6, 0.0, 0.1], [0.3, 0.4, 0.0], [0.0, 0.2, 0.5]], dtype=F64)
    covariances = torch.stack([root @ root.T, 0.3 * torch.eye(3, dtype=F64), root.T @ root])
    return Mixture(means, covariances, Gaussian(on), weights=column(0.5, 0.2, 0.3), labels=torch.tensor([0, 1, 1]))


def worse(on):
    """A blurred version of the same."""
    model = classes(on)
    covariances = model.basis * (model.spread + 0.3)[:, None] @ model.basis.mT
    return Mixture(model.means, covariances, model.process, model.weights, model.labels)


EXTRA = {
    "Autoguidance": lambda base: {"worse": worse(base.process.schedule)},
    "Classifier": lambda base: {"log_probability": base.log_probability},
    "CFGpp": lambda base: {"grid": grid.karras(4)},
}
"""What kinds need beside a denoiser and a scale."""


def make(kind, base, scale, **more):
    return kind(denoiser=base, scale=scale, **EXTRA.get(kind.__name__, lambda base: {})(base), **more)


KINDS = public(guidance, Guidance)


def batch(count=40, dtype=F64):
    """Rows at times spread over the whole of [0, 1], ends included, of both classes."""
    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(count, 3, dtype=F64, generator=generator), torch.linspace(0, 1, count, dtype=F64)
    return x.to(dtype), t, Condition(label=torch.arange(count) % 2)

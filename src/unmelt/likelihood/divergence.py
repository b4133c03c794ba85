"""The trace of a belief's Jacobian, tr dD/dx: exactly, or by random probes.

    tr J = sum_i e_i . J e_i  =  E[v . J v]      for any v with E[v v^T] = I

The second is Hutchinson's estimator (1989). With random signs for v, only the off-diagonal entries contribute to its
variance. The same probes are used along a whole flow (Grathwohl et al., 2019, section 3.1): the integrand is then as
smooth as the flow, and the totals of different probes are independent estimates, whose scatter gives the standard
error.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.rng import Random


class Divergence(ABC):
    """How the trace is computed from products of a vector and the Jacobian."""

    @abstractmethod
    def draw(self, x0: Float[Tensor, "rows *shape"]) -> Float[Tensor, "rows probes dim"]:
        """Draw the probes that each row uses along the whole flow.

        Args:
            x0: [rows, *shape], the data.

        Returns:
            [rows, probes, dim], in the precision of x0.
        """

    @abstractmethod
    def traces(
        self, belief: Float[Tensor, "rows dim"], x: Float[Tensor, "rows dim"], probes: Float[Tensor, "rows probes dim"]
    ) -> Float[Tensor, "rows estimates"]:
        """Unbiased estimates of tr d belief / d x; differentiable where autograd is on.

        Args:
            belief: [rows, dim], computed from x with autograd.
            x: [rows, dim], which requires gradients; rows are independent.
            probes: [rows, probes, dim], from `draw`.

        Returns:
            [rows, estimates], in the precision of x.
        """


def standard_error(estimates: Float[Tensor, "rows estimates"]) -> Float[Tensor, " rows"]:
    """The standard error of the mean of each row's estimates.

    Args:
        estimates: [rows, estimates]. A single estimate per row is taken to be exact.

    Returns:
        [rows]; 0 for a single estimate.
    """
    count = estimates.shape[1]
    return estimates.std(1) / count**0.5 if count > 1 else torch.zeros_like(estimates[:, 0])


def _vector_jacobian(belief: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """v . J for each row; rows are independent."""
    (product,) = torch.autograd.grad(belief, x, v, retain_graph=True, create_graph=torch.is_grad_enabled())
    return product


@final
@dataclass(frozen=True)
class Exact(Divergence):
    """The exact trace, by one backward pass for each dimension; for data of few dimensions."""

    def draw(self, x0: Tensor) -> Tensor:
        return x0.flatten(1)[:, None][:, :0]  # no probes

    def traces(self, belief: Tensor, x: Tensor, probes: Tensor) -> Tensor:
        units = torch.eye(belief.shape[1], dtype=belief.dtype, device=belief.device)
        diagonal = [_vector_jacobian(belief, x, unit.expand_as(belief))[:, i] for i, unit in enumerate(units)]
        return torch.stack(diagonal, 1).sum(1, keepdim=True)


@final
@checked_init("um.likelihood.Hutchinson")
@dataclass(frozen=True)
class Hutchinson(Divergence):
    """Hutchinson's estimate of the trace, by one backward pass for each probe.

    Args:
        rng: The source of the probes. `RowSeeds` gives a row the same probes in any batch.
        probes: Probes for each row, at least 2, so that a standard error can be estimated.

    Raises:
        UsageError: If there are fewer than 2 probes, or `rng` is not a source of random numbers.
    """

    rng: Random
    probes: int = 8

    def __post_init__(self) -> None:
        if isinstance(self.probes, bool) or not isinstance(self.probes, int) or self.probes < 2:
            raise UsageError(
                f"{self.probes!r} probes", "at least 2, to tell a standard error", "Hutchinson(rng, probes=8)"
            )
        if not isinstance(self.rng, Random):
            raise UsageError(f"rng={self.rng!r}", "a source of random numbers", "Hutchinson(Stream(0), probes=8)")

    def draw(self, x0: Tensor) -> Tensor:
        u = self.rng.uniform((len(x0), self.probes, x0[0].numel()), device=x0.device)
        return torch.where(u < 0.5, -1.0, 1.0).to(x0.dtype)

    def traces(self, belief: Tensor, x: Tensor, probes: Tensor) -> Tensor:
        return torch.stack([(_vector_jacobian(belief, x, v) * v).sum(1) for v in probes.unbind(1)], 1)

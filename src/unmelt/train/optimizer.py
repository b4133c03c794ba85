"""How gradients become updates: AdamW for everything, or Muon for the matrices and AdamW for the rest.

Muon (Jordan et al., 2024) replaces the averaged gradient of a matrix by its orthogonal factor, all singular values one:

    M <- momentum M + (1 - momentum) G,      X = U V' where  (1 - momentum) G + momentum M = U S V'

by five Newton-Schulz steps, and moves by .2 sqrt(max(rows, columns)) X, which has the root mean square of an AdamW
update, so that both halves share one learning rate (Liu et al., 2025, section 2.2). A convolution is the matrix of its
output channels. Matrices of one shape are computed together; of a sharded matrix, every process computes the factor of
the whole and keeps its own part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.errors import UsageError
from unmelt.train import distributed

SMALLEST = 8
"""Smallest side of a weight that Muon updates: smaller ones project in or out, where AdamW is better."""

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of a Newton-Schulz step that bring small singular values to about one quickly (Jordan et al., 2024)."""


@runtime_checkable
class Optimizer(Protocol):
    """Settings from which a network's torch optimizers are made."""

    def of(self, network: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
        """Make the optimizers of a network.

        Args:
            network: The network, on its device, sharded if it is to be.
            lr: Learning rate of every parameter group.

        Returns:
            Optimizers that together own every parameter once. They skip a step where their `found_inf` is 1.
        """


@final
@checked_init("um.train.AdamW")
@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), for every parameter.

    Args:
        betas: Decay of the averages of the gradient and of its square.
        weight_decay: Weight decay, relative to the learning rate.

    Raises:
        UsageError: If a beta is not at least 0 and below 1, or the weight decay is negative.
    """

    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self, self.betas, self.weight_decay)

    def of(self, network: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
        """Make one fused AdamW over all parameters."""
        return [torch.optim.AdamW(network.parameters(), lr, self.betas, weight_decay=self.weight_decay, fused=True)]


@final
@checked_init("um.train.Muon")
@dataclass(frozen=True, kw_only=True)
class Muon:
    """Muon for the matrices and AdamW for the rest (Jordan et al., 2024).

    Args:
        momentum: Decay of the average of a matrix's gradient.
        betas: AdamW's, for the parameters that are not matrices.
        weight_decay: Weight decay of both, relative to the learning rate.

    Raises:
        UsageError: If momentum or a beta is not at least 0 and below 1, or the weight decay is negative.
    """

    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self, (self.momentum, *self.betas), self.weight_decay)

    def of(self, network: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
        """Make AdamW for what is not a matrix, and Muon for what is; either may be missing."""
        chosen = matrices(network)
        orthogonalized = {id(each) for each in chosen}
        rest = [each for each in network.parameters() if id(each) not in orthogonalized]
        made: list[torch.optim.Optimizer] = []
        if rest:
            made.append(torch.optim.AdamW(rest, lr, self.betas, weight_decay=self.weight_decay, fused=True))
        if chosen:
            made.append(_Orthogonal(chosen, lr, self.momentum, self.weight_decay))
        return made


def _check(part: object, decays: tuple[float, ...], weight_decay: float) -> None:
    if not all(0 <= each < 1 for each in decays) or not 0 <= weight_decay < float("inf"):
        name = type(part).__name__
        raise UsageError(f"{part}", "decays of at least 0 and below 1, a weight decay of at least 0", f"{name}()")


def matrices(network: nn.Module) -> list[nn.Parameter]:
    """Find the parameters that Muon updates.

    Args:
        network: Any module.

    Returns:
        Weights of linear and convolution layers whose smaller side is at least `SMALLEST`; never embeddings.
    """
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    weights = [cast(nn.Parameter, module.weight) for module in network.modules() if isinstance(module, kinds)]
    return [weight for weight in weights if min(weight.shape[0], weight[0].numel()) >= SMALLEST]


def orthogonal(G: Float[Tensor, "many rows columns"], steps: int = 5) -> Float[Tensor, "many rows columns"]:
    """Compute U V' of each matrix U S V', with singular values between about 0.7 and 1.2 in place of ones.

    Args:
        G: Matrices, [many, rows, columns].
        steps: Newton-Schulz steps.

    Returns:
        The orthogonal factors, [many, rows, columns].
    """
    a, b, c = QUINTIC
    flip = G.shape[1] > G.shape[2]
    X = G.mT if flip else G
    X = X / (X.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.mT if flip else X


class _Orthogonal(torch.optim.Optimizer):
    """The part of Muon that updates matrices."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.alike: dict[torch.Size, list[nn.Parameter]] = {}
        for each in parameters:
            self.alike.setdefault(each.shape, []).append(each)
            self.state[each]["momentum"] = torch.zeros_like(each)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        group = self.param_groups[0]
        lr, momentum = group["lr"], group["momentum"]
        lost = getattr(self, "found_inf", torch.zeros(()))  # as torch's fused optimizers have it
        for every in self.alike.values():
            moving = [each for each in every if each.grad is not None]
            if not moving:
                continue
            weights = [distributed.to_local(each) for each in moving]
            memory = [distributed.to_local(self.state[each]["momentum"]) for each in moving]
            gradients = [distributed.to_local(each.grad) for each in moving if each.grad is not None]
            M, G = torch.stack(memory), torch.stack(gradients)
            G = torch.where(lost > 0, M, G)
            M = M.lerp(G, 1 - momentum)
            torch._foreach_copy_(memory, list(M))
            ahead = _whole(G.lerp(M, momentum), moving)
            matrix = ahead.flatten(2)
            unit = orthogonal(matrix.bfloat16() if matrix.is_cuda else matrix).to(matrix.dtype)
            counts = (1 - lost).to(G.dtype)
            moved = (-0.2 * max(matrix.shape[1:]) ** 0.5 * lr * counts * unit).view(ahead.shape)
            torch._foreach_mul_(weights, 1 - lr * group["weight_decay"] * counts)
            torch._foreach_add_(weights, _own(moved, moving))


def _whole(parts: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    """[many, ...] of whole matrices from this process's parts of them: a factor needs the whole matrix."""
    if not distributed.is_dtensor(parameters[0]):
        return parts
    return torch.stack(
        [distributed.full_tensor(distributed.as_dtensor_like(*pair)) for pair in zip(parts, parameters, strict=True)]
    )


def _own(matrices: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """This process's part of each of many whole matrices."""
    if not distributed.is_dtensor(parameters[0]):
        return list(matrices)
    return [distributed.to_local(distributed.distribute_like(*pair)) for pair in zip(matrices, parameters, strict=True)]

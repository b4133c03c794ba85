"""Features inside a denoiser: what the blocks of its network make of noisy data.

The blocks know what data look like at every level of noise. Discriminators read them (`distill/discriminator.py`), and
perceptual distances are taken in them (`objective/perceptual.py`).

A network says which of its modules have features (`feature_modules`), and along which axis (`feature_axis`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.errors import UsageError


class Seen(NamedTuple):
    """What one call of a denoiser gives.

    Args:
        mean: [rows, *shape], the believed x0.
        features: Of each block, [rows, places, width].
    """

    mean: Tensor
    features: list[Tensor]


def with_features(
    denoiser: Any, x_t: Float[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None
) -> Seen:
    """Call a denoiser, and keep the features of its blocks. One network call.

    Args:
        denoiser: A denoiser with a network.
        x_t: [rows, *shape], data at time t.
        t: [rows], times.
        condition: What is known of each row.

    Returns:
        The believed x0 and the features, in the order in which the blocks ran.

    Raises:
        UsageError: If its network does not say where its features are.
    """
    network = getattr(denoiser, "backbone", denoiser)
    modules: Sequence[nn.Module] = getattr(network, "feature_modules", ())
    if not modules:
        name = type(network).__name__
        raise UsageError(
            f"features of a {name}, which does not say where they are",
            "a network with `feature_modules`, modules whose outputs are features, and their `feature_axis`",
            "um.backbone.UNet, DiT, MLP or FrameTransformer",
        )
    axis, found = network.feature_axis, []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        found.append(output.movedim(axis, -1).flatten(1, -2) if output.ndim > 2 else output[:, None])

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        mean = denoiser(x_t, t, condition).mean
    finally:
        for handle in handles:
            handle.remove()
    return Seen(mean, found)


def feature_widths(denoiser: Any) -> list[int]:
    """The width of each block's features, found by a call with one row of zeros.

    Args:
        denoiser: A denoiser with a network.

    Returns:
        The widths, in the order of the blocks.

    Raises:
        UsageError: If its network does not say where its features are.
    """
    parameter = next(denoiser.parameters())
    x_t = parameter.new_zeros((1, *denoiser.shape))
    t = torch.full((1,), 0.5, dtype=torch.float64, device=parameter.device)
    with torch.no_grad():
        return [each.shape[-1] for each in with_features(denoiser, x_t, t, None).features]

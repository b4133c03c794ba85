"""How well what samples show agrees with the control pictures that they were asked to follow.

    r = <a - mean a, b - mean b> / (|a - mean a| |b - mean b|)        of the control picture a asked for and b computed

The correlation over pixels is 1 where the computed one is the one asked for, in any contrast, and 0 on average where
they have nothing to do with one another. The same with control pictures of other rows is what pictures of one kind
have in common.
"""

from jaxtyping import Float
from torch import Tensor

from unmelt.errors import UsageError


def control_agreement(a: Float[Tensor, "n channels h w"], b: Float[Tensor, "n channels h w"]) -> Float[Tensor, " n"]:
    """The correlation of each control picture with another.

    Args:
        a: [n, channels, height, width], control pictures.
        b: The same of others.

    Returns:
        [n], from -1 to 1; 0 where one of the two is the same everywhere.

    Raises:
        UsageError: If their shapes differ.
    """
    if a.shape != b.shape:
        raise UsageError(f"pictures of shape {tuple(a.shape)} and {tuple(b.shape)}", "the same shape", "of the samples")
    a, b = (each.flatten(1).double() - each.flatten(1).double().mean(1, keepdim=True) for each in (a, b))
    size = a.norm(dim=1) * b.norm(dim=1)
    return ((a * b).sum(1) / size.clamp_min(1e-12)).float()

"""How a condition acts on a layer: by the scale and shift that follow its normalisation.

    adaptive_norm(x) = (1 + scale) * normalise(x) + shift,      x <- x + gate * branch(adaptive_norm(x))

(Perez et al., 2018; Peebles and Xie, 2023, "adaLN-zero".) Scale, shift and gate are linear in the conditioning
vector and begin at zero, so that the output of every branch starts at 0.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def zeroed(layer: M) -> M:
    """Set all parameters of a layer to zero.

    Args:
        layer: The layer, changed in place.

    Returns:
        The layer.
    """
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def adaptive_norm(
    x: Float[Tensor, "*batch width"],
    scale: Float[Tensor, "*#batch width"],
    shift: Float[Tensor, "*#batch width"],
) -> Float[Tensor, "*batch width"]:
    """Layer normalisation, then the condition's scale and shift.

    Args:
        x: [*batch, width], features.
        scale: [*batch, width], broadcast to x.
        shift: [*batch, width], broadcast to x.

    Returns:
        (1 + scale) normalise(x) + shift, of the shape of x.
    """
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), 1 + scale)

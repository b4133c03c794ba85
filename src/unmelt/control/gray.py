"""Brightness: what is left of a picture without its colours (ITU-R BT.601)."""

from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

WEIGHTS = 0.299, 0.587, 0.114
"""Of red, green and blue."""


def luminance(x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows 1 h w"]:
    """The brightness of pictures.

    Args:
        x: [rows, 3 or any other number of channels, height, width]; other numbers than 3 are averaged.

    Returns:
        [rows, 1, height, width].
    """
    if x.shape[1] != len(WEIGHTS):
        return x.mean(1, keepdim=True)
    return (x * x.new_tensor(WEIGHTS).view(1, -1, 1, 1)).sum(1, keepdim=True)


@final
@dataclass(frozen=True, kw_only=True)
class Gray:
    """The picture without colours."""

    name: ClassVar[str] = "gray"
    channels: ClassVar[int] = 1

    def __call__(self, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows 1 h w"]:
        return luminance(x)

"""What computes a control picture of a picture, so that a network can learn to read such pictures."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

PICTURE = "control."
"""Before the name of a control network: the name of the extra condition that holds its pictures."""

SCALE = "control_scale."
"""Before the name of a control network: the name of the extra condition that holds the scales of its pictures."""


@runtime_checkable
class Control(Protocol):
    """Computes a control picture of every picture."""

    @property
    def name(self) -> str:
        """What samples call it."""

    @property
    def channels(self) -> int:
        """Channels of a control picture."""

    def __call__(self, x: Float[Tensor, "rows channels h w"]) -> Float[Tensor, "rows own h w"]:
        """Compute the control pictures.

        Args:
            x: [rows, channels, height, width], pictures in [0, 1].

        Returns:
            [rows, own channels, height, width], in [0, 1].
        """

"""A network that is given raw vectors, such as a robot's observations, and standardises them itself.

    network(x, level, vector)  =  backbone(x, level, (vector - mean) / sd)

The mean and the standard deviation of the training data are part of the network, as those of x are of the codec: what
calls it need not know the units.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError


@checked_init("um.backbone.StandardizedVector")
class StandardizedVector(CallRepr, nn.Module):
    """A backbone whose vectors are standardised first.

    Args:
        backbone: The backbone; its `vector_width` is a multiple of the numbers given.
        mean: The mean of each number of one observation; a vector may hold several observations.
        sd: The standard deviation of each.

    Raises:
        UsageError: If they do not fit the backbone, or a standard deviation is not positive.
    """

    means: Tensor
    sds: Tensor

    def __init__(self, backbone: nn.Module, mean: Sequence[float], sd: Sequence[float]) -> None:
        super().__init__()
        width = int(getattr(backbone, "vector_width", 0))
        if not mean or len(mean) != len(sd) or min(sd) <= 0 or width % len(mean) or not width:
            raise UsageError(
                f"{len(mean)} means and {len(sd)} standard deviations for vectors of {width} numbers",
                "as many of both, positive standard deviations, and a multiple of as many numbers in a vector",
                f"FrameMLP(..., vector_width={max(1, len(mean))})",
            )
        self.backbone, self.mean, self.sd = backbone, tuple(mean), tuple(sd)
        times = width // len(mean)
        self.register_buffer("means", torch.tensor(self.mean * times), persistent=False)
        self.register_buffer("sds", torch.tensor(self.sd * times), persistent=False)

    @property
    def vector_width(self) -> int:
        """Numbers in a vector."""
        return len(self.means)

    @property
    def classes(self) -> int:
        """Number of labels of the backbone."""
        return int(getattr(self.backbone, "classes", 0))

    @property
    def sequence_width(self) -> int:
        """Numbers in each token of a sequence."""
        return int(getattr(self.backbone, "sequence_width", 0))

    def forward(
        self,
        x: Float[Tensor, "rows *shape"],
        level: Float[Tensor, "rows *axes"],
        condition: Condition | None = None,
        arrival: Float[Tensor, "rows *axes"] | None = None,
    ) -> Float[Tensor, "rows *shape"]:
        """The output of the backbone.

        Args:
            x: [rows, *shape], inputs of unit size.
            level: [rows, *axes], noise levels.
            condition: What is known of each row, vectors in their own units.
            arrival: Noise levels to arrive at; None where there is none.

        Returns:
            Of the shape of x.

        Raises:
            UsageError: If the vectors have another number of numbers.
        """
        if condition is not None and (vector := condition.vector) is not None:
            if vector.shape[-1] != self.vector_width:
                raise UsageError(
                    f"the condition has a vector of {vector.shape[-1]} numbers",
                    f"the backbone was made for {self.vector_width}",
                    f"vector of shape {(*vector.shape[:-1], self.vector_width)}",
                )
            condition = replace(condition, vector=(vector.to(x) - self.means.to(x)) / self.sds.to(x))
        output: Tensor = (
            self.backbone(x, level, condition) if arrival is None else self.backbone(x, level, condition, arrival)
        )
        return output

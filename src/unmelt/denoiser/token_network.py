"""A network on tokens, made into a denoiser: what it puts out are the logits of its belief.

Nothing is added to them. That a token which has not melted is certain, and that a mask is never the answer, follow from
Bayes' rule in the process's bridge, where every process has its own such facts.
"""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.condition import Condition
from unmelt.posterior import Categorical
from unmelt.process.tokens import Tokens


class TokenNetwork(nn.Module):
    """Backbone + process. The backbone is called as `backbone(x_t, t[rows], condition)`.

    shape   of one row of x: the length, or several sides
    """

    def __init__(self, backbone: nn.Module, process: Tokens, shape: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.process, self.shape = backbone, process, tuple(shape)

    def forward(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        return Categorical(self.backbone(x_t, t.float(), condition).float())

    def at(
        self,
        x_t: Int64[Tensor, "rows length"],
        where: Bool[Tensor, "rows length"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """Belief in some places alone, one after the other; what is not asked for is not worked out."""
        return Categorical(self.backbone(x_t, t.float(), condition, where=where).float())

"""A network on tokens, made into a denoiser.

What the network puts out is what it believes of each place by all the others. What a place says of itself is known
exactly, and Bayes' rule adds it:

    log p(x0 = v | x_t) = network(x_t, t)_v + log q(x_t | x0 = v) + constant

Only for v = x_t is that more than a constant, `process.evidence`. Without it a network on uniform noise would have to
learn how sure to be of a token that stands there, which at every level is another number, up to log(vocabulary / t).
Under masks it says nothing of a mask, and of all else everything, which the process's bridge knows anyway: there
nothing is added.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.posterior import Categorical
from unmelt.process import Mask
from unmelt.process.tokens import Tokens


class TokenNetwork(CallRepr, nn.Module):
    """Backbone + process. The backbone is called as `backbone(x_t, t[rows], condition)`.

    shape   of one row of x: the length, or several sides
    """

    def __init__(self, backbone: nn.Module, process: Tokens, shape: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.process, self.shape = backbone, process, tuple(shape)

    def forward(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        logits = self.backbone(x_t, t.float(), condition).float()
        return self._seen(logits, x_t, t, ...)

    def at(
        self,
        x_t: Int64[Tensor, "rows length"],
        where: Bool[Tensor, "rows length"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """Belief in some places alone, one after the other; what is not asked for is not worked out."""
        logits = self.backbone(x_t, t.float(), condition, where=where).float()
        return self._seen(logits, x_t, t, where)

    def _seen(self, logits: Tensor, x_t: Tensor, t: Tensor, where: Any) -> Categorical:
        """The belief in these places, from what the network says of them."""
        if isinstance(self.process, Mask):
            return Categorical(logits)
        place = x_t[where].clamp_max(self.process.vocabulary - 1)[..., None]  # of a mask the evidence is 0
        said = self.process.evidence(x_t, t)[where][..., None]
        return Categorical(logits.scatter_add(-1, place, said.to(logits)))

"""A network on tokens, made into a denoiser.

The network's output at a position is the belief about its token given all other positions. What the position's own
token says is known exactly, and Bayes' rule adds it:

    log p(x0 = v | x_t) = network(x_t, t)_v + log q(x_t | x0 = v) + constant

Only for v = x_t is that more than a constant; it is `process.evidence`. Without it a network on uniform noise would
have to learn how much to trust the token it sees, a number that changes with the level, up to log(vocabulary / t).
Under masks a mask says nothing and a token everything, which the process's bridge knows anyway: there nothing is added.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.posterior import Categorical
from unmelt.process import Mask
from unmelt.process.tokens import Tokens


@checked_init("um.denoiser.TokenDenoiser")
class TokenDenoiser(CallRepr, nn.Module):
    """A network on tokens as a denoiser.

    Args:
        backbone: The network, called as `backbone(x_t, t[rows], condition)`.
        process: How tokens are corrupted: masks, uniform noise or a blend of them.
        shape: Shape of one row of x: its length, or several sides.
    """

    def __init__(self, backbone: nn.Module, process: Tokens, shape: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.process, self.shape = backbone, process, tuple(shape)

    def forward(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        """The belief at every position, given the whole row.

        Args:
            x_t: Noisy rows.
            t: Time of each row.
            condition: What is known of each row.

        Returns:
            The belief, with logits [rows, *shape, vocabulary].
        """
        logits = self.backbone(x_t, t.float(), condition).float()
        return self._with_evidence(logits, x_t, t, ...)

    def logits_at(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        where: Bool[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """The belief at some positions alone. Logits of the other positions are not computed.

        Args:
            x_t: Noisy rows.
            where: True where the belief is asked for.
            t: Time of each row.
            condition: What is known of each row.

        Returns:
            The belief, with logits [places, vocabulary], row by row.
        """
        logits = self.backbone(x_t, t.float(), condition, where=where).float()
        return self._with_evidence(logits, x_t, t, where)

    def _with_evidence(self, logits: Tensor, x_t: Tensor, t: Tensor, where: Any) -> Categorical:
        """The belief at these positions, from the network's logits there and the tokens that are seen there."""
        if isinstance(self.process, Mask):
            return Categorical(logits)
        token = x_t[where].clamp_max(self.process.vocabulary - 1)[..., None]  # of a mask the evidence is 0
        evidence = self.process.evidence(x_t, t)[where][..., None]
        return Categorical(logits.scatter_add(-1, token, evidence.to(logits)))

"""A token denoiser whose tokens of one call depend on each other, by a light head that reads what has been drawn.

    p(x0_A | x_t) = prod_k p(x0_(a_k) | features(x_t), x0_(a_1), ..., x0_(a_(k-1))),      A = {a_1, ..., a_m} any masks

The first factor is the belief of the network, as that of a `TokenDenoiser`; the others are the head's, which is called
once for each token but the first, and is a fraction of the network. With a head that is right, a call of the network
draws any number of tokens as exactly as one call for each would.
"""

from collections.abc import Sequence
from functools import partial
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone import TokenHead
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.posterior import Categorical
from unmelt.process import Mask


@final
@checked_init("um.denoiser.JointTokenDenoiser")
class JointTokenDenoiser(CallRepr, nn.Module):
    """A network on masked tokens, and a head by which tokens of one call depend on each other.

    Args:
        backbone: The network, called as `backbone(x_t, t[rows], condition, where=..., with_features=True)`.
        head: The head, of the network's width and vocabulary.
        process: The masks.
        shape: Shape of one row of x: its length, or several sides.
    """

    def __init__(self, backbone: nn.Module, head: TokenHead, process: Mask, shape: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.head, self.process, self.shape = backbone, head, process, tuple(shape)

    def forward(
        self, x_t: Int64[Tensor, "rows *shape"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        """The belief at every position, given the whole row.

        Args:
            x_t: Noisy rows.
            t: Time of each row.
            condition: What is known of each row.

        Returns:
            The belief, with logits [rows, *shape, vocabulary] and the conditionals of the head.
        """
        logits, features = self.backbone(x_t, t.float(), condition, with_features=True)
        return Categorical(logits.float(), conditionals=partial(self._conditional, self.head.projected(features)))

    def _conditional(self, projected: Tensor, rows: Tensor, places: Tensor, x: Tensor, drawn: Tensor) -> Tensor:
        return self.head.out(self.head(projected[rows], x, drawn, places[:, None])[:, 0]).float()

    def logits_at(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        where: Bool[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """The belief at some positions alone, each by itself: marginals.

        Args:
            x_t: Noisy rows.
            where: True where the belief is asked for.
            t: Time of each row.
            condition: What is known of each row.

        Returns:
            The belief, with logits [places, vocabulary], row by row.
        """
        return Categorical(self.backbone(x_t, t.float(), condition, where=where).float())

    def logits_given(
        self,
        x_t: Int64[Tensor, "rows *shape"],
        x0: Int64[Tensor, "rows *shape"],
        drawn: Bool[Tensor, "rows *shape"],
        where: Bool[Tensor, "rows *shape"],
        t: Float[Tensor, " rows"],
        condition: Condition | None = None,
    ) -> Categorical:
        """The belief at some positions, given tokens that were drawn from the same call.

        Args:
            x_t: Noisy rows, as the network reads them.
            x0: Tokens at the drawn positions; others do not count.
            drawn: True where a token has been drawn.
            where: True where the belief is asked for.
            t: Time of each row.
            condition: What is known of each row.

        Returns:
            The belief, with logits [places, vocabulary], row by row. Rows in which nothing is drawn have marginals.
        """
        drawn, where, x0 = (each.flatten(1) for each in (drawn, where, x0))
        alone = ~drawn.any(1)
        by_network = where & alone[:, None]
        marginal, features = self.backbone(
            x_t, t.float(), condition, where=by_network.view(x_t.shape), with_features=True
        )
        rest = ~alone
        every = torch.arange(x0.shape[1], device=x0.device).expand(int(rest.sum()), -1)
        h = self.head(self.head.projected(features[rest]), x0[rest], drawn[rest], every)
        given = self.head.out(h[where[rest]])
        logits = given.new_empty(int(where.sum()), given.shape[-1])
        is_alone = by_network[where]
        logits = logits.masked_scatter(is_alone[:, None], marginal).masked_scatter(~is_alone[:, None], given)
        return Categorical(logits.float())

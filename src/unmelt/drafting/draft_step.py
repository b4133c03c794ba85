"""Training of a drafter on the verifier's own laws, by cross-entropy at places drawn at random in rows of text.

    loss = - sum over j of w^(j - 1) sum_v p(v | x_1 ... x_(a + j - 1)) log q_j(v | h_1 ... h_(a - 1), x_a)

with w below 1, since a token counts only where all tokens before it are accepted. The sum is over the tokens v that the
network can draft. What the verifier says about a row is kept (`kept_states`), and many places of a row are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.drafting.hidden_drafter import HiddenDrafter
from unmelt.drafting.kept_states import KeptStates, RowStates, read_states
from unmelt.rng import Random
from unmelt.train import Batch, Phase

DECAY = 0.8
"""Weight of a token of the block, as a multiple of that of the one before it."""


def drafting_loss(
    drafter: HiddenDrafter, x: Int64[Tensor, "rows length"], places: int, rng: Random, states: RowStates | None = None
) -> Float[Tensor, " rows"]:
    """The loss of each row, per token of a block.

    Args:
        drafter: The drafter.
        x: Rows of at least two tokens more than a block.
        places: Places per row at which a block is drafted.
        rng: Draws the places.
        states: What the verifier says about the rows. None: they are read.

    Returns:
        The weighted mean cross-entropy in nats.
    """
    k, length = drafter.block, x.shape[1]
    hidden, p = read_states(drafter, x) if states is None else states
    u = rng.uniform((len(x), places), torch.float64, x.device)
    lengths = 2 + (u * (length - k - 1)).long().clamp_max(length - k - 2)  # of the text before a block
    about = (lengths[..., None] - 1 + torch.arange(k, device=x.device)).flatten(1)  # where p of the next token stands
    target = p[torch.arange(len(x), device=x.device)[:, None], about]
    log_q = drafter.logits(x, lengths, hidden).float().log_softmax(-1)
    each = -(target.view_as(log_q) * log_q).sum(-1)
    weight = DECAY ** torch.arange(k, device=x.device)
    return (each * weight).sum(-1).mean(-1) / weight.sum()


@final
@dataclass(frozen=True, eq=False)
class DraftStep:
    """A drafter's network that learns: a `TrainStep`.

    Args:
        drafter: The drafter. Its verifier does not change.
        places: Places per row at which a block is drafted.
    """

    drafter: HiddenDrafter
    places: int

    @cached_property
    def states(self) -> KeptStates:
        """What the verifier says about rows, of which each is read once."""
        return KeptStates(self.drafter)

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the network alone."""
        return {"network": self.drafter.network}

    def frozen(self) -> Sequence[nn.Module]:
        """Return the verifier."""
        return (self.drafter.verifier.model,)

    def phases(self) -> Sequence[Phase]:
        """Return one phase."""
        return (Phase(network="network", loss=self._loss),)

    def _loss(self, batch: Batch, rng: Random) -> Tensor:
        return drafting_loss(self.drafter, batch.x0, self.places, rng, self.states(batch.x0))

    def after_update(self, network: str, step: int) -> None:
        """Do nothing: no other network follows."""

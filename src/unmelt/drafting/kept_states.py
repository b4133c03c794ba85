"""What a verifier says about rows of text, which a drafter learns from: read once, and kept.

    h_i^l in layers, in bfloat16;   the last hidden state, in float16, and log Z_i = log sum_v exp(head(last_i))_v
    p(v | x_1 ... x_i) = exp(head(last_i)_v - log Z_i)

One transformer layer that drafts at many places of a row costs less than the verifier's pass over the row. Kept states
take 4.6 kB a token for SmolLM2-135M, and every epoch after the first is then several times cheaper. On a CPU a row is
read alone and rounded when it is first read, so that a resumed run goes on bit for bit. Other devices keep nothing.
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.drafting.hidden_drafter import HiddenDrafter

GIGABYTES = 4.0
"""How much is kept. Rows that do not fit are read at every visit."""


class RowStates(NamedTuple):
    """What a verifier says about rows.

    Args:
        hidden: Hidden states of the layers that the drafter reads, side by side.
        p: Probabilities of the tokens that it can draft, after each token.
    """

    hidden: Float[Tensor, "rows length features"]
    p: Float[Tensor, "rows length words"]


class _Kept(NamedTuple):
    hidden: Tensor
    last: Tensor
    log_total: Tensor


@torch.no_grad()
def read_states(drafter: HiddenDrafter, x: Int64[Tensor, "rows length"]) -> RowStates:
    """Read rows with the verifier.

    Args:
        drafter: The drafter.
        x: Rows of tokens.

    Returns:
        What the verifier says, in its own precision.
    """
    return _with_laws(drafter, *_read(drafter, x))


def _read(drafter: HiddenDrafter, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    model = drafter.verifier.model
    out = model.base_model(input_ids=x, output_hidden_states=True, use_cache=False)
    hidden = torch.cat([out.hidden_states[layer] for layer in drafter.layers], -1)
    log_total = model.get_output_embeddings()(out.last_hidden_state).float().logsumexp(-1)
    return hidden, out.last_hidden_state, log_total


def _with_laws(drafter: HiddenDrafter, hidden: Tensor, last: Tensor, log_total: Tensor) -> RowStates:
    weight, bias = drafter.head()
    logits = F.linear(last.to(weight.dtype), weight, bias).float()
    return RowStates(hidden, (logits - log_total[..., None]).exp())


@final
class KeptStates:
    """States of rows, each read once.

    Args:
        drafter: The drafter.
        gigabytes: How much is kept.
    """

    def __init__(self, drafter: HiddenDrafter, gigabytes: float = GIGABYTES) -> None:
        self.drafter, self.room = drafter, gigabytes * 1e9
        self._kept: dict[bytes, _Kept] = {}

    @torch.no_grad()
    def __call__(self, x: Int64[Tensor, "rows length"]) -> RowStates:
        """What the verifier says about rows.

        Args:
            x: Rows of tokens.

        Returns:
            As `read_states`, rounded on a CPU.
        """
        if x.device.type != "cpu":
            return read_states(self.drafter, x)
        found = [self._row(row) for row in x]
        hidden, last, log_total = (torch.stack(each) for each in zip(*found, strict=True))
        return _with_laws(self.drafter, hidden, last, log_total)

    def _row(self, row: Tensor) -> _Kept:
        key = row.numpy().tobytes()
        known = self._kept.get(key)
        if known is not None:
            return known
        hidden, last, log_total = (each[0] for each in _read(self.drafter, row[None]))
        made = _Kept(hidden.bfloat16(), last.half(), log_total)
        size = sum(each.nbytes for each in made)
        if size <= self.room:
            self.room -= size
            self._kept[key] = made
        return made

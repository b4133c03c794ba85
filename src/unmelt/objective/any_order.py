"""Masked diffusion by the number of masks rather than by time: the average over all generation orders.

    E_k E_(k positions) [ length / k * sum over the masked of -log p(x0 | the others) ],      k uniform on 1..length

The bound of masked diffusion does not depend on the schedule. This is the bound with the time integrated out
(Hoogeboom et al., 2022; Ou et al., 2025): the expected negative log-likelihood of generating the row in a random order.
It needs a denoiser that does not depend on time. A `Blockwise` denoiser generates block after block, each in its own
random order: the same sum, block by block, and with blocks of 1 the likelihood of autoregression.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.condition import Condition
from unmelt.denoiser import Blockwise
from unmelt.errors import UsageError
from unmelt.objective.counted_tokens import counted
from unmelt.objective.times import Stratified, Uniform
from unmelt.posterior import Categorical
from unmelt.process import Mask
from unmelt.rng import Random

GOLDEN = 0.6180339887498949
"""Multiples of the golden ratio, modulo 1, are evenly spread: the blocks of a row get different numbers of masks."""


@final
@checked_init("um.objective.AnyOrder")
@dataclass(frozen=True, kw_only=True)
class AnyOrder:
    """Masked diffusion's negative log-likelihood, in nats per token of a row.

    Args:
        equal_token_weights: Weigh every masked token alike, instead of every number of masks. The minimiser is the same
            and the gradient less noisy, but the loss is no bound.
        drop: Share of rows whose condition is dropped to null, for classifier-free guidance.
        padding: Token that fills rows up. Like known tokens, it is never masked and never counted. None: no padding.
        bidirectional_row_fraction: With a `Blockwise` denoiser, share of rows that are masked as a whole and read with
            full bidirectional attention.
        antithetic_masks: With a `Blockwise` denoiser, mask every row twice, in one order and in its reverse: where k of
            n tokens are masked, the other n + 1 - k are masked the second time. The clean row is computed once.

    Raises:
        UsageError: If a share is not from 0 to 1.
    """

    equal_token_weights: bool = False
    drop: float = 0.0
    padding: int | None = None
    bidirectional_row_fraction: float = 0.0
    antithetic_masks: bool = False

    def __post_init__(self) -> None:
        for name in ("drop", "bidirectional_row_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                given = f"{name}={getattr(self, name)}"
                raise UsageError(f"AnyOrder with {given}", "a share from 0 to 1", f"AnyOrder({name}=0.1)")

    def __call__(
        self, denoiser: Any, x0: Int64[Tensor, "rows *shape"], condition: Condition | None, rng: Random
    ) -> Float[Tensor, " rows"]:
        process = denoiser.process
        if not isinstance(process, Mask):
            raise UsageError(f"AnyOrder on {type(process).__name__}", "masks", "process.Mask(256), or NELBO()")
        process.check(x0)
        real = counted(x0, condition, self.padding)
        if condition is not None and self.drop > 0:
            condition = condition.drop((rng.uniform((len(x0),)) < self.drop).to(x0.device))
        if not isinstance(denoiser, Blockwise):
            return self._loss(denoiser, x0, real, condition, *_masked(real, real[0].numel(), process, rng))
        cut = len(x0) - round(self.bidirectional_row_fraction * len(x0))
        losses = []
        for reader, rows in ((denoiser, slice(None, cut)), (denoiser.as_bidirectional, slice(cut, None))):
            if len(x0[rows]):
                in_blocks = reader is denoiser
                block = denoiser.block if in_blocks else real.shape[1]
                own = None if condition is None else condition[rows]
                masks = _masked(real[rows], block, process, rng, antithetic_masks=in_blocks and self.antithetic_masks)
                losses.append(self._loss(reader, x0[rows], real[rows], own, *masks))
        return torch.cat(losses)

    def _loss(
        self,
        denoiser: Any,
        x0: Int64[Tensor, "rows *shape"],
        real: Bool[Tensor, "rows *shape"],
        condition: Condition | None,
        masked: Bool[Tensor, "rows times *shape"],
        weight: Float[Tensor, "rows times *shape"],
    ) -> Float[Tensor, " rows"]:
        process, size = denoiser.process, real.flatten(1).sum(1).clamp_min(1)
        rows, times = masked.shape[:2]
        t = process.schedule.time(1 - (masked[:, 0].flatten(1).sum(1) / size).double())
        truth = x0[:, None].expand_as(masked)
        x_t = torch.where(masked, process.mask, truth)
        if isinstance(denoiser, Blockwise):
            belief = denoiser.teacher_forced(x_t.flatten(1), x0, masked.flatten(1), t, condition)
        elif hasattr(denoiser, "logits_at"):
            belief = denoiser.logits_at(x_t[:, 0], masked[:, 0], t, condition)
        else:
            belief = Categorical(denoiser(x_t[:, 0], t, condition).logits[masked[:, 0]])
        miss = -belief.log_probabilities.gather(-1, truth[masked][:, None])[:, 0]
        loss = miss * (2.0 if self.equal_token_weights else weight[masked].to(miss))
        row = masked.flatten(1).nonzero()[:, 0]
        return torch.zeros(rows, dtype=loss.dtype, device=loss.device).index_add(0, row, loss) / (times * size)


def _masked(
    real: Bool[Tensor, "rows *shape"], block: int, process: Mask, rng: Random, antithetic_masks: bool = False
) -> tuple[Bool[Tensor, "rows times *shape"], Float[Tensor, "rows times *shape"]]:
    """Draw the masks: (True where a token is masked, number of tokens / number of masks of the token's block)."""
    rows, size = len(real), real[0].numel()
    blocks = -(-size // block)
    first = Stratified(Uniform()).draw(rows, process.schedule, rng).to(real.device)
    u = 1 - (1 - first[:, None] + GOLDEN * torch.arange(blocks, device=real.device)) % 1
    counts = F.pad(real.flatten(1), (0, blocks * block - size)).view(rows, blocks, block)
    length = counts.sum(2)
    masks = (u * length).ceil().clamp_min(1)
    chance = F.pad(rng.uniform((rows, size), torch.float64, real.device), (0, blocks * block - size))
    rank = torch.where(counts, chance.view(rows, blocks, block), 2.0).argsort(2).argsort(2)
    masked, weight = [rank < masks[..., None]], [length / masks]
    if antithetic_masks:  # the last n + 1 - k of the same order
        masked.append(rank >= masks[..., None] - 1)
        weight.append(length / (length + 1 - masks))
    where, weights = torch.stack(masked, 1) & counts[:, None], torch.stack(weight, 1)[..., None]
    shape = (rows, len(masked), *real.shape[1:])
    return tuple(x.flatten(2)[..., :size].reshape(shape) for x in (where, weights.expand_as(where)))  # type: ignore

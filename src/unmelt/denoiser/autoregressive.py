"""A causal network as a denoiser of masks, decoded from left to right.

    belief at position i = p(x0_i | x0_0, ..., x0_(i - 1))

which is right wherever all positions before i hold tokens, and a sampler that goes from left to right looks nowhere
else. So the autoregressive model has the same facade, samplers and constraints as the diffusion it is compared with.
The mask stands for the beginning of a row.
"""

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.arguments import checked_init
from unmelt.backbone.kv_cache import KVCache
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.denoiser.cached import read_block
from unmelt.errors import UsageError
from unmelt.posterior import Categorical
from unmelt.process import Mask


@final
@checked_init("um.denoiser.Autoregressive")
class Autoregressive(CallRepr, nn.Module):
    """An autoregressive model: a causal backbone that predicts the next token. A `CachedDenoiser` of block 1.

    Args:
        backbone: A causal network, with `block` = 1.
        process: The masks that stand where nothing is decoded yet.
        shape: Shape of one row: its length.
        fills_middle: Whether the model was trained on rows of prefix, suffix and middle, to decode a middle last.

    Raises:
        UsageError: If the backbone is not causal.
    """

    exact = True

    def __init__(self, backbone: nn.Module, process: Mask, shape: Sequence[int], fills_middle: bool = False) -> None:
        super().__init__()
        if getattr(backbone, "block", None) != 1:
            raise UsageError(
                f"a backbone with block={getattr(backbone, 'block', None)}", "a causal one", "Transformer(..., block=1)"
            )
        self.backbone, self.process, self.shape, self.block = backbone, process, tuple(shape), 1
        self.fills_middle = fills_middle

    def forward(
        self, x_t: Int64[Tensor, "rows length"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        """The belief at every position, each given the tokens before it.

        Args:
            x_t: Rows of tokens and masks.
            t: Time of each row, which makes no difference to an autoregressive model.
            condition: What is known of each row.

        Returns:
            The belief, with logits [rows, length, vocabulary].
        """
        return Categorical(self.backbone(self._shifted(x_t), t.float(), condition).float())

    def init_cache(self, rows: int, length: int, device: torch.device | str = "cpu") -> KVCache:
        return self.backbone.init_cache(rows, length, device)  # type: ignore[operator]

    @torch.no_grad()
    def decode_step(
        self,
        x_t: Int64[Tensor, "rows length"],
        block_start: Int64[Tensor, " rows"],
        cache: KVCache,
        condition: Condition | None = None,
    ) -> tuple[Categorical, KVCache]:
        # What is read at a position is the token before it, so its keys and values are final at once.
        return read_block(self.backbone, self._shifted(x_t), block_start, cache, condition, block=1, final=1)

    def _shifted(self, x_t: Tensor) -> Tensor:
        """What the network is given at every position: the token before."""
        return F.pad(x_t[:, :-1], (1, 0), value=self.process.mask)

"""A causal language model of `transformers` with block-causal attention: the backbone of a block diffusion.

    slot 0                 the token that begins a text;     slot 1 + i holds token i
    slot of token i        attends to slot 0, and to the tokens of its own block and of earlier ones
    logits_i               output at token i - 1, as in the causal model

(Arriola et al., 2025; from a causal model with its shift: Fast-dLLM v2, Wu et al., 2025.) Logits of a block's first
token come from the finished block before it. Nothing in a block depends on later ones, so keys and values of finished
blocks can be cached, and the cache is exact. Blocks of one token are the causal model itself.

In training one call reads the clean row, then noisy copies of it. A copy's block attends to itself and to earlier
blocks of the clean row.
"""

from __future__ import annotations

from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.backbone.kv_cache import KVCache
from unmelt.backbone.places import head_at
from unmelt.backbone.transformers_cache import TransformersCache, cache_argument
from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.errors import UsageError
from unmelt.interop.language.network import LanguageNetwork


@final
class BlockLanguageNetwork(CallRepr, nn.Module):
    """A block-causal language model, for `um.denoiser.Blockwise`.

    Args:
        network: A causal language model with its shift, after one token that begins a text.
        block: Tokens per block.

    Raises:
        UsageError: If it is another language model, or the block is below 1.
    """

    def __init__(self, network: LanguageNetwork, block: int) -> None:
        super().__init__()
        of_kind = network.is_causal and network.shifted and len(network.before) == 1 and not network.after
        if isinstance(block, bool) or block < 1 or not of_kind:
            raise UsageError(
                f"blocks of {block!r} tokens of a {network.architecture}",
                "blocks of at least 1 of a causal model, whose tokenizer has a token that begins or ends a text",
                "um.recipe.text(start='path/to/causal/model', folder='books', block=32)",
            )
        self.network, self.block, self.length = network, block, network.length

    def init_cache(self, rows: int, length: int, device: torch.device | str = "cpu") -> KVCache:
        """An empty cache for rows of this network.

        Args:
            rows: Number of rows.
            length: Positions of a row.
            device: Where the cache is allocated.

        Returns:
            The cache, with a slot more than positions.
        """
        config = self.network.network.config
        heads = config.num_attention_heads
        return KVCache.empty(
            rows=rows,
            layers=config.num_hidden_layers,
            heads=getattr(config, "num_key_value_heads", None) or heads,
            length=length + 1,
            features=getattr(config, "head_dim", None) or config.hidden_size // heads,
            dtype=self.network.network.get_input_embeddings().weight.dtype,
            device=device,
        )

    def forward(
        self,
        x: Int64[Tensor, "rows n"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
        *,
        noisy: Int64[Tensor, "rows copies_n"] | None = None,
        bidirectional: bool = False,
        cache: KVCache | None = None,
        positions: Int64[Tensor, "rows read"] | None = None,
        where: Bool[Tensor, "rows some"] | None = None,
    ) -> Float[Tensor, "*places vocabulary"]:
        """Logits at every position, or at those asked for.

        Args:
            x: Tokens and masks of the whole row.
            level: Noise level, which is not read.
            condition: What is known of each row, which is not read but with full attention.
            noisy: One or several noisy copies of x, one after the other. The logits are then theirs.
            bidirectional: Full bidirectional attention, whatever the block.
            cache: Keys and values of positions that were read before. Those that are read now are written to it.
            positions: With a cache, the positions of x that are read now; a row may have its own.
            where: True where logits are asked for, among the positions that are read. None: everywhere.

        Returns:
            Logits [rows, n, vocabulary]; with `where`, [places, vocabulary], row by row.

        Raises:
            UsageError: If x is longer than the network was made for.
        """
        if bidirectional:
            return self.network(x, level, condition, where=where)
        if x.shape[1] > self.length:
            raise UsageError(f"a row of {x.shape[1]} tokens", f"at most {self.length}", f"length={self.length}")
        if cache is not None and positions is not None:
            h = self._of_window(x, cache, positions)
            return self.network.logits_of(h) if where is None else head_at(self.network.logits_of, h, where)
        h = self._of_rows(x, noisy)
        return self.network.logits_of(h if where is None else h[where])

    def _of_rows(self, x: Tensor, noisy: Tensor | None) -> Float[Tensor, "rows some width"]:
        """What logits are made of, at every position of the row or, if there are some, of its noisy copies."""
        n = x.shape[1]
        every = torch.arange(n, device=x.device)
        tokens, real = self._with_begin(x if noisy is None else torch.cat([x, noisy], 1))
        copies = (tokens.shape[1] - 1) // n
        place = F.pad((every + 1).repeat(copies), (1, 0))
        block = F.pad((every // self.block).repeat(copies), (1, 0), value=-1)
        copy = F.pad(torch.arange(copies, device=x.device).repeat_interleave(n), (1, 0))  # 0 is the clean row
        earlier = (block < block[:, None]) & (copy == 0)
        attends = earlier | ((block == block[:, None]) & (copy == copy[:, None]))
        h = self._outputs(tokens, place.expand(len(x), -1), self._seen(attends[None], real))
        clean = h[:, :n]
        if noisy is None:
            return clean
        begins = (every % self.block == 0)[:, None]
        shifted = [F.pad(each[:, :-1], (0, 0, 1, 0)) for each in h[:, 1 + n :].split(n, 1)]
        return torch.cat([torch.where(begins, clean, each) for each in shifted], 1)

    def _of_window(self, x: Tensor, cache: KVCache, positions: Tensor) -> Float[Tensor, "rows read width"]:
        """The same at some positions. The slot before them is read again: its output is about the first of them."""
        tokens, real = self._with_begin(x)
        slots = torch.cat([positions[:, :1], positions + 1], 1)
        held = TransformersCache(cache, slots)
        keys = torch.arange(held.keys, device=x.device)
        attends = (keys - 1) // self.block <= ((slots - 1) // self.block)[..., None]
        attends = attends & (real[:, None, : held.keys] | (keys == slots[..., None]))
        return self._outputs(tokens.gather(1, slots), slots, attends, held)[:, :-1]

    def _with_begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens after the one that begins a text, and where they are no padding."""
        read, real = self.network.as_read(x)
        return F.pad(read, (1, 0), value=self.network.before[0]), F.pad(real, (1, 0), value=True)

    @staticmethod
    def _seen(attends: Tensor, real: Tensor) -> Bool[Tensor, "rows n n"]:
        """Padding is hidden from all positions but itself."""
        return attends & (real[:, None] | torch.eye(real.shape[1], dtype=torch.bool, device=real.device))

    def _outputs(self, tokens: Tensor, place: Tensor, attends: Tensor, held: TransformersCache | None = None) -> Tensor:
        model: Any = self.network.network.base_model
        given: dict[str, Any] = {} if held is None else {cache_argument(model): held}
        found = model(
            input_ids=tokens,
            position_ids=place,
            attention_mask=attends[:, None],
            use_cache=held is not None,
            **given,
        )
        outputs: Tensor = found.last_hidden_state
        return outputs

"""A causal language model of `transformers` as a verifier.

    slot j of the cache     token j, whose output is about token j + 1
    attention               token j to slots 0 ... j, given as a mask; positions are given too

The cache is this library's, with a number of slots for each row, in the place of the model's own. Rows can then be
rolled back one by one. That a model honours mask, positions and cache is tried out on a few tokens before it is used:
one that does not, such as one with a state that is no list of keys and values, is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked, checked_init
from unmelt.backbone.kv_cache import KVCache
from unmelt.backbone.transformers_cache import TransformersCache, cache_argument
from unmelt.denoiser.cached import as_rows
from unmelt.drafting.verifier import Reading, window
from unmelt.drafting.weight_layout import store_by_columns
from unmelt.encoder.pretrained import load_pretrained
from unmelt.errors import UsageError

NEAR = 1e-3
"""Largest difference of logits, as a share of the largest logit, between the model's own pass and a cached one."""

UNLIMITED = 1 << 20
"""Positions of a model that states no limit."""


@final
@checked_init("um.drafting.TransformersVerifier")
class TransformersVerifier:
    """A verifier that wraps a causal language model of transformers.

    Args:
        model: The model, in evaluation mode.
        tokenizer: Its tokenizer; None for none. It is only kept.

    Raises:
        UsageError: If the model has no output head, attends in windows, or does not honour the cache.
    """

    shortest_prompt = 1

    def __init__(self, model: Any, tokenizer: Any = None) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._check()

    @classmethod
    @checked("um.drafting.TransformersVerifier.load")
    def load(cls, path: str | Path) -> TransformersVerifier:
        """Read a model from the local disk. Nothing is downloaded, and no code that comes with it is run.

        Args:
            path: A folder with config.json, safetensors weights and a tokenizer; a .gguf file, or a folder with one.

        Returns:
            The verifier, in float32 on the CPU.

        Raises:
            UsageError: If there is no such model, or it does not honour the cache.
        """
        tokenizer, model = load_pretrained(path, writes=True)
        store_by_columns(model)
        return cls(model, tokenizer)

    @property
    def vocabulary(self) -> int:
        """Number of tokens, which are the outputs of the head."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def width(self) -> int:
        """Features of a hidden state."""
        return int(self.model.get_input_embeddings().weight.shape[1])

    @property
    def depth(self) -> int:
        """Number of layers."""
        return self._sizes[0]

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        config = self._config
        limits = [getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window")]
        if getattr(config, "use_sliding_window", True) is False:
            limits = limits[:1]
        return min([each for each in limits if isinstance(each, int) and each > 0], default=UNLIMITED)

    @property
    def _config(self) -> Any:
        return self.model.config.get_text_config()

    def init_cache(self, rows: int, length: int) -> KVCache:
        layers, heads, features = self._sizes
        weight = self.model.get_input_embeddings().weight
        sizes = {"rows": rows, "layers": layers, "heads": heads, "length": length, "features": features}
        return KVCache.empty(**sizes, dtype=weight.dtype, device=weight.device)

    @torch.no_grad()
    def read(
        self,
        x: Int64[Tensor, "rows length"],
        begin: Int64[Tensor, " rows"],
        n: int,
        cache: KVCache,
        layers: tuple[int, ...] = (),
    ) -> Reading:
        seen = window(begin - 1, n, cache, x.shape[1])
        slots = TransformersCache(seen.cache, seen.positions)
        out = self.model.base_model(
            input_ids=x.gather(1, seen.positions),
            position_ids=seen.positions,
            attention_mask=self._mask(seen.positions, slots.keys, cache.kv.dtype),
            use_cache=True,
            output_hidden_states=bool(layers),
            **{cache_argument(self.model.base_model): slots},
        )
        logits = self.model.get_output_embeddings()(out.last_hidden_state[seen.where]).float()
        hidden = (torch.cat([out.hidden_states[layer] for layer in layers], -1), seen.positions) if layers else None
        return Reading(as_rows(logits, seen.inside), seen.cache, hidden)

    def retain(self, cache: KVCache, begin: Int64[Tensor, " rows"]) -> KVCache:
        return cache.appended(begin - 1, begin)

    @staticmethod
    def _mask(positions: Int64[Tensor, "rows n"], keys: int, dtype: torch.dtype) -> Float[Tensor, "rows 1 n keys"]:
        """0 where a token attends to a slot, and the lowest number elsewhere."""
        hidden = torch.arange(keys, device=positions.device) > positions[..., None]
        return torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill(hidden, torch.finfo(dtype).min)[
            :, None
        ]

    @torch.no_grad()
    def _check(self) -> None:
        """Compare cached passes over rows at different places with a pass of the model alone."""
        needed = "a causal model of transformers whose cache is a list of keys and values, such as Llama or Qwen"
        name, instead = type(self.model).__name__, "TransformersVerifier(LlamaForCausalLM(config).eval())"
        try:
            weight = self.model.get_input_embeddings().weight
            x = (torch.arange(12, device=weight.device) * 7919 % min(self.vocabulary, len(weight))).view(2, 6)
            own = self.model(input_ids=x, use_cache=True)
            self._sizes = self._sizes_of(getattr(own, cache_argument(self.model.base_model)))
            cache, far = self.init_cache(2, 6), own.logits.float().abs().max() * NEAR
            first, turn = torch.tensor([2, 4], device=x.device), torch.arange(3, device=x.device)
            before = x.clone()
            before[0, 2:] = x[0, 0]  # tokens that are rejected and must leave nothing behind
            cache = self.retain(self.read(before, first, 3, cache).cache, first)
            found = self.read(x, first, 3, cache).logits
            truth = own.logits.float()[torch.arange(2, device=x.device)[:, None], first[:, None] - 1 + turn]
        except Exception as error:  # what another library's model raises can be anything at all
            said = (str(error).splitlines() or [repr(error)])[0]
            raise UsageError(f"a {name} that cannot be a verifier ({said})", needed, instead) from None
        if not (found - truth).abs().max() <= far:
            raise UsageError(f"a {name} whose logits with a cache are not those without", needed, instead)

    @staticmethod
    def _sizes_of(cache: Any) -> tuple[int, int, int]:
        """(layers, heads, features) of the model's own cache."""
        shapes = {(each.keys.shape[1], each.keys.shape[3]) for each in cache.layers}
        shapes |= {(each.values.shape[1], each.values.shape[3]) for each in cache.layers}
        ((heads, features),) = shapes
        return len(cache.layers), int(heads), int(features)

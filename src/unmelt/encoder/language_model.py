"""Captions as the hidden states of a frozen language model.

Text-to-image models attend to what a pretrained language model makes of a caption (Saharia et al., 2022, section 2.1):

    sequence = [h_l1 ; h_l2 ; ...],      h_l the states after layer l, h_0 the embeddings

Several layers are concatenated along the features. Real tokens never read padding: the tokenizer pads on the right, and
the attention mask excludes padding in bidirectional models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.device import device_named
from unmelt.encoder.encoder import EncodedText
from unmelt.encoder.pretrained import Pretrained, fingerprint, load_pretrained
from unmelt.encoder.state_cache import StateCache
from unmelt.errors import UsageError

ROWS = 32
"""Captions that the language model reads at a time."""


@final
@checked_init("um.encoder.LanguageModelEncoder")
@dataclass(frozen=True)
class LanguageModelEncoder:
    """Encodes captions as hidden states of a transformers model on the local disk. Frozen; nothing is downloaded.

    The model is read when its width or an encoding is first asked for. Only safetensors and GGUF weights are read, and
    no code that comes with the model is run. The weights stay in their folder: a run folder stores the path alone.

    Args:
        folder: A folder with config.json, safetensors weights and a tokenizer, as `save_pretrained` writes it; or a
            .gguf file, or a folder with one.
        layers: The layers whose states are concatenated: 0 for the embeddings, k for the states after layer k, negative
            numbers counted from the last.
        length: Tokens of a caption at most; what comes after is cut.
        device: Where the language model computes: "auto", "cpu" or "cuda". States are returned on the CPU.
        cache: Whether states are kept on disk, so that a caption is read once.

    Raises:
        UsageError: If `layers` is empty or `length` is below 1.
    """

    folder: str
    layers: tuple[int, ...] = (-1,)
    length: int = 64
    device: str = "auto"
    cache: bool = True

    def __post_init__(self) -> None:
        if not self.layers or self.length < 1:
            raise UsageError(
                f"layers={self.layers}, length={self.length}",
                "at least one layer and one token",
                f"LanguageModelEncoder({self.folder!r}, layers=(-1,), length=64)",
            )

    @cached_property
    def _loaded(self) -> Pretrained:
        tokenizer, model = load_pretrained(self.folder)
        model = getattr(model, "encoder", model) if getattr(model.config, "is_encoder_decoder", False) else model
        model.to(device_named(self.device))
        depth = int(model.config.num_hidden_layers)
        strange = [layer for layer in self.layers if not -depth - 1 <= layer <= depth]
        if strange:
            raise UsageError(
                f"layers={self.layers} of a language model with {depth} layers",
                f"numbers from {-depth - 1} to {depth}",
                f"layers=({depth // 2}, {depth})",
            )
        return Pretrained(tokenizer, model)

    @property
    def width(self) -> int:
        """The number of features of each token: the language model's width times the number of layers."""
        return len(self.layers) * int(self._loaded.model.config.hidden_size)

    @torch.no_grad()
    def __call__(self, captions: Sequence[str | None]) -> EncodedText:
        """Encode captions as hidden states.

        Args:
            captions: One caption a row; None or an empty one leaves the row without tokens.

        Returns:
            sequence [rows, length, width], float32, and mask [rows, length].

        Raises:
            UsageError: If transformers is not installed, or the folder holds no model that can be read.
        """
        given = {caption for caption in captions if caption and caption.strip()}
        if not given:
            return EncodedText(torch.zeros(len(captions), 1, self.width), torch.zeros(len(captions), 1).bool())
        known = self._cache.read(sorted(given)) if self.cache else {}
        if missing := sorted(given - known.keys()):
            read = self._read(missing)
            if self.cache:
                self._cache.write(read)
            known |= read
        length = max(len(known[caption]) for caption in given)
        sequence = torch.zeros(len(captions), length, self.width)
        mask = torch.zeros(len(captions), length, dtype=torch.bool)
        for row, caption in enumerate(captions):
            if caption in known:
                count = len(known[caption])
                sequence[row, :count], mask[row, :count] = known[caption], True
        return EncodedText(sequence, mask)

    @cached_property
    def _cache(self) -> StateCache:
        return StateCache(f"{fingerprint(self.folder)} {self.layers} {self.length}", self.width)

    def _read(self, captions: Sequence[str]) -> dict[str, Float[Tensor, "tokens width"]]:
        """The states of captions, by the language model."""
        tokenizer, model = self._loaded
        found: dict[str, Tensor] = {}
        for start in range(0, len(captions), ROWS):
            some = list(captions[start : start + ROWS])
            tokens = tokenizer(some, padding=True, truncation=True, max_length=self.length, return_tensors="pt")
            states = self._states(model, tokens["input_ids"], tokens["attention_mask"])
            real = tokens["attention_mask"].bool()
            found |= {caption: states[row][real[row]] for row, caption in enumerate(some)}
        return found

    def _states(self, model: Any, tokens: Tensor, mask: Tensor) -> Float[Tensor, "rows length width"]:
        device = model.device
        found = model(
            input_ids=tokens.to(device), attention_mask=mask.to(device), output_hidden_states=True, return_dict=True
        )
        return torch.cat([found.hidden_states[layer] for layer in self.layers], -1).float().cpu()

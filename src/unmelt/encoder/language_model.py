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
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.arguments import checked_init
from unmelt.device import device_named
from unmelt.encoder.encoder import EncodedText
from unmelt.errors import UsageError


@final
@checked_init("um.encoder.LanguageModelEncoder")
@dataclass(frozen=True)
class LanguageModelEncoder:
    """Encodes captions as hidden states of a transformers model in a local folder. Frozen; nothing is downloaded.

    The model is read when its width or an encoding is first asked for. Only safetensors weights are read, and no code
    that comes with the model is run. The weights stay in their folder: a run folder stores the path alone.

    Args:
        folder: A folder with config.json, safetensors weights and a tokenizer, as `save_pretrained` writes it.
        layers: The layers whose states are concatenated: 0 for the embeddings, k for the states after layer k, negative
            numbers counted from the last.
        length: Tokens of a caption at most; what comes after is cut.
        device: Where the language model computes: "auto", "cpu" or "cuda". States are returned on the CPU.

    Raises:
        UsageError: If `layers` is empty or `length` is below 1.
    """

    folder: str
    layers: tuple[int, ...] = (-1,)
    length: int = 64
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.layers or self.length < 1:
            raise UsageError(
                f"layers={self.layers}, length={self.length}",
                "at least one layer and one token",
                f"LanguageModelEncoder({self.folder!r}, layers=(-1,), length=64)",
            )

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """(tokenizer, model)."""
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError:
            raise UsageError(
                "transformers, which reads language models, is not installed",
                "it is an optional part of unmelt",
                "pip install 'unmelt[transformers]'",
            ) from None
        root = Path(self.folder).expanduser()
        if not (root / "config.json").is_file():
            raise UsageError(
                f"there is no language model in {root}",
                "a local folder with config.json, safetensors weights and a tokenizer",
                f"huggingface-cli download OWNER/NAME --local-dir {self.folder}",
            )
        safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(root, **safe)
            model = AutoModel.from_pretrained(root, use_safetensors=True, dtype=torch.float32, **safe)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise UsageError(
                f"the language model in {root} cannot be read ({str(error).splitlines()[0]})",
                "a model that transformers knows, with safetensors weights and a tokenizer",
                "model.save_pretrained(folder); tokenizer.save_pretrained(folder)",
            ) from None
        tokenizer.padding_side = "right"
        if tokenizer.pad_token_id is None:  # which token stands in padding makes no difference: it is never read
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
        model = getattr(model, "encoder", model) if getattr(model.config, "is_encoder_decoder", False) else model
        model.to(device_named(self.device)).eval().requires_grad_(False)
        depth = int(model.config.num_hidden_layers)
        strange = [layer for layer in self.layers if not -depth - 1 <= layer <= depth]
        if strange:
            raise UsageError(
                f"layers={self.layers} of a language model with {depth} layers",
                f"numbers from {-depth - 1} to {depth}",
                f"layers=({depth // 2}, {depth})",
            )
        return tokenizer, model

    @property
    def width(self) -> int:
        """The number of features of each token: the language model's width times the number of layers."""
        return len(self.layers) * int(self._loaded[1].config.hidden_size)

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
        tokenizer, model = self._loaded
        given = [row for row, caption in enumerate(captions) if caption and caption.strip()]
        if not given:
            return EncodedText(torch.zeros(len(captions), 1, self.width), torch.zeros(len(captions), 1).bool())
        tokens = tokenizer(
            [captions[row] for row in given],
            padding=True,
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )
        real = tokens["attention_mask"].bool()
        states = self._states(model, tokens["input_ids"], tokens["attention_mask"])
        sequence = torch.zeros(len(captions), real.shape[1], self.width)
        mask = torch.zeros(len(captions), real.shape[1], dtype=torch.bool)
        sequence[given], mask[given] = states.masked_fill(~real[..., None], 0.0), real
        return EncodedText(sequence, mask)

    def _states(self, model: Any, tokens: Tensor, mask: Tensor) -> Float[Tensor, "rows length width"]:
        device = model.device
        found = model(
            input_ids=tokens.to(device), attention_mask=mask.to(device), output_hidden_states=True, return_dict=True
        )
        return torch.cat([found.hidden_states[layer] for layer in self.layers], -1).float().cpu()

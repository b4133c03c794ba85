"""Prompts as Flux 2 and Z-Image read them: hidden states of a language model that is asked for the picture in a chat.

Flux 2 [klein] reads the states of three layers side by side, padding included. Z-Image reads those before the last
layer, of real tokens alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch

from unmelt.encoder import EncodedText
from unmelt.errors import UsageError
from unmelt.interop.text_encoder.features import Features, encoded_text, load_text_model, load_tokenizer


@final
@dataclass(frozen=True)
class ChatText:
    """The language model of a pipeline and its tokenizer. Its weights stay in the pipeline's folder.

    Args:
        folder: The pipeline's folder.
        kind: The language model's class in transformers.
        layers: The layers whose states are read side by side; negative numbers are counted from the last.
        thinking: Whether the chat leaves room for thoughts.
        padded: Whether prompts are padded to `length`, and padding is read.
        length: Tokens of a prompt at most.
        device: Where it computes: "auto", "cpu" or "cuda".
    """

    folder: str
    kind: str = "Qwen3ForCausalLM"
    layers: tuple[int, ...] = (-2,)
    thinking: bool = False
    padded: bool = False
    length: int = 512
    device: str = "auto"

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        root = Path(self.folder)
        model = load_text_model(root / "text_encoder", self.kind, self.device)
        depth = int(model.config.num_hidden_layers)
        if odd := [layer for layer in self.layers if not -depth - 1 <= layer <= depth]:
            raise UsageError(
                f"layer {odd[0]} of a language model with {depth} layers", f"at most {depth}", "the whole pipeline"
            )
        return load_tokenizer(root / "tokenizer", "Qwen2Tokenizer"), model

    @property
    def width(self) -> int:
        """Features of each token."""
        return len(self.layers) * int(self._parts[1].config.hidden_size)

    def read(self, prompt: str) -> Features:
        """Encode a prompt.

        Args:
            prompt: The prompt, which may be empty.

        Returns:
            The states of its tokens, and of those of the chat around it.
        """
        tokenizer, model = self._parts
        messages = [{"role": "user", "content": prompt}]
        settings: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True}
        text = tokenizer.apply_chat_template(messages, **settings, enable_thinking=self.thinking)
        padding = "max_length" if self.padded else False
        given = tokenizer([text], padding=padding, truncation=True, max_length=self.length, return_tensors="pt")
        base = getattr(model, "model", model)  # its head is not needed
        found = base(
            input_ids=given.input_ids.to(model.device),
            attention_mask=given.attention_mask.to(model.device),
            output_hidden_states=True,
            use_cache=False,
        )
        return Features(torch.cat([found.hidden_states[layer][0] for layer in self.layers], -1))

    def __call__(self, captions: Sequence[str | None]) -> EncodedText:
        return encoded_text(self, self.width, captions)

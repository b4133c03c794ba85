"""Prompts as Stable Diffusion reads them: the last states of CLIP's text encoder, padding included.

CLIP (Radford et al., 2021) reads 77 tokens, and the network attends to all of them (Rombach et al., 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

from unmelt.encoder import EncodedText
from unmelt.errors import UsageError
from unmelt.interop.text_encoder.features import Features, encoded_text, load_text_model, load_tokenizer, padded_tokens


@final
@dataclass(frozen=True)
class StableDiffusionText:
    """The text encoder of a Stable Diffusion pipeline. Its weights stay in the pipeline's folder.

    Args:
        folder: The pipeline's folder.
        device: Where it computes: "auto", "cpu" or "cuda".
    """

    folder: str
    device: str = "auto"

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        root = Path(self.folder)
        model = load_text_model(root / "text_encoder", "CLIPTextModel", self.device)
        if getattr(model.config, "use_attention_mask", False):
            raise UsageError(
                "a text encoder with use_attention_mask=True",
                "one that reads padding, as CLIP's do",
                "another pipeline",
            )
        return load_tokenizer(root / "tokenizer", "CLIPTokenizer"), model

    @property
    def width(self) -> int:
        """Features of each token."""
        return int(self._parts[1].config.hidden_size)

    def read(self, prompt: str) -> Features:
        """Encode a prompt.

        Args:
            prompt: The prompt, which may be empty.

        Returns:
            A vector for each of CLIP's tokens.
        """
        tokenizer, model = self._parts
        return Features(model(padded_tokens(tokenizer, prompt).to(model.device))[0][0])

    def __call__(self, captions: Sequence[str | None]) -> EncodedText:
        return encoded_text(self, self.width, captions)

"""Prompts as Stable Diffusion XL and 3 read them with CLIP: states before the last layer of two text encoders.

    tokens = [h_1 ; h_2],      pooled = the projected state of the last token, of the second encoder (of both, in 3)

(Podell et al., 2023, section 2.1; Esser et al., 2024, section 3.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from unmelt.encoder import EncodedText, EncodedVector
from unmelt.interop.text_encoder.features import (
    Features,
    encoded_text,
    encoded_vectors,
    load_text_model,
    load_tokenizer,
    padded_tokens,
)


class ClipStates(NamedTuple):
    """What one text encoder makes of a prompt.

    Args:
        tokens: Its states before the last layer.
        pooled: The projected state of the last token; that of an encoder without projection has the encoder's width.
    """

    tokens: Float[Tensor, "length width"]
    pooled: Float[Tensor, " features"]


class ClipReader(NamedTuple):
    """A text encoder of CLIP and its tokenizer.

    Args:
        tokenizer: The tokenizer.
        model: The text encoder.
    """

    tokenizer: Any
    model: Any

    def read(self, prompt: str, length: int | None = None) -> ClipStates:
        """Encode a prompt.

        Args:
            prompt: The prompt.
            length: Tokens, padding included. None: as many as the tokenizer is made for.

        Returns:
            Its states.
        """
        tokens = padded_tokens(self.tokenizer, prompt, length).to(self.model.device)
        found = self.model(tokens, output_hidden_states=True)
        pooled = getattr(found, "text_embeds", None)
        return ClipStates(found.hidden_states[-2][0], (found.pooler_output if pooled is None else pooled)[0])


@final
@dataclass(frozen=True)
class StableDiffusionXLText:
    """The text encoders of a Stable Diffusion XL pipeline. Their weights stay in the pipeline's folder.

    Args:
        folder: The pipeline's folder.
        device: Where they compute: "auto", "cpu" or "cuda".
    """

    folder: str
    device: str = "auto"

    @cached_property
    def _readers(self) -> tuple[ClipReader, ClipReader]:
        root = Path(self.folder)
        first = load_text_model(root / "text_encoder", "CLIPTextModel", self.device)
        second = load_text_model(root / "text_encoder_2", "CLIPTextModelWithProjection", self.device)
        tokenizers = [load_tokenizer(root / name, "CLIPTokenizer") for name in ("tokenizer", "tokenizer_2")]
        return ClipReader(tokenizers[0], first), ClipReader(tokenizers[1], second)

    @property
    def width(self) -> int:
        """Features of each token."""
        return sum(int(reader.model.config.hidden_size) for reader in self._readers)

    def read(self, prompt: str) -> Features:
        """Encode a prompt.

        Args:
            prompt: The prompt, which may be empty.

        Returns:
            The states of both encoders side by side, and the pooled vector of the second.
        """
        first, second = (reader.read(prompt) for reader in self._readers)
        return Features(torch.cat([first.tokens, second.tokens], -1), second.pooled)

    def __call__(self, captions: Sequence[str | None]) -> EncodedText:
        return encoded_text(self, self.width, captions)

    def vectors(self, captions: Sequence[str | None]) -> EncodedVector:
        """Pooled vectors of captions.

        Args:
            captions: One a row; None or an empty one for none.

        Returns:
            values [rows, features] and given [rows].
        """
        return encoded_vectors(self, captions)

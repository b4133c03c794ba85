"""Prompts as Stable Diffusion 3 reads them: two text encoders of CLIP, and T5 after them.

tokens = [h_1 ; h_2 ; 0] then T5's,      pooled = [pooled_1 ; pooled_2]

(Esser et al., 2024, section 3.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F

from unmelt.encoder import EncodedText, EncodedVector
from unmelt.interop.text_encoder.features import (
    Features,
    encoded_text,
    encoded_vectors,
    load_text_model,
    load_tokenizer,
    padded_tokens,
)
from unmelt.interop.text_encoder.stable_diffusion_xl import ClipReader


@final
@dataclass(frozen=True)
class StableDiffusion3Text:
    """The text encoders of a Stable Diffusion 3 pipeline. Their weights stay in the pipeline's folder.

    Args:
        folder: The pipeline's folder.
        width: Features of each token, to which CLIP's are padded with zeros.
        has_t5: Whether there is a T5; its tokens are zeros otherwise.
        length: Tokens of T5, padding included.
        device: Where they compute: "auto", "cpu" or "cuda".
    """

    folder: str
    width: int = 4096
    has_t5: bool = True
    length: int = 256
    device: str = "auto"

    @cached_property
    def _clips(self) -> tuple[ClipReader, ...]:
        root, kind = Path(self.folder), "CLIPTextModelWithProjection"
        return tuple(
            ClipReader(
                load_tokenizer(root / f"tokenizer{end}", "CLIPTokenizer"),
                load_text_model(root / f"text_encoder{end}", kind, self.device),
            )
            for end in ("", "_2")
        )

    @cached_property
    def _t5(self) -> tuple[Any, Any]:
        root = Path(self.folder)
        tokenizer = load_tokenizer(root / "tokenizer_3", "T5Tokenizer")
        return tokenizer, load_text_model(root / "text_encoder_3", "T5EncoderModel", self.device)

    def read(self, prompt: str) -> Features:
        """Encode a prompt.

        Args:
            prompt: The prompt, which may be empty.

        Returns:
            Tokens of CLIP, then of T5, and the pooled vectors of CLIP.
        """
        length = self._clips[0].tokenizer.model_max_length
        first, second = (reader.read(prompt, length) for reader in self._clips)
        tokens = torch.cat([first.tokens, second.tokens], -1).cpu()
        tokens = F.pad(tokens, (0, self.width - tokens.shape[1]))
        more = torch.zeros(self.length, self.width)
        if self.has_t5:
            tokenizer, model = self._t5
            more = model(padded_tokens(tokenizer, prompt, self.length).to(model.device))[0][0].cpu()
        return Features(torch.cat([tokens, more]), torch.cat([first.pooled, second.pooled]))

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

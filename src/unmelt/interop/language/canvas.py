"""DiffusionGemma as a denoiser of uniform noise: a causal encoder reads the prompt, a decoder refines a canvas.

    belief at the canvas = logits of decoder(canvas, given encoder([before] prompt))

The prompt of a row is the known tokens that it begins with. The decoder reads the canvas as it is, noise and all, and
its logits are the belief itself: unlike in `TokenDenoiser`, nothing is added for what a position's own token says. The
model was also trained to read its own last logits (self-conditioning). A denoiser has no memory, and that input stays
empty, as in a part of its training. The rules by which its own pipeline commits tokens are not here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unmelt.call_repr import CallRepr
from unmelt.codec import PretrainedTokenizer
from unmelt.condition import Condition
from unmelt.encoder.pretrained import transformers_package
from unmelt.errors import UsageError
from unmelt.interop.language.files import LanguageFolder, read_network, read_tokenizer
from unmelt.interop.language.network import (
    configuration,
    settings_of,
    with_copies,
    without_copies,
    without_initial_weights,
)
from unmelt.posterior import Categorical
from unmelt.process import Uniform

CANVAS = "DiffusionGemmaForBlockDiffusion"
"""The class of transformers."""


@final
class CanvasNetwork(CallRepr, nn.Module):
    """A DiffusionGemma, called as `network(x, level, condition)`.

    Args:
        settings: Its configuration, as JSON.
        vocabulary: Tokens that logits come out for.
        length: Tokens of the longest row, prompt included; no more than the model's canvas.
        before: Tokens that are read before a prompt; one at least, since the encoder cannot read nothing.

    Raises:
        UsageError: If the model does not take the settings, or the length or `before` does not fit.
    """

    def __init__(self, *, settings: str, vocabulary: int, length: int, before: Sequence[int]) -> None:
        super().__init__()
        self.settings, self.vocabulary, self.length, self.before = settings, vocabulary, length, tuple(before)
        kind = getattr(transformers_package(), CANVAS, None)
        if kind is None:
            raise UsageError(f"a transformers without {CANVAS}", "a newer one", "pip install --upgrade transformers")
        self.network: Any = kind(configuration(kind, json.loads(settings))).float()
        most = self.network.config.canvas_length
        if not self.before or not 1 <= length <= most:
            raise UsageError(
                f"length={length} and before={self.before}",
                f"1 to {most} tokens, the model's canvas, and a token that begins a text",
                f"length={most}",
            )
        self.register_state_dict_post_hook(without_copies)
        self.register_load_state_dict_pre_hook(with_copies)

    def forward(
        self, x: Int64[Tensor, "rows n"], level: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Float[Tensor, "rows n vocabulary"]:
        """Logits of the canvas; 0 at the prompt.

        Args:
            x: Noisy rows.
            level: Noise level, which is not read.
            condition: What is known of each row; its first known tokens are the prompt.

        Returns:
            Logits.
        """
        known = None if condition is None else condition.known_tokens
        known = torch.full_like(x, -1) if known is None else known
        prompt = (known >= 0).int().cummin(1).values.sum(1)
        logits = torch.zeros(*x.shape, self.vocabulary, device=x.device)
        for size in prompt.unique().tolist():
            rows = prompt == size
            if size == x.shape[1]:
                continue
            begin = x.new_tensor(self.before).expand(int(rows.sum()), -1)
            found = self.network(
                input_ids=torch.cat([begin, known[rows, :size]], 1), decoder_input_ids=x[rows, size:]
            ).logits
            logits[rows, size:] = found[..., : self.vocabulary].float()
        return logits


@final
class CanvasDenoiser(CallRepr, nn.Module):
    """A `CanvasNetwork` as a denoiser, whose logits are the belief as they are.

    Args:
        backbone: The network.
        process: Uniform noise.
        shape: Shape of one row: its length.
    """

    def __init__(self, backbone: nn.Module, process: Uniform, shape: Sequence[int]) -> None:
        super().__init__()
        self.backbone, self.process, self.shape = backbone, process, tuple(shape)

    def forward(
        self, x_t: Int64[Tensor, "rows n"], t: Float[Tensor, " rows"], condition: Condition | None = None
    ) -> Categorical:
        """The belief at every position.

        Args:
            x_t: Noisy rows.
            t: Time of each row.
            condition: What is known of each row.

        Returns:
            The belief, with logits [rows, n, vocabulary].
        """
        return Categorical(self.backbone(x_t, t.float(), condition))


def read_canvas_model(
    found: LanguageFolder, length: int | None, special_tokens_in_text: bool
) -> tuple[CanvasNetwork, PretrainedTokenizer]:
    """Read a DiffusionGemma.

    Args:
        found: Where it is.
        length: Tokens of the longest row. None: as many as its canvas has.
        special_tokens_in_text: Whether names of special tokens in a text are read as those tokens.

    Returns:
        Network and tokenizer. The vocabulary is the model's whole table, of which its noise was drawn.

    Raises:
        UsageError: If files are damaged, or the tokenizer has no tokens that begin and end a text.
    """
    theirs, network = read_tokenizer(found), read_network(found)
    vocabulary, begin, end = network.get_input_embeddings().weight.shape[0], theirs.bos_token_id, theirs.eos_token_id
    if begin is None or end is None or max(theirs.get_vocab().values()) >= vocabulary:
        raise UsageError(
            f"the tokenizer in {found.root}",
            f"one with bos_token and eos_token, of {vocabulary} tokens at most",
            "the files as they were saved together",
        )
    length = network.config.canvas_length if length is None else length
    with without_initial_weights():
        made = CanvasNetwork(
            settings=settings_of(network.config), vocabulary=vocabulary, length=length, before=(begin,)
        )
    made.network = network
    tokenizer = PretrainedTokenizer.of(
        theirs.backend_tokenizer.to_str(),
        vocabulary=vocabulary,
        end=end,
        padding=end if theirs.pad_token_id is None else theirs.pad_token_id,
        special_tokens_in_text=special_tokens_in_text,
    )
    return made.eval(), tokenizer

"""A language model of `transformers` as a backbone on tokens and masks.

Rows of unmelt are read with what the model was trained to find around a text, and every position gets its logits:

    read         [before] x_1 ... x_n [after]          the mask of unmelt as the model's own mask token
    logits_i     output at x_i                         masked language models, LLaDA (Nie et al., 2025)
    logits_i     output at x_(i - 1)                   `shifted`: causal models, Dream, DiffuLLaMA (Gong et al., 2025)

In a shifted model the output at the last token of `before` gives x_1; without one, that at x_1 itself does, which is
right only where x_1 is known. Causal models are read with full attention. A condition may narrow it: its extra
"attention" is [rows, 1 + n, 1 + n], True where a position may attend to another, position 0 being all of `before`.

Tokens keep the numbers that they have in the model. Logits of the mask, of padding and of numbers that stand for no
token are -inf, so that a belief is about text alone. Padding is hidden from all other positions. Only classes of
transformers itself are made, and only from a description in JSON: no code that comes with a model is run.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unmelt.call_repr import CallRepr
from unmelt.condition import Condition
from unmelt.encoder.pretrained import transformers_package
from unmelt.errors import UsageError

CAUSAL = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "MistralForCausalLM", "GPT2LMHeadModel")
"""Causal classes whose logits are their head's output, and whose attention a mask of four dimensions replaces."""

MASKED = "ForMaskedLM"
"""End of the names of masked language models."""

ATTENTION = "attention"
"""Name of the extra condition that says which positions attend to which."""

UNUSED_SETTINGS = ("auto_map", "quantization_config", "attn_implementation", "experts_implementation")
"""Settings that name code, kernels or formats which are not used. Those that begin with _ are not used either."""

UNLIMITED = 1 << 20
"""Positions of a model that states no limit."""


@final
class LanguageNetwork(CallRepr, nn.Module):
    """A masked or causal language model of transformers, called as `network(x, level, condition)`.

    Args:
        architecture: Its class in transformers: any "...ForMaskedLM", or one of `CAUSAL`.
        settings: Its configuration, as JSON.
        vocabulary: Tokens that logits come out for, numbered as in the model; x may hold `vocabulary` too, the mask.
        mask_token: The token that the model reads in place of a mask.
        length: Tokens of the longest row.
        padding: Token that fills rows up; None for none.
        end: Token that ends a text; None for none. Where a row ends with it or with padding, `after` is hidden.
        excluded: Further tokens whose logits are -inf.
        before: Tokens that are read before a row.
        after: Tokens that are read after it.
        shifted: Whether the output at a token is about the next one.

    Raises:
        UsageError: If there is no such class, or it does not take the settings.
    """

    ruled_out: Tensor

    def __init__(
        self,
        *,
        architecture: str,
        settings: str,
        vocabulary: int,
        mask_token: int,
        length: int,
        padding: int | None = None,
        end: int | None = None,
        excluded: Sequence[int] = (),
        before: Sequence[int] = (),
        after: Sequence[int] = (),
        shifted: bool = False,
    ) -> None:
        super().__init__()
        self.architecture, self.settings = architecture, settings
        self.vocabulary, self.mask_token, self.length = vocabulary, mask_token, length
        self.padding, self.end, self.excluded = padding, end, tuple(excluded)
        self.before, self.after, self.shifted = tuple(before), tuple(after), shifted
        self.network = made(architecture, settings)
        rows = self.network.get_input_embeddings().weight.shape[0]
        self._check(rows)
        out = {*self.excluded, mask_token, *([] if padding is None else [padding])}
        self.register_buffer("ruled_out", torch.zeros(vocabulary, dtype=torch.bool), persistent=False)
        self.ruled_out[[each for each in out if each < vocabulary]] = True
        self.register_state_dict_post_hook(without_copies)
        self.register_load_state_dict_pre_hook(with_copies)

    @property
    def is_causal(self) -> bool:
        """Whether the model was made to attend to earlier positions only."""
        return self.architecture in CAUSAL

    def forward(
        self,
        x: Int64[Tensor, "rows n"],
        level: Float[Tensor, " rows"],
        condition: Condition | None = None,
        *,
        where: Bool[Tensor, "rows n"] | None = None,
    ) -> Float[Tensor, "*places vocabulary"]:
        """Logits at every position, or at those asked for.

        Args:
            x: Tokens and masks.
            level: Noise level, which is not read.
            condition: What is known of each row; its extra "attention" narrows the attention of a causal model.
            where: True where logits are asked for. None: everywhere.

        Returns:
            Logits [rows, n, vocabulary]; with `where`, [places, vocabulary], row by row.

        Raises:
            UsageError: If x is longer than the network was made for.
        """
        n = x.shape[1]
        if n > self.length:
            raise UsageError(f"a row of {n} tokens", f"at most {self.length}", f"length={self.length}")
        read, real = self.as_read(x)
        ended = ~real[:, -1:] if self.end is None else ~real[:, -1:] | (x[:, -1:] == self.end)
        before, after = (read.new_tensor(each).expand(len(x), -1) for each in (self.before, self.after))
        tokens = torch.cat([before, read, after], 1)
        seen = torch.cat([torch.ones_like(before, dtype=torch.bool), real, ~ended.expand(after.shape)], 1)
        first = len(self.before)
        if not self.is_causal:
            logits = self.network(input_ids=tokens, attention_mask=seen.long()).logits[:, first : first + n]
            return self._about_text(logits if where is None else logits[where])
        h = self.network.base_model(
            input_ids=tokens, attention_mask=self._attention(seen, n, condition), use_cache=False
        ).last_hidden_state
        if not self.shifted:
            h = h[:, first : first + n]
        elif first:
            h = h[:, first - 1 : first - 1 + n]
        else:
            h = torch.cat([h[:, :1], h[:, : n - 1]], 1)
        return self.logits_of(h if where is None else h[where])

    def as_read(self, x: Int64[Tensor, "rows n"]) -> tuple[Int64[Tensor, "rows n"], Bool[Tensor, "rows n"]]:
        """Tokens and masks as the model is given them.

        Args:
            x: Tokens and masks.

        Returns:
            The model's own numbers, and True where there is no padding.
        """
        read = torch.where(x == self.vocabulary, self.mask_token, x)
        real = torch.ones_like(x, dtype=torch.bool) if self.padding is None else x != self.padding
        if self.padding is not None:  # its own embedding where it has one: some models count it for positions
            read = torch.where(real, read, self.padding if self.padding < self._embeddings else 0)
        return read, real

    def logits_of(self, h: Float[Tensor, "*places width"]) -> Float[Tensor, "*places vocabulary"]:
        """Logits of the vocabulary, by the model's head.

        Args:
            h: Outputs of a causal model before its head.

        Returns:
            The logits, -inf where a number is no token of a text.
        """
        return self._about_text(self.network.get_output_embeddings()(h))

    @property
    def _embeddings(self) -> int:
        return int(self.network.get_input_embeddings().weight.shape[0])

    def _attention(
        self, seen: Bool[Tensor, "rows read"], n: int, condition: Condition | None
    ) -> Bool[Tensor, "rows 1 read read"]:
        """True where a position that is read attends to another; always to itself."""
        rows, read = seen.shape
        every = torch.arange(read, device=seen.device)
        attends = (seen[:, None] | (every == every[:, None])).expand(rows, read, read)
        narrowed = None if condition is None else condition.extra.get(ATTENTION)
        if narrowed is not None:
            first = len(self.before)
            number = (every - first + 1).clamp(0, n)  # tokens of `before` share number 0; `after` goes with the last
            own = narrowed[:, number][:, :, number]
            within = (every < first) & (every[:, None] < first)
            attends = attends & torch.where(within, every <= every[:, None], own)
        return attends[:, None]

    def _about_text(self, logits: Tensor) -> Tensor:
        """Logits of the vocabulary, -inf where a number is no token of a text."""
        short = self.vocabulary - logits.shape[-1]
        logits = F.pad(logits, (0, short), value=-torch.inf) if short > 0 else logits[..., : self.vocabulary]
        return logits.masked_fill(self.ruled_out, -torch.inf)

    def _check(self, rows: int) -> None:
        strange = [each for each in (self.mask_token, *self.before, *self.after) if not 0 <= each < rows]
        longest = positions(self.network) - len(self.before) - len(self.after)
        if strange or self.vocabulary < 1 or not 1 <= self.length <= longest:
            raise UsageError(
                f"mask_token={self.mask_token}, before={self.before}, after={self.after}, length={self.length} for"
                f" {rows} embeddings and rows of {longest}",
                "tokens that have an embedding, and rows that fit",
                f"length={max(1, min(self.length, longest))}",
            )


def positions(network: Any) -> int:
    """Number of positions that a language model has.

    Args:
        network: The model.

    Returns:
        Tokens of the longest row that it reads.
    """
    most = getattr(network.config, "max_position_embeddings", None)
    if not isinstance(most, int) or most < 1:
        return UNLIMITED
    taken = 0
    for name, module in network.named_modules():  # RoBERTa counts positions from the number after padding's
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            taken = module.padding_idx + 1
    return most - taken


def made(architecture: str, settings: str) -> Any:
    """A language model with random weights.

    Args:
        architecture: Its class in transformers.
        settings: Its configuration, as JSON.

    Returns:
        The model, in float32.

    Raises:
        UsageError: If there is no such class, or it does not take the settings.
    """
    kind = architecture_named(architecture)
    try:
        return kind(configuration(kind, json.loads(settings))).float()
    except UsageError:
        raise
    except Exception as error:  # a wrong value can make a constructor raise anything at all
        raise UsageError(
            f"settings that {architecture} cannot take ({(str(error).splitlines() or [repr(error)])[0]})",
            "those of its config.json",
            "the file as it was saved",
        ) from None


def without_initial_weights() -> AbstractContextManager[Any]:
    """A context in which models are made without drawing the weights that are loaded afterwards."""
    try:
        return import_module("transformers.initialization").no_init_weights()
    except ImportError:  # before transformers 5
        return nullcontext()


def configuration(kind: Any, settings: Any) -> Any:
    """The configuration of a class, by the attention that needs no package.

    Args:
        kind: A class of transformers.
        settings: Settings by name, as in config.json.

    Returns:
        The configuration.
    """
    plain = {name: value for name, value in dict(settings).items() if name not in UNUSED_SETTINGS and name[:1] != "_"}
    found = kind.config_class.from_dict(plain)
    found._attn_implementation = "sdpa" if getattr(kind, "_supports_sdpa", False) else "eager"
    return found


def settings_of(found: Any) -> str:
    """A configuration as `LanguageNetwork` keeps it.

    Args:
        found: A configuration of transformers.

    Returns:
        JSON.
    """
    plain = json.loads(found.to_json_string(use_diff=False))
    return json.dumps({name: plain[name] for name in plain if name not in UNUSED_SETTINGS and name[:1] != "_"})


def architecture_named(name: str) -> Any:
    """A class of transformers that is known to work here.

    Args:
        name: Its name.

    Returns:
        The class.

    Raises:
        UsageError: If it is not known.
    """
    transformers = transformers_package()
    kind = getattr(transformers, name, None) if name in CAUSAL or name.endswith(MASKED) else None
    takes = () if kind is None else inspect.signature(kind.forward).parameters
    if kind is None or not {"input_ids", "attention_mask"} <= set(takes):
        raise UsageError(
            f"a language model of class {name!r}",
            f"a class of transformers that ends in {MASKED}, or {', '.join(CAUSAL)}",
            "another model",
        )
    return kind


def _copies(network: nn.Module) -> dict[str, str]:
    """Names of weights that are another one, such as a head that is the embedding, with the name of that one."""
    first: dict[int, str] = {}
    every = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    return {name: first[id(value)] for name, value in every if first.setdefault(id(value), name) != name}


def without_copies(module: Any, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """A hook of `state_dict`: each weight once, as a file of safetensors can hold it.

    Args:
        module: A module with a language model as `network`.
        state: Its tensors by name, changed in place.
        prefix: Of the module's names.
        metadata: Not read.
    """
    for name in _copies(module.network):
        state.pop(f"{prefix}network.{name}", None)


def with_copies(module: Any, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """A hook of `load_state_dict`: the weights that `without_copies` left out.

    Args:
        module: A module with a language model as `network`.
        state: Tensors by name, changed in place.
        prefix: Of the module's names.
        rest: Not read.
    """
    for name, of in _copies(module.network).items():
        if f"{prefix}network.{of}" in state:
            state.setdefault(f"{prefix}network.{name}", state[f"{prefix}network.{of}"])

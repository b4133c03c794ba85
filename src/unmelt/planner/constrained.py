"""A causal language model that may continue a text in given ways only.

The options are strings; the probability of one is that of its tokens, of which the options' trie says which may follow:

    log p(option | text) = sum_k log p(token_k | text, token_1 .. token_(k-1))

One forward pass scores all options of all texts. Its rows are the branches of the trie down to its last tokens but one,
so that options of one token each take one row a text. What all texts begin with is read once, and its keys and values
are kept.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

ROWS = 64
"""Rows of a forward pass at most."""


class Reading(NamedTuple):
    """A text that the model has read.

    Args:
        tokens: Its tokens.
        past: Keys and values of all tokens but the last one.
    """

    tokens: tuple[int, ...]
    past: Any


def branches(options: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The paths of a trie whose reading gives the probability of every option.

    Args:
        options: The tokens of each option, at least one.

    Returns:
        The options without their last tokens, and of those the ones that begin no other.
    """
    inner = sorted({option[:-1] for option in options})
    followed = [*inner[1:], ()]  # in this order, a path stands right before those that it begins
    return [path for path, after in zip(inner, followed, strict=True) if path != after[: len(path)] or path == after]


@final
class ConstrainedDecoder:
    """Scores options as continuations of texts.

    Args:
        tokenizer: The tokenizer of the model.
        model: A causal model of transformers that gives logits.
    """

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self.tokenizer, self.model = tokenizer, model
        known = inspect.signature(model.forward).parameters
        self.cache_name = (
            "cache" if "cache" in known else "past_key_values"
        )  # as transformers calls it, since 5 and before

    def tokens(self, text: str) -> tuple[int, ...]:
        """The tokens of a text, without marks of begin and end.

        Args:
            text: The text.

        Returns:
            Its tokens.
        """
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.no_grad()
    def read(self, text: str, after: Reading | None = None) -> Reading:
        """Read a text, so that what follows it can be scored.

        Args:
            text: The text, of at least one token.
            after: What was read before it; None for nothing.

        Returns:
            Both together. `after` itself stays as it is.
        """
        from transformers import DynamicCache

        before = () if after is None else after.tokens
        tokens = (*before, *self.tokens(text))
        past = DynamicCache() if after is None else copy.deepcopy(after.past)
        if unread := tokens[max(len(before) - 1, 0) : -1]:
            self._run([unread], past)
        return Reading(tokens, past)

    def _run(self, tokens: Sequence[Sequence[int]], past: Any) -> Tensor:
        """The logits of rows of tokens after what is in a cache, to which they are added."""
        rows = torch.tensor(tokens, device=self.model.device)
        return self.model(input_ids=rows, use_cache=True, **{self.cache_name: past}).logits.cpu()

    @torch.no_grad()
    def log_probs(
        self, reading: Reading, texts: Sequence[str], options: Sequence[str]
    ) -> Float[Tensor, "texts options"]:
        """Score the same options after several texts.

        Args:
            reading: What all the texts follow.
            texts: The texts; "" for what was read alone.
            options: The options, none of them empty.

        Returns:
            log p of each option after each text.
        """
        spelled = [self.tokens(option) for option in options]
        paths = branches(spelled)
        rows = [(at, (reading.tokens[-1], *self.tokens(text)), path) for at, text in enumerate(texts) for path in paths]
        found = torch.full((len(texts), len(options)), -torch.inf, dtype=torch.float64)
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            for (at, text, path), logits in zip(some, self._logits(reading, some), strict=True):
                known = logits[len(text) - 1 : len(text) + len(path)].double().log_softmax(-1)
                for number, option in enumerate(spelled):
                    if option[:-1] == path[: len(option) - 1]:
                        steps = torch.arange(len(option))
                        found[at, number] = known[steps, torch.tensor(option)].sum()
        return found

    def _logits(self, reading: Reading, rows: Sequence[tuple[int, tuple[int, ...], tuple[int, ...]]]) -> list[Tensor]:
        """The logits of rows at all their tokens. They are padded on the right, where no token reads padding."""
        sequences = [(*text, *path) for _, text, path in rows]
        length = max(map(len, sequences))
        past = copy.deepcopy(reading.past)
        if len(reading.tokens) > 1:
            past.batch_repeat_interleave(len(rows))
        return list(self._run([[*each, *[0] * (length - len(each))] for each in sequences], past))

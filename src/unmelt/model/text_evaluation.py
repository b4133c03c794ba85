"""Evaluation of text models: log-likelihoods, bits per byte of held-out text, and questions answered correctly.

Log-likelihoods are exact for an autoregressive model. For a masked one they are the variational bound, an average over
the orders in which the text can be decoded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.condition import Condition
from unmelt.data import GAP_MARKER, Arrays, Questions, Source
from unmelt.denoiser import Autoregressive, Blockwise, Denoiser
from unmelt.errors import UsageError
from unmelt.likelihood import Estimate, bound_on_tokens
from unmelt.model.judging import note_other_data
from unmelt.model.map_chunks import map_chunks
from unmelt.model.request import check_rows
from unmelt.objective import AnyOrder, AttentionAnnealing
from unmelt.rng import fold
from unmelt.train import distributed

if TYPE_CHECKING:
    from unmelt.model.text_model import TextModel

CHUNK = 64
"""Rows judged at a time."""

ENDLESS = 512
"""Rows to be judged by of a source that has no end."""

GREEDY = 0.0
"""The temperature at which the likeliest token is drawn. The order of unmasking does not depend on it."""


def negative_log_likelihood(
    model: TextModel,
    tokens: Int64[Tensor, "rows length"],
    known: Int64[Tensor, "rows length"],
    draws: int,
    seed: int,
    denoiser: Denoiser | None = None,
) -> Estimate:
    """-log p of the tokens that are not known, given those that are, or the bound on it.

    Args:
        model: The model, with its objective.
        tokens: [rows, length], whole rows.
        known: [rows, length], the tokens that are known, -1 elsewhere.
        draws: Draws of the number and positions of masks, for each row.
        seed: Seed of the draws.
        denoiser: Whose belief counts. None: the model's, bidirectional where a token is known after a gap.

    Returns:
        Values [rows] in nats and their standard errors [rows].

    Raises:
        UsageError: If the model has no objective.
    """
    loss = model.objective
    if loss is None:
        raise UsageError("a model without an objective", "one made by a recipe", "um.recipe.code()")
    loss = loss.objective if isinstance(loss, AttentionAnnealing) else loss
    if isinstance(loss, AnyOrder):
        loss = dataclasses.replace(
            loss, equal_token_weights=False, bidirectional_row_fraction=0.0
        )  # the bound, however trained
    if denoiser is None:
        is_ahead = isinstance(model.denoiser, Blockwise) and model.denoiser.also_bidirectional
        is_ahead = is_ahead and model.canvas.known_after_gap(known)
        denoiser = model.denoiser.as_bidirectional if is_ahead else model.denoiser
    if not len(tokens):
        return Estimate(torch.zeros(0), torch.zeros(0))
    draws = draws_of(model, draws)
    with model.active_adapter_on():
        return bound_on_tokens(loss, denoiser, tokens, Condition(known_tokens=known), draws=draws, seed=seed)


def draws_of(model: TextModel, draws: int) -> int:
    """The number of draws of masks that a likelihood averages over.

    Args:
        model: The model.
        draws: The number for a model whose likelihood is a bound.

    Returns:
        `draws`, or 1 for an autoregressive model, whose likelihood is exact.
    """
    return 1 if isinstance(model.denoiser, Autoregressive) else draws


def evaluate(model: TextModel, rows: int | None, draws: int, seed: int) -> dict[str, Any]:
    """Bits per byte of the held-out text, and the share of questions answered right.

    Args:
        model: The model, with held-out text or questions.
        rows: Rows of held-out text, and questions of each kind. None: all.
        draws: Draws of masks, for each row.
        seed: Seed of the draws.

    Returns:
        Figures by name.

    Raises:
        UsageError: If there is nothing to judge by.
    """
    if rows is not None:
        check_rows(rows)
    if (model.held_out is None and model.questions is None) or model.objective is None:
        raise UsageError(
            "a model without text to be judged by", "one made by a recipe", "um.recipe.code().fit().evaluate()"
        )
    scores: dict[str, Any] = {}
    note_other_data(model)
    if model.held_out is not None:
        scores = _bits_per_byte(model, model.held_out, rows, draws, seed, None)
        if isinstance(model.denoiser, Blockwise) and model.denoiser.also_bidirectional:
            any_order = _bits_per_byte(model, model.held_out, rows, draws, seed, model.denoiser.as_bidirectional)
            named = {"bits_per_byte": "", "bits_per_byte_error": "_error"}
            scores |= {f"bits_per_byte_any_order{end}": any_order[name] for name, end in named.items()}
    for name, asked in (model.questions() if model.questions is not None else {}).items():
        scores[name] = score(model, Questions(asked.asked[:rows], asked.answers[:rows]))
    return {**scores, "draws": draws_of(model, draws), "seed": seed}


def _bits_per_byte(
    model: TextModel, source: Source, rows: int | None, draws: int, seed: int, denoiser: Denoiser | None
) -> dict[str, Any]:
    if isinstance(source, Arrays):
        values, condition = source.values if rows is None else source.values[:rows], None
    else:
        values, condition = source.batch(0, rows or ENDLESS)
    sizes, padding = model.tokenizer.sizes, model.tokenizer.special("padding")
    known = torch.where(values == padding, values, -1)
    if condition is not None and condition.known_tokens is not None:
        known = torch.where(condition.known_tokens >= 0, condition.known_tokens, known)

    def of_chunk(chunk: slice) -> Tensor:
        tokens, there = values[chunk].to(model.device), known[chunk].to(model.device)
        found = negative_log_likelihood(model, tokens, there, draws, fold(seed, chunk.start), denoiser)
        return torch.stack([found.value, found.error.square()], 1)

    independent = not distributed.is_sharded(model.denoiser)
    nats, squares = (
        map_chunks(len(values), min(CHUNK, model.rows_at_once), of_chunk, "judging", independent).sum(0).tolist()
    )
    new = known < 0
    size = int(sizes[values[new]].sum())
    return {
        "bits_per_byte": nats / size / math.log(2),
        "bits_per_byte_error": math.sqrt(squares) / size / math.log(2),
        "nats_per_token": nats / int(new.sum()),
        "bytes": size,
        "exact": isinstance(model.denoiser, Autoregressive),
    }


def score(model: TextModel, questions: Questions) -> float | None:
    """The share of questions answered right, letter for letter, with the likeliest tokens, one at a time.

    Args:
        model: The model.
        questions: What it is asked, and the answers.

    Returns:
        The share; None where a causal model would have to see what comes after.

    Raises:
        UsageError: If there is no question.
    """
    if not questions.asked:
        raise UsageError("no questions", "one at least", f"Questions(['1 + 1 = {GAP_MARKER}'], ['1 + 1 = 2'])")
    gaps_are_last = all(
        text.endswith(GAP_MARKER) and GAP_MARKER not in text.rstrip(GAP_MARKER) for text in questions.asked
    )
    if model.is_causal and not model.fills_middle and not gaps_are_last:
        return None
    settings: dict[str, Any] = {"temperature": GREEDY, "steps": model.length, "sampler": model.greedy_sampler}
    found = model.infill(list(questions.asked), text_is_complete=True, **settings)
    right = [made == answer for made, answer in zip(found, questions.answers, strict=True)]
    return sum(right) / len(right)


def log_likelihood(model: TextModel, pieces: Sequence[tuple[str, str, str]], draws: int, seed: int) -> Estimate:
    """log p of texts between prompt and suffix.

    Args:
        model: The model.
        pieces: (prompt, text, suffix) of each.
        draws: Draws of masks, for each text.
        seed: Seed of the draws.

    Returns:
        Values [texts] in nats and their standard errors [texts].
    """
    if not pieces:
        return Estimate(torch.zeros(0), torch.zeros(0))
    found = []
    for number, piece in enumerate(pieces):
        tokens, known = (each.to(model.device) for each in model.canvas.around(*piece))
        found.append(negative_log_likelihood(model, tokens, known, draws, fold(seed, number)))
    return Estimate(-torch.cat([each.value for each in found]), torch.cat([each.error for each in found]))

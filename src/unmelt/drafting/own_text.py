"""Rows of tokens for a drafter to learn from: those of a folder of text, and those that the verifier writes itself.

A drafter is asked for what the verifier would write after its own text, so that is the best text to learn from. Each of
its rows begins with the beginning of a row of the folder. It is written once, and kept in the cache by what it depends
on: verifier, beginnings, temperature and seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.cache_folder import cache_folder
from unmelt.drafting.pretrained_verifier import PretrainedVerifier
from unmelt.drafting.speculative import decode
from unmelt.drafting.transformers_verifier import TransformersVerifier
from unmelt.errors import UsageError
from unmelt.progress import Progress
from unmelt.rng import fold
from unmelt.train.atomic_files import read_tensors, write_tensors

ROWS = 32
"""Rows that the verifier writes at a time, and that a file of the cache holds."""


def token_rows(texts: Iterable[str], verifier: TransformersVerifier, length: int) -> Int64[Tensor, "n length"]:
    """Rows of the tokens of all texts, one after the other, each followed by the end token.

    Args:
        texts: The texts.
        verifier: The verifier, with its tokenizer.
        length: Tokens in a row; what is left at the end is dropped.

    Returns:
        The rows; none of less text than one row has.

    Raises:
        UsageError: If the verifier has no tokenizer, or rows are longer than it reads.
    """
    if verifier.tokenizer is None:
        given, needed = "a verifier without a tokenizer", "the tokenizer that it was trained with"
        raise UsageError(given, needed, "TransformersVerifier.load(path)")
    if not 1 <= length <= verifier.length:
        given = f"length={length} for a verifier of {verifier.length} tokens"
        raise UsageError(given, f"1 to {verifier.length} tokens in a row", f"length={min(128, verifier.length)}")
    end, tokens = verifier.tokenizer.eos_token_id, list[int]()
    for each in texts:
        tokens += verifier.tokenizer(each, add_special_tokens=False, verbose=False)["input_ids"]
        tokens += [] if end is None else [end]
    n = len(tokens) // length
    return torch.tensor(tokens[: n * length], dtype=torch.int64).view(n, length)


def own_rows(
    described: PretrainedVerifier,
    rows: Int64[Tensor, "n length"],
    kept: int,
    temperature: float = 1.0,
    seed: int = 0,
    quiet: bool = False,
) -> Int64[Tensor, "n length"]:
    """Rows that the verifier writes, or those in the cache.

    Args:
        described: The verifier.
        rows: Rows of text.
        kept: Tokens at the beginning of each row that stay.
        temperature: Of what is written; 0 is greedy.
        seed: Seed of what is written.
        quiet: Whether to report nothing.

    Returns:
        The rows, as long as before.

    Raises:
        UsageError: If the cache cannot be written to.
    """
    progress, found = Progress("rows by the verifier", len(rows), quiet), [rows[:0]]
    for number, some in enumerate(rows.split(ROWS)):
        starts, seeds = some[:, :kept], [fold(seed, number * ROWS + row) for row in range(len(some))]
        about = f"{described.weights} {described.tokenizer} {tuple(some.shape)} {temperature} {seeds}"
        key = hashlib.sha256(about.encode() + starts.contiguous().numpy().tobytes()).hexdigest()[:32]
        path = cache_folder() / "own_text" / f"{key}.safetensors"
        known = path.is_file()
        if known:
            tokens = read_tensors(path)[0].get("tokens", some[:0])
            known = tokens.shape == some.shape and tokens.dtype == some.dtype
        if not known:
            more = some.shape[1] - kept
            made = decode(described.loaded, starts.tolist(), more, temperature=temperature, seed=seeds).tokens
            tokens = torch.cat([starts, torch.tensor(made)], 1)
            _write(path, tokens)
        found.append(tokens)
        progress.advance(len(some))
    return torch.cat(found)


def _write(path: Path, tokens: Tensor) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the cache {path.parent} cannot be written ({error.strerror})",
            "a folder that can be written to",
            "UNMELT_CACHE=another/folder unmelt ...",
        ) from None
    write_tensors(path, {"tokens": tokens})

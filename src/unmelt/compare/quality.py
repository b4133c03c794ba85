"""Quality of generated text, in numbers to be compared with those of real text.

    judge        nats per token by an autoregressive model: low is likely, and repetition lowers it cheaply
    entropy      nats per token of the text's own unigrams: repetition lowers it
    lines        share of the lines that are Python by themselves

Each of the three says little without the other two.
"""

import ast
import re
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from unmelt.compare.decoding_modes import DecodingMode
from unmelt.model import TextModel

CHUNK = 16
HEADS = ("if", "for", "while", "with", "def", "class", "try", "except", "finally", "else", "elif", "async")


@dataclass(frozen=True)
class Quality:
    """Quality of some rows of text.

    Args:
        judge: Nats per token by the judge.
        entropy: Nats per token of the rows' own unigrams.
        lines: Share of lines that are Python by themselves.
    """

    judge: float
    entropy: float
    lines: float


def quality(x: Int64[Tensor, "rows tokens"], writer: TextModel, judge: TextModel) -> Quality:
    """Measure the quality of rows of tokens.

    Args:
        x: The rows.
        writer: The model that generated them; its tokenizer decodes them.
        judge: The autoregressive judge. If its tokenizer differs, it judges as much of each text as fits its length.

    Returns:
        The quality.
    """
    nats, tokens = 0.0, 0
    for row in x if writer.tokenizer == judge.tokenizer else _retokenized(judge, x, writer):
        nats, tokens = nats - judge.log_likelihood(row[None]).value.item(), tokens + len(row)
    found = [each for row in x.tolist() for each in lines(writer.tokenizer.decode(row))[1:-1]]
    good = sum(map(is_python, found)) / max(1, len(found))
    entropies = [_entropy(row) for row in x.tolist()]
    return Quality(nats / max(1, tokens), float(np.mean(entropies)), good)


def _retokenized(judge: TextModel, x: Tensor, writer: TextModel) -> Iterator[Tensor]:
    for row in x.tolist():
        tokens = judge.tokenizer.encode(writer.tokenizer.decode(row))[: judge.length]
        if tokens:
            yield torch.tensor(tokens)


def _entropy(row: list[int]) -> float:
    shares = np.array(list(Counter(row).values())) / len(row)
    return float(-(shares * np.log(shares)).sum())


def lines(text: str) -> list[str]:
    """The lines of a text.

    Args:
        text: The text.

    Returns:
        Its lines without line ends.
    """
    return text.splitlines()


def is_python(line: str) -> bool:
    """Whether a line is a statement, the head of a compound statement, a comment, or empty.

    Lines inside multi-line expressions count as wrong, in real text too.

    Args:
        line: The line.

    Returns:
        True if it parses.
    """
    line = line.strip()
    if re.match(rf"({'|'.join(HEADS)})\b", line) and line.endswith(":"):
        line = _opening_statement(line) + line + " pass"
    try:
        ast.parse(line)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _opening_statement(line: str) -> str:
    """The statement that must come before the line: an if for else and elif, a try for except and finally."""
    if line.startswith(("else", "elif")):
        return "if x: pass\n"
    return "try: pass\n" if line.startswith(("except", "finally")) else ""


@torch.no_grad()
def generate_rows(
    model: TextModel, mode: DecodingMode, tokens: int, rows: int, seed: int = 0
) -> Int64[Tensor, "rows tokens"]:
    """Generate rows of tokens without a prompt.

    Args:
        model: The text model.
        mode: The decoding mode.
        tokens: Tokens in each row.
        rows: Number of rows.
        seed: Seed of the first row; the others follow it.

    Returns:
        The rows.
    """
    parts = []
    for first in range(0, rows, CHUNK):
        seeds = [seed + row for row in range(first, min(first + CHUNK, rows))]
        frames = model.trajectory(len(seeds), length=tokens, seed=seeds, **mode.settings)
        parts.append(deque(frames, maxlen=1).pop().x)
    return torch.cat(parts)

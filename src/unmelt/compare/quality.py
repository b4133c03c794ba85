"""How good what was written is, beside the same numbers of real text.

    judge        nats a token that an autoregressive model gives it: low is likely, and can be cheaply had by repetition
    entropy      nats a token of its own unigrams: what repetition lacks
    lines        the share of its lines that are Python by themselves

No number of these says much without the other two.
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
    judge: float
    entropy: float
    lines: float


def quality(x: Int64[Tensor, "rows tokens"], writer: TextModel, judge: TextModel) -> Quality:
    """Of rows of tokens; a judge with another tokenizer reads as much of their text as it has room for."""
    nats, tokens = 0.0, 0
    for row in x if writer.tokenizer == judge.tokenizer else _as_read_by(judge, x, writer):
        nats, tokens = nats - judge.log_likelihood(row[None]).value.item(), tokens + len(row)
    found = [each for row in x.tolist() for each in lines(writer.tokenizer.decode(row))[1:-1]]
    good = sum(map(is_python, found)) / max(1, len(found))
    entropies = [_entropy(row) for row in x.tolist()]
    return Quality(nats / max(1, tokens), float(np.mean(entropies)), good)


def _as_read_by(judge: TextModel, x: Tensor, writer: TextModel) -> Iterator[Tensor]:
    for row in x.tolist():
        tokens = judge.tokenizer.encode(writer.tokenizer.decode(row))[: judge.length]
        if tokens:
            yield torch.tensor(tokens)


def _entropy(row: list[int]) -> float:
    shares = np.array(list(Counter(row).values())) / len(row)
    return float(-(shares * np.log(shares)).sum())


def lines(text: str) -> list[str]:
    return text.splitlines()


def is_python(line: str) -> bool:
    """Whether a line is a statement, the head of one, or nothing but a comment; what is inside others counts as wrong,
    in real text too."""
    line = line.strip()
    if re.match(rf"({'|'.join(HEADS)})\b", line) and line.endswith(":"):
        line = {"e": "if x: pass\n", "f": "try: pass\n"}.get(_needs(line), "") + line + " pass"
    try:
        ast.parse(line)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _needs(line: str) -> str:
    """What has to stand before: an if for else, a try for except and finally."""
    if line.startswith(("else", "elif")):
        return "e"
    return "f" if line.startswith(("except", "finally")) else ""


@torch.no_grad()
def written(
    model: TextModel, mode: DecodingMode, tokens: int, rows: int, seed: int = 0
) -> Int64[Tensor, "rows tokens"]:
    """Rows of tokens from nothing."""
    parts = []
    for first in range(0, rows, CHUNK):
        seeds = [seed + row for row in range(first, min(first + CHUNK, rows))]
        frames = model.trajectory(len(seeds), length=tokens, seed=seeds, **mode.settings)
        parts.append(deque(frames, maxlen=1).pop().x)
    return torch.cat(parts)

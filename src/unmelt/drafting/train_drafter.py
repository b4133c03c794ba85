"""Training of a drafter on the verifier's own hidden states and laws; see `hidden_drafter` for the loss.

A step reads a batch of rows with the verifier, without gradient, and draws several places in each row, after which a
block is to be drafted. Text that the verifier wrote itself is the best to learn from; any text of its kind will do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from unmelt.arguments import checked
from unmelt.data.text import documents
from unmelt.drafting.hidden_drafter import HiddenDrafter
from unmelt.drafting.transformers_verifier import TransformersVerifier
from unmelt.errors import UsageError
from unmelt.rng import Stream, fold, seeded

DECAY = 0.8
"""Weight of a token of the block, as a multiple of that of the one before it."""

WARMUP = 0.1
"""Share of the steps in which the learning rate rises."""


@checked("um.drafting.train_drafter")
def train_drafter(
    verifier: TransformersVerifier,
    text: str | Path | Int64[Tensor, "n length"],
    *,
    layers: Sequence[int] | None = None,
    block: int = 8,
    context: int = 32,
    depth: int = 1,
    heads: int = 4,
    length: int = 128,
    steps: int = 1000,
    batch: int = 8,
    places: int = 8,
    lr: float = 1e-3,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> HiddenDrafter:
    """Train a drafter for a verifier. The verifier does not change.

    Args:
        verifier: The verifier, with its tokenizer where `text` is a path.
        text: A file or folder of text; or rows of tokens.
        layers: The verifier's layers that are read. None: one after a quarter, a half and all but one of them.
        block: Tokens of the longest draft.
        context: Tokens that the drafter reads, the last ones.
        depth: Transformer layers of the drafter.
        heads: Attention heads of the drafter.
        length: Tokens of a row, where `text` is a path.
        steps: Training steps.
        batch: Rows per step.
        places: Places per row at which a block is drafted.
        lr: Peak learning rate of AdamW, reached after a tenth of the steps; it falls to 0 by a cosine.
        seed: Seed of weights, rows and places.
        on_step: Called with the number of the step and its loss.

    Returns:
        The drafter.

    Raises:
        UsageError: If there is too little text, or a number is out of range.
    """
    rows = text if isinstance(text, Tensor) else _rows(verifier, text, length)
    if not len(rows) or rows.shape[1] < block + 2:
        raise UsageError(
            f"{len(rows)} rows of {rows.shape[1]} tokens for blocks of {block}",
            f"at least one row of {block + 2} tokens",
            "more text, or a smaller block",
        )
    if min(steps, batch, places) < 1 or not lr > 0:
        given = f"steps={steps}, batch={batch}, places={places}, lr={lr}"
        raise UsageError(given, "numbers above 0", "steps=1000, batch=8, places=8, lr=1e-3")
    depths = verifier.init_cache(1, 1).kv.shape[1]
    layers = layers or sorted({max(1, depths // 4), max(1, depths // 2), max(1, depths - 1)})
    device, rng = verifier.init_cache(1, 1).kv.device, Stream(fold(seed, 1))
    with seeded(fold(seed, 0)):
        drafter = HiddenDrafter(verifier, layers=layers, block=block, context=context, depth=depth, heads=heads)
    drafter = drafter.to(device).train()
    optimizer = torch.optim.AdamW(drafter.parameters(), lr=lr, weight_decay=0.01)
    for step in range(steps):
        rise, fall = (step + 1) / max(1.0, WARMUP * steps), 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, rise) * fall
        chosen = (rng.uniform((batch,), torch.float64) * len(rows)).long()
        loss = drafting_loss(drafter, rows[chosen].to(device), places, rng)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(drafter.parameters(), 1.0)
        optimizer.step()
        if on_step is not None:
            on_step(step, loss.item())
    return drafter.eval().requires_grad_(False)


def drafting_loss(
    drafter: HiddenDrafter, x: Int64[Tensor, "rows length"], places: int, rng: Stream
) -> Float[Tensor, ""]:
    """The loss on a batch of rows, per token of a block.

    Args:
        drafter: The drafter.
        x: Rows of tokens.
        places: Places per row at which a block is drafted.
        rng: Draws the places.

    Returns:
        The weighted mean cross-entropy in nats.
    """
    k, length = drafter.block, x.shape[1]
    with torch.no_grad():
        out = drafter.verifier.model(input_ids=x, output_hidden_states=True, use_cache=False)
        hidden = torch.cat([out.hidden_states[layer] for layer in drafter.layers], -1)
    u = rng.uniform((len(x), places), torch.float64, x.device)
    lengths = 2 + (u * (length - k - 1)).long().clamp_max(
        length - k - 2
    )  # of the text before a block: 2 ... length - k
    row = torch.arange(len(x), device=x.device).repeat_interleave(places)
    flat = lengths.flatten()
    log_q = drafter.logits(x[row], flat, hidden[row]).float().log_softmax(-1)
    about = flat[:, None] - 1 + torch.arange(k, device=x.device)  # the output at a token is about the next one
    p = out.logits[row[:, None], about].float().softmax(-1)
    weight = DECAY ** torch.arange(k, device=x.device)
    return -((p * log_q).sum(-1) * weight).sum() / (weight.sum() * len(flat))


def _rows(verifier: TransformersVerifier, path: str | Path, length: int) -> Int64[Tensor, "n length"]:
    """Rows of tokens of all documents, one after the other; what is left at the end is dropped."""
    if verifier.tokenizer is None:
        given, needed = "a verifier without a tokenizer", "rows of tokens, or a tokenizer"
        raise UsageError(given, needed, "TransformersVerifier.load(path)")
    found, _ = documents(path)
    end, tokens = verifier.tokenizer.eos_token_id, list[int]()
    for each in found:
        tokens += verifier.tokenizer.encode(each.text, add_special_tokens=False)
        tokens += [] if end is None else [end]
    n = len(tokens) // length
    return torch.tensor(tokens[: n * length], dtype=torch.int64).view(n, length)

"""A drafter for a language model on your disk: its text in fewer passes, with the law it has."""

from typing import Literal

import torch

from unmelt.data import Arrays, documents, split_documents
from unmelt.data.split import SplitBy
from unmelt.drafting import DraftNetwork, PretrainedVerifier, TransformersVerifier
from unmelt.drafting.own_text import own_rows, token_rows
from unmelt.errors import UsageError
from unmelt.model import DrafterModel
from unmelt.recipe.origin import Folder, recorded
from unmelt.rng import fold, seeded
from unmelt.train import Training
from unmelt.train.lr_schedule import Cosine


@recorded
def drafter(
    *,
    verifier: Folder,
    text: Folder,
    column: str = "text",
    own_text: int = 0,
    own_temperature: float = 1.0,
    held_out: float = 0.1,
    split: SplitBy = "content",
    length: int = 128,
    layers: tuple[int, ...] | None = None,
    block: int = 8,
    context: int = 32,
    depth: int = 1,
    heads: int = 4,
    words: int = 8192,
    places: int = 32,
    steps: int = 1000,
    batch: int = 4,
    lr: float = 1e-3,
    ema: float = 0.99,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    seed: int = 0,
    save_every: int = 100,
    picture_every: int = 100,
) -> DrafterModel:
    """A small network that drafts blocks of tokens for a language model, which verifies them.

    Args:
        verifier: The language model: a folder of transformers or a .gguf file.
        text: Path of text of the kind that is to be written: a file, a folder, or .jsonl.
        column: Column of the text in JSON lines.
        own_text: Rows that the verifier writes itself, after the first quarters of rows of the text; they are half of
            what is learned from. Written once and kept in the cache. 0 for the text alone.
        own_temperature: Temperature that the verifier writes them with; 0 is greedy.
        held_out: Share of the documents held out for evaluation; of a single document, its end.
        split: What decides an item's side: its own content, or its position.
        length: Tokens in a training row.
        layers: The verifier's layers that are read. Default: one after a quarter, a half and all but one of them.
        block: Tokens of the longest draft.
        context: Tokens that the network reads, the last ones.
        depth: Transformer layers of the network.
        heads: Attention heads; twice their number must divide the verifier's width.
        words: How many tokens it can draft, the most frequent ones of the text; 0 for all of the verifier's.
        places: Places per row at which a block is drafted in training.
        steps: Training steps.
        batch: Rows per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        precision: Precision of matrix products; auto is bfloat16 where the device supports it.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between previews; 0 for none.

    Returns:
        The untrained drafter.

    Raises:
        UsageError: If there is no verifier or too little text, or settings do not fit the verifier.
    """
    if words < 0:
        raise UsageError(f"words={words}", "a number of tokens, 0 for all", "words=8192")
    if own_text < 0:
        raise UsageError(f"own_text={own_text}", "a number of rows, 0 or more", "own_text=500")
    if length < block + 2:
        raise UsageError(f"length={length} for blocks of {block}", f"at least {block + 2} tokens", "length=128")
    found, report = documents(text, column)
    kept, out = split_documents(found, held_out, seed, split)
    read = TransformersVerifier.load(verifier)
    described = PretrainedVerifier.of(read, verifier)
    rows, judged = (token_rows((each.text for each in part), read, length) for part in (kept, out))
    if not len(rows):
        raise UsageError(
            f"{report} in {text}: less than one row of {length} tokens to learn from", "more text", "length=32"
        )
    if own_text:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(fold(seed, 2)))
        own = own_rows(described, rows[order[:own_text]], max(1, length // 4), own_temperature, fold(seed, 3))
        rows = torch.cat([rows, own.repeat(max(1, len(rows) // len(own)), 1)])
    with seeded(seed):
        network = DraftNetwork(
            width=read.width,
            layers=layers or sorted({max(1, read.depth // 4), max(1, read.depth // 2), max(1, read.depth - 1)}),
            block=block,
            context=context,
            depth=depth,
            heads=heads,
            words=words if words < read.vocabulary else 0,
        )
    with torch.no_grad():  # logits begin with a spread of about one, in place of one that would first be unlearned
        network.norm.weight.fill_(1 / read.model.get_output_embeddings().weight.norm(dim=1).mean())
    if network.words:
        frequent = rows.flatten().bincount(minlength=read.vocabulary).argsort(descending=True, stable=True)
        network.drafted.copy_(frequent[:words].sort().values)
    return DrafterModel(
        network=network,
        verifier=described,
        places=places,
        training=Training(
            steps=steps,
            batch=batch,
            lr=lr,
            ema=ema,
            lr_schedule=Cosine(warmup=max(1, steps // 10)),
            precision=precision,
            seed=seed,
            save_every=save_every,
            picture_every=picture_every,
        ),
        source=Arrays(rows, seed=seed),
        held_out=Arrays(judged, seed=seed) if len(judged) else None,
        notes=str(report),
    )

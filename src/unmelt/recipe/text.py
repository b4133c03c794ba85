"""Your own text."""

from typing import Literal

from unmelt.codec import BPE, Bytes, Tokenizer
from unmelt.data import documents, pack_tokens, split_documents
from unmelt.data.split import SplitBy
from unmelt.data.text import check_length
from unmelt.errors import UsageError
from unmelt.interop.language.model import read_language_model
from unmelt.model import TextModel
from unmelt.recipe.origin import Folder, recorded
from unmelt.recipe.started_text import check_start, started_text_model
from unmelt.recipe.text_model import TrainingArgs, TransformerSize, text_model


@recorded
def text(
    *,
    folder: Folder,
    kind: Literal["masked", "uniform", "autoregressive"] = "masked",
    column: str = "text",
    held_out: float = 0.1,
    split: SplitBy = "content",
    length: int = 256,
    vocabulary: int = 2048,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    block: int = 0,
    bidirectional_row_fraction: float = 0.25,
    fim_rate: float = 0.0,
    start: Folder = "",
    anneal: int = 1000,
    lora: int = 0,
    steps: int = 10_000,
    batch: int = 16,
    lr: float | None = None,
    ema: float = 0.99,
    seed: int = 0,
    save_every: int = 500,
    picture_every: int = 500,
) -> TextModel:
    """Text from files, a folder or JSON lines; files that are not text are counted and left out.

    Args:
        folder: Path of the text: a file, a folder, or .jsonl.
        kind: Masked diffusion, uniform diffusion, or autoregression.
        column: Column of the text in JSON lines.
        held_out: Share of the documents held out for evaluation; of a single document, its end.
        split: What decides an item's side: its own content, or its position, as in version 0.1.0.
        length: Tokens in a row.
        vocabulary: Vocabulary size: bytes, byte pairs and special tokens; 0 for bytes alone.
        width: Features per token of the transformer.
        depth: Number of transformer layers.
        heads: Attention heads; twice their number must divide width.
        block: Tokens per attention block, generated block by block; 0 for full bidirectional attention.
        bidirectional_row_fraction: With blocks, share of rows that train full bidirectional attention, for infilling.
        fim_rate: Share of rows that train fill in the middle; autoregression only.
        start: A language model to start from, in place of random weights: a folder of transformers or a .gguf file.
            Tokenizer and network are its own, so that vocabulary, width, depth and heads have no meaning. A causal one
            may have blocks.
        anneal: With a causal `start` and no blocks, training steps in which attention grows from causal to full, half
            of all at most; 0: full from the first step on.
        lora: With `start`, rank of a low-rank adapter that learns in place of all weights; 0: all weights learn.
        steps: Training steps.
        batch: Rows per step.
        lr: Peak learning rate. Default: 4e-3; with `start` 1e-4, or 1e-3 for an adapter.
        ema: Decay of the averaged weights.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.

    Returns:
        The untrained model.

    Raises:
        UsageError: If settings do not go together, or there is no text or no language model where one is named.
    """
    check_length(length)
    if str(start):
        changed = {"kind": kind != "masked", "fim_rate": fim_rate != 0}
        changed |= {"vocabulary": vocabulary != 2048, "width": width != 128, "depth": depth != 4, "heads": heads != 4}
        check_start([name for name, differs in changed.items() if differs], anneal, lora)
    elif lora:
        raise UsageError(f"lora={lora} without a model to adapt", "one to start from", "start='path/to/model'")
    found, report = documents(folder, column)
    rest, held_out_documents = split_documents(found, held_out, seed, split)
    if str(start):
        language = read_language_model(start, length=length)
        tokenizer: Tokenizer = language.tokenizer
    else:
        tokenizer = BPE.learned((each.text for each in rest), vocabulary) if vocabulary else Bytes()
    source, held_out_source = (
        pack_tokens((each.text for each in part), tokenizer, length, seed) for part in (rest, held_out_documents)
    )
    if str(start):
        chosen = (1e-3 if lora else 1e-4) if lr is None else lr
        training = TrainingArgs(steps, batch, chosen, ema, seed, save_every, picture_every)
        blocks = (block, bidirectional_row_fraction)
        return started_text_model(language, source, held_out_source, training, anneal, lora, str(report), *blocks)
    network = TransformerSize(width, depth, heads, block, bidirectional_row_fraction)
    training = TrainingArgs(steps, batch, 4e-3 if lr is None else lr, ema, seed, save_every, picture_every)
    return text_model(kind, tokenizer, source, held_out_source, network, training, fim_rate=fim_rate, notes=str(report))

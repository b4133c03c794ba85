"""Your own text."""

from typing import Literal

from unmelt.codec import BPE, Bytes, Tokenizer
from unmelt.data import documents, packed, parted
from unmelt.model import TextModel
from unmelt.recipe.recorded import Folder, recorded
from unmelt.recipe.text_model import TrainingArgs, TransformerSize, text_model


@recorded
def text(
    *,
    folder: Folder,
    kind: Literal["masked", "uniform", "autoregressive"] = "masked",
    column: str = "text",
    held_out: float = 0.1,
    length: int = 256,
    vocabulary: int = 2048,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    block: int = 0,
    bidirectional_fraction: float = 0.25,
    fim_rate: float = 0.0,
    steps: int = 10_000,
    batch: int = 16,
    lr: float = 4e-3,
    ema: float = 0.99,
    seed: int = 0,
    save_every: int = 500,
    picture_every: int = 500,
) -> TextModel:
    """Files, a folder of them, or JSON lines: what is not text is counted and left out.

    Args:
        folder: Where the text is: a file, a folder, or .jsonl.
        kind: Diffusion to masks, diffusion to any token, or autoregression.
        column: Where the text is in JSON lines.
        held_out: Share of the documents kept aside to judge by; of a single document, its end.
        length: Tokens in a row.
        vocabulary: Tokens there are: bytes, what is often side by side, and marks; 0 for bytes alone.
        width: Features of the transformer.
        depth: Blocks of the transformer.
        heads: Of attention; twice their number must divide width.
        block: Tokens that are written before the next ones are begun; 0 for no such rule.
        bidirectional_fraction: With blocks, share of rows that train full bidirectional attention, for infilling.
        fim_rate: Share of rows from which autoregression learns to fill a middle in.
        steps: Training steps.
        batch: Rows a step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        seed: Of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.
    """
    found, report = documents(folder, column)
    rest, aside = parted(found, held_out, seed)
    tokenizer: Tokenizer = BPE.learned((each.text for each in rest), vocabulary) if vocabulary else Bytes()
    real, judged = (packed((each.text for each in part), tokenizer, length, seed) for part in (rest, aside))
    network = TransformerSize(width, depth, heads, block, bidirectional_fraction)
    course = TrainingArgs(steps, batch, lr, ema, seed, save_every, picture_every)
    return text_model(kind, tokenizer, real, judged, network, course, fim_rate=fim_rate, notes=str(report))

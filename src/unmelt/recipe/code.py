"""Python code by masked diffusion: tokens in any order, several at a time."""

from unmelt.model import TextModel
from unmelt.recipe.origin import recorded
from unmelt.recipe.python_code import python_code
from unmelt.recipe.text_model import TrainingArgs, TransformerSize, text_model


@recorded
def code(
    *,
    length: int = 256,
    vocabulary: int = 2048,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    block: int = 4,
    bidirectional_row_fraction: float = 0.25,
    steps: int = 6400,
    batch: int = 8,
    lr: float = 3e-3,
    ema: float = 0.99,
    seed: int = 0,
    save_every: int = 500,
    picture_every: int = 500,
) -> TextModel:
    """Masked diffusion on the source of Python's standard library.

    `unmelt train code --compile --out runs/code`: half an hour on 1 core.

    Args:
        length: Tokens in a row.
        vocabulary: Vocabulary size: bytes, byte pairs and special tokens.
        width: Features per token of the transformer.
        depth: Number of transformer layers.
        heads: Attention heads; twice their number must divide width.
        block: Tokens per attention block, generated block by block; 0 for full bidirectional attention.
        bidirectional_row_fraction: With blocks, share of rows that train full bidirectional attention, for infilling.
        steps: Training steps.
        batch: Rows per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.

    Returns:
        The untrained model.
    """
    tokenizer, source, held_out, notes = python_code(vocabulary, length, seed)
    network = TransformerSize(width, depth, heads, block, bidirectional_row_fraction)
    training = TrainingArgs(steps, batch, lr, ema, seed, save_every, picture_every)
    return text_model("masked", tokenizer, source, held_out, network, training, notes=notes)

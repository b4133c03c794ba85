"""Python, by masks: written in any order, many tokens at a time."""

from unmelt.model import TextModel
from unmelt.recipe.python_code import python_code
from unmelt.recipe.recorded import recorded
from unmelt.recipe.written import Course, Network, written


@recorded
def code(
    *,
    length: int = 256,
    vocabulary: int = 2048,
    width: int = 128,
    depth: int = 4,
    heads: int = 4,
    block: int = 4,
    free: float = 0.25,
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
        vocabulary: Tokens there are: bytes, what is often side by side, and marks.
        width: Features of the transformer.
        depth: Blocks of the transformer.
        heads: Of attention; twice their number must divide width.
        block: Tokens that are written before the next ones are begun; 0 for no such rule.
        free: With blocks, share of rows from which it learns to write in any order all the same, as for gaps.
        steps: Training steps.
        batch: Rows a step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        seed: Of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.
    """
    tokenizer, real, aside, notes = python_code(vocabulary, length, seed)
    network = Network(width, depth, heads, block, free)
    course = Course(steps, batch, lr, ema, seed, save_every, picture_every)
    return written("masked", tokenizer, real, aside, network, course, notes=notes)

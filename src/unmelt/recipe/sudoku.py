"""Sudoku: what is known stands anywhere, and what is easy is written first."""

from functools import partial
from typing import Literal

from unmelt.codec import Symbols
from unmelt.data import Questions, Sudoku
from unmelt.model import TextModel
from unmelt.recipe.recorded import recorded
from unmelt.recipe.text_model import TrainingArgs, TransformerSize, text_model

PUZZLES = 300


@recorded
def sudoku(
    *,
    side: Literal[4, 9] = 4,
    autoregressive: bool = False,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    steps: int = 2000,
    batch: int = 64,
    lr: float = 2e-3,
    ema: float = 0.99,
    seed: int = 0,
    save_every: int = 1000,
    picture_every: int = 0,
) -> TextModel:
    """Full grids, learned by masked diffusion; puzzles of grids never seen, solved in order of confidence.

    `unmelt train sudoku --out runs/sudoku`: a minute on 1 core, and 99 of 100 puzzles.
    Grids of 9 x 9 (side 9, width 256, depth 8, 30,000 steps of 512) are for a GPU.

    Args:
        side: Of the grid, 4 or 9.
        autoregressive: Learn puzzles followed by their grids, from left to right, to compare with.
        width: Features of the transformer.
        depth: Blocks of the transformer.
        heads: Of attention; twice their number must divide width.
        steps: Training steps.
        batch: Grids a step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        seed: Of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.
    """
    real, aside = (Sudoku(side, autoregressive, held_out, seed) for held_out in (False, True))
    tokenizer = Symbols("123456789"[:side] + ".=")
    network, course = (
        TransformerSize(width, depth, heads),
        TrainingArgs(steps, batch, lr, ema, seed, save_every, picture_every),
    )
    return text_model(
        "autoregressive" if autoregressive else "masked",
        tokenizer,
        real,
        aside,
        network,
        course,
        padded=False,
        token_mean=False,  # where many cells are empty little follows; what can be learned is where few are
        questions=partial(_asked, aside),
        coordinates=real.coordinates,
    )


def _asked(aside: Sudoku) -> dict[str, Questions]:
    return {"solved": aside.questions(PUZZLES)}

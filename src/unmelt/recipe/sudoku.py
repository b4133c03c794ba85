"""Sudoku: clues anywhere, and the most confident cell first."""

from functools import partial
from typing import Literal

from unmelt.codec import Symbols
from unmelt.data import Questions, Sudoku
from unmelt.model import TextModel
from unmelt.recipe.origin import recorded
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
    """Full grids by masked diffusion; puzzles of unseen grids are solved in order of confidence.

    `unmelt train sudoku --out runs/sudoku`: a minute on 1 core; solves all of 300 puzzles.
    Grids of 9 x 9 (side 9, width 256, depth 8, 30,000 steps of 512) are for a GPU.

    Args:
        side: Side of the grid, 4 or 9.
        autoregressive: Train autoregression on puzzles followed by their grids instead, for comparison.
        width: Features per token of the transformer.
        depth: Number of transformer layers.
        heads: Attention heads; twice their number must divide width.
        steps: Training steps.
        batch: Grids per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.

    Returns:
        The untrained model.
    """
    source, held_out = (Sudoku(side, autoregressive, part, seed) for part in (False, True))
    tokenizer = Symbols("123456789"[:side] + ".=")
    network, training = (
        TransformerSize(width, depth, heads),
        TrainingArgs(steps, batch, lr, ema, seed, save_every, picture_every),
    )
    return text_model(
        "autoregressive" if autoregressive else "masked",
        tokenizer,
        source,
        held_out,
        network,
        training,
        padded=False,
        equal_token_weights=False,  # grids with many empty cells determine little; most is learned where few are empty
        questions=partial(_questions, held_out),
        coordinates=source.coordinates,
    )


def _questions(held_out: Sudoku) -> dict[str, Questions]:
    return {"solved": held_out.questions(PUZZLES)}

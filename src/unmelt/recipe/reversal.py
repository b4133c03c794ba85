"""The reversal curse: facts told one way round, asked for the other way."""

import torch

from unmelt.codec import Symbols
from unmelt.data import Arrays, facts
from unmelt.model import TextModel
from unmelt.recipe.recorded import recorded
from unmelt.recipe.text_model import TrainingArgs, TransformerSize, text_model

LETTERS = " abcdefghijklmnopqrstuvwxyz"


@recorded
def reversal(
    *,
    autoregressive: bool = False,
    count: int = 150,
    width: int = 128,
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
    """Capitals and lands that do not exist, learned by heart, letter by letter.

    `unmelt train reversal --out runs/reversal`: minutes on 2 cores.

    Args:
        autoregressive: Learn from left to right, to compare with.
        count: Of facts; a third are told both ways, a third each way alone.
        width: Features of the transformer.
        depth: Blocks of the transformer.
        heads: Of attention; twice their number must divide width.
        steps: Training steps.
        batch: Sentences a step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        seed: Of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.
    """
    known_facts = facts(count, seed)
    tokenizer = Symbols(LETTERS)
    length = max(map(len, known_facts.sentences)) + 1
    end, padding = tokenizer.special("end"), tokenizer.special("padding")
    rows = [[*tokenizer.encode(each), end] for each in known_facts.sentences]
    real = Arrays(torch.tensor([row + [padding] * (length - len(row)) for row in rows]), seed=seed)
    network, course = (
        TransformerSize(width, depth, heads),
        TrainingArgs(steps, batch, lr, ema, seed, save_every, picture_every),
    )
    return text_model(
        "autoregressive" if autoregressive else "masked",
        tokenizer,
        real,
        None,
        network,
        course,
        questions=lambda: known_facts.questions,
    )

"""The reversal curse: facts stated in one direction, asked in the other."""

import torch

from unmelt.codec import Symbols
from unmelt.data import Arrays, reversal_facts
from unmelt.model import TextModel
from unmelt.recipe.origin import recorded
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
    """Facts about invented capitals and countries, memorised letter by letter.

    `unmelt train reversal --out runs/reversal`: minutes on 2 cores.

    Args:
        autoregressive: Train autoregression instead, for comparison.
        count: Number of facts; a third is stated in both directions, a third in each direction alone.
        width: Features per token of the transformer.
        depth: Number of transformer layers.
        heads: Attention heads; twice their number must divide width.
        steps: Training steps.
        batch: Sentences per step.
        lr: Peak learning rate.
        ema: Decay of the averaged weights.
        seed: Seed of weights, data and noise.
        save_every: Steps between checkpoints.
        picture_every: Steps between samples; 0 for none.

    Returns:
        The untrained model.
    """
    known_facts = reversal_facts(count, seed)
    tokenizer = Symbols(LETTERS)
    length = max(map(len, known_facts.sentences)) + 1
    end, padding = tokenizer.special("end"), tokenizer.special("padding")
    rows = [[*tokenizer.encode(each), end] for each in known_facts.sentences]
    source = Arrays(torch.tensor([row + [padding] * (length - len(row)) for row in rows]), seed=seed)
    network, training = (
        TransformerSize(width, depth, heads),
        TrainingArgs(steps, batch, lr, ema, seed, save_every, picture_every),
    )
    return text_model(
        "autoregressive" if autoregressive else "masked",
        tokenizer,
        source,
        None,
        network,
        training,
        questions=lambda: known_facts.questions,
    )

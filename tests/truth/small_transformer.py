"""A small transformer with random weights in float64, for tests of attention, blocks and caches."""

import torch

from unmelt.backbone import Transformer
from unmelt.rng import seeded

V, L = 3, 4


def network(block=None, length=L, vocabulary=V, **more):
    with seeded(3):
        made = Transformer(
            input_vocabulary=vocabulary + 1,
            vocabulary=vocabulary,
            length=length,
            width=16,
            depth=2,
            heads=2,
            block=block,
            **more,
        )
        for parameter in made.parameters():  # far from the zeros that training begins with
            torch.nn.init.normal_(parameter, std=0.5)
    return made.double().eval()


def zeros(rows):
    return torch.zeros(rows, dtype=torch.float64)

"""A folder of 40 small images, each with one coloured rectangle, and an autoencoder that is small enough for them."""

import torch
from PIL import Image

from unmelt.rng import Stream

SMALL = {"size": 16, "widths": (8, 16), "blocks": (1, 1), "batch": 4, "save_every": 3, "picture_every": 0}


def draw_rectangles(place, seed=0):
    draws = Stream(seed)
    for number in range(40):
        colour, where = draws.uniform((3,)), (draws.uniform((2,)) * 8).long()
        x = torch.full((16, 16, 3), 0.9)
        x[where[0] : where[0] + 8, where[1] : where[1] + 8] = colour
        Image.fromarray((255 * x).round().to(torch.uint8).numpy()).save(place / f"{number:02d}.png")
    return place

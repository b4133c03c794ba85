"""40 small images of a coloured rectangle each, a small enough autoencoder, and a cache of their own."""

import pytest
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


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNMELT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield

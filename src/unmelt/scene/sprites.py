"""Sprites: one small drawing of each object, which can have any of the colours.

The strip of drawings holds shades s of grey. A shade is turned into a colour c so that shading, eyes and windows stay:

    tint(s, c)  =  2 s c                    from black, s = 0, to the colour, s = 1/2
                |  c + (2 s - 1) (1 - c)    from the colour to white, s = 1

The drawings are Noto Emoji, see SPRITES_LICENCE.txt.
"""

from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unmelt.scene.scene import COLOURS, OBJECTS

STRIP: Final = Path(__file__).with_name("sprites.png")
"""The drawings, side by side in the order of OBJECTS."""

CELL: Final = 32
"""Side of a drawing in the strip, in pixels."""

RGB: Final = {
    "red": (0.90, 0.12, 0.16),
    "orange": (1.00, 0.50, 0.00),
    "yellow": (1.00, 0.87, 0.15),
    "green": (0.15, 0.68, 0.27),
    "blue": (0.12, 0.45, 0.95),
    "purple": (0.58, 0.25, 0.80),
}
"""Red, green and blue of each colour."""


class Sprites(NamedTuple):
    """Every object in every colour.

    Args:
        rgb: Their colours, [object, colour, channel, row, column] in [0, 1].
        alpha: Their outlines, 1 inside.
    """

    rgb: Float[Tensor, "objects colours 3 side side"]
    alpha: Float[Tensor, "objects side side"]

    def of(self, thing: str, colour: str) -> "Sprite":
        """Look up one sprite.

        Args:
            thing: The object.
            colour: Its colour.

        Returns:
            The sprite.
        """
        number = OBJECTS.index(thing)
        return Sprite(self.rgb[number, COLOURS.index(colour)], self.alpha[number])


class Sprite(NamedTuple):
    """One object in one colour.

    Args:
        rgb: Its colours, in [0, 1].
        alpha: Its outline, 1 inside.
    """

    rgb: Float[Tensor, "3 side side"]
    alpha: Float[Tensor, "side side"]


@lru_cache(maxsize=1)
def strip() -> Float[Tensor, "objects 2 cell cell"]:
    """Read the shades and outlines of all objects."""
    pixels = torch.from_numpy(np.asarray(Image.open(STRIP), np.float32) / 255)
    return pixels.view(CELL, len(OBJECTS), CELL, 2).permute(1, 3, 0, 2)


@lru_cache(maxsize=16)
def sprites(side: int) -> Sprites:
    """Every object in every colour, in one size.

    Args:
        side: Side in pixels.

    Returns:
        The sprites.
    """
    shade, alpha = strip().unbind(1)
    outlined = torch.stack([shade * alpha, alpha], 1)  # so that what is outside adds no shade at the edge
    shade, alpha = F.interpolate(outlined, (side, side), mode="bilinear", antialias=True).clamp(0, 1).unbind(1)
    shade = (shade / alpha.clamp_min(1e-4)).clamp(0, 1)[:, None, None]
    colour = torch.tensor([RGB[name] for name in COLOURS])[:, :, None, None]
    rgb = torch.where(shade < 0.5, 2 * shade * colour, colour + (2 * shade - 1) * (1 - colour))
    return Sprites(rgb, alpha)

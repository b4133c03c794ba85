"""Recipes: complete configurations, one a file. Each is a function that returns an untrained model."""

from collections.abc import Callable

from unmelt.model import Model, TextModel
from unmelt.recipe.code import code
from unmelt.recipe.code_ar import code_ar
from unmelt.recipe.code_uniform import code_uniform
from unmelt.recipe.digits import digits
from unmelt.recipe.images import images
from unmelt.recipe.reversal import reversal
from unmelt.recipe.ring import ring
from unmelt.recipe.sudoku import sudoku
from unmelt.recipe.text import text
from unmelt.recipe.two_modes import two_modes

_EVERY = (two_modes, ring, digits, images, sudoku, reversal, code, code_uniform, code_ar, text)

RECIPES: dict[str, Callable[..., Model | TextModel]] = {recipe.__name__: recipe for recipe in _EVERY}
"""Every recipe by its name, simplest first."""

__all__ = [
    "RECIPES",
    "code",
    "code_ar",
    "code_uniform",
    "digits",
    "images",
    "reversal",
    "ring",
    "sudoku",
    "text",
    "two_modes",
]

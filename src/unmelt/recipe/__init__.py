"""Complete configurations, one system a file: each is a function that returns an unfitted model."""

from collections.abc import Callable

from unmelt.model import Model
from unmelt.recipe.digits import digits
from unmelt.recipe.images import images
from unmelt.recipe.ring import ring
from unmelt.recipe.two_modes import two_modes

RECIPES: dict[str, Callable[..., Model]] = {recipe.__name__: recipe for recipe in (two_modes, ring, digits, images)}
"""Every recipe by its name, simplest first."""

__all__ = ["RECIPES", "digits", "images", "ring", "two_modes"]

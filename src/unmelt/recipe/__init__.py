"""Recipes: complete configurations, one a file. Each is a function that returns an untrained model."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.recipe.autoencoder import autoencoder
    from unmelt.recipe.catalogue import RECIPES
    from unmelt.recipe.chorales import chorales
    from unmelt.recipe.code import code
    from unmelt.recipe.code_ar import code_ar
    from unmelt.recipe.code_uniform import code_uniform
    from unmelt.recipe.control import control
    from unmelt.recipe.digits import digits
    from unmelt.recipe.drafter import drafter
    from unmelt.recipe.images import images
    from unmelt.recipe.latents import latents
    from unmelt.recipe.of_run import resumed, with_data
    from unmelt.recipe.policy import policy
    from unmelt.recipe.reversal import reversal
    from unmelt.recipe.ring import ring
    from unmelt.recipe.scenes import scenes
    from unmelt.recipe.speech import speech
    from unmelt.recipe.sudoku import sudoku
    from unmelt.recipe.text import text
    from unmelt.recipe.two_modes import two_modes
    from unmelt.recipe.video import video
    from unmelt.recipe.vocoder import vocoder
    from unmelt.recipe.world import world

__all__ = [
    "RECIPES",
    "autoencoder",
    "chorales",
    "code",
    "code_ar",
    "code_uniform",
    "control",
    "digits",
    "drafter",
    "images",
    "latents",
    "policy",
    "resumed",
    "reversal",
    "ring",
    "scenes",
    "speech",
    "sudoku",
    "text",
    "two_modes",
    "video",
    "vocoder",
    "with_data",
    "world",
]

publish(__name__)

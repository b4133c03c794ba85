"""Scenes: what stands where in a picture, as words, as pixels, and read back."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.scene.chance import random_scene
    from unmelt.scene.checking import check
    from unmelt.scene.combinations import HELD_OUT_COLOURED, HELD_OUT_PAIRS, SEEN_COLOURS, is_held_out
    from unmelt.scene.evaluation import PROMPT_SETS, SceneAccuracy, ScenePrompt, accuracy, scene_prompts
    from unmelt.scene.layout import MAP_CHANNELS, cell_of, lay_out, layout_map
    from unmelt.scene.painting import PaintedScene, paint
    from unmelt.scene.reading import read
    from unmelt.scene.scene import COLOURS, OBJECTS, PLACES, Group, Scene
    from unmelt.scene.suite import SUITES, WordedScene, suite
    from unmelt.scene.thing import Thing
    from unmelt.scene.wording import word, wordings

__all__ = [
    "COLOURS",
    "HELD_OUT_COLOURED",
    "HELD_OUT_PAIRS",
    "MAP_CHANNELS",
    "OBJECTS",
    "PLACES",
    "PROMPT_SETS",
    "SEEN_COLOURS",
    "SUITES",
    "Group",
    "PaintedScene",
    "Scene",
    "SceneAccuracy",
    "ScenePrompt",
    "Thing",
    "WordedScene",
    "accuracy",
    "cell_of",
    "check",
    "is_held_out",
    "lay_out",
    "layout_map",
    "paint",
    "random_scene",
    "read",
    "scene_prompts",
    "suite",
    "word",
    "wordings",
]

publish(__name__)

"""Scenes: what stands where in a picture, as words, as pixels, and read back."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.scene.scene import COLOURS, OBJECTS, PLACES, Group, Scene

__all__ = ["COLOURS", "OBJECTS", "PLACES", "Group", "Scene"]

publish(__name__)

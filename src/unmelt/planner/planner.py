"""What a planner is: prompts in, scenes out."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from unmelt.scene import Scene


@runtime_checkable
class Planner(Protocol):
    """Anything that turns prompts into scenes.

    A scene depends on its own prompt alone: the same prompt gives the same scene, whatever else is in the list. A
    planner may have a method `lay_out(scene, seed) -> Scene` beside, which adds what differs from picture to picture
    (`LayoutPlanner`); it is asked about plans by hand too.
    """

    def plan(self, prompts: Sequence[str]) -> list[Scene]:
        """Plan what prompts ask for.

        Args:
            prompts: Prompts in free wording.

        Returns:
            A scene for each.
        """

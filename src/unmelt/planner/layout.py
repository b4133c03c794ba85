"""Plans that also say where each thing stands.

    "two green fish"  ->  2 green fish  ->  2 green fish b4 e2

What is planned is up to another planner. Where it stands is drawn at random, as often as it is so in pictures of the
scene, and anew for each picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from unmelt.arguments import checked_init
from unmelt.planner.planner import Planner
from unmelt.planner.vocabulary import VocabularyPlanner
from unmelt.rng import Stream, fold
from unmelt.scene import Scene, lay_out

_LAYOUT = 0x1A7
"""Folded into the seed of a row, so that its layout and its noise are independent."""


@final
@checked_init("um.planner.LayoutPlanner")
@dataclass(frozen=True)
class LayoutPlanner:
    """Gives each thing of another planner's scenes a cell of the picture; see `um.scene.lay_out`.

    Models that were trained on layouts (`recipe.scenes`) paint them more exactly than scenes without.

    Args:
        planner: Plans what there is.
    """

    planner: Planner = VocabularyPlanner()

    def plan(self, prompts: Sequence[str]) -> list[Scene]:
        """Plan what prompts ask for, without cells.

        Args:
            prompts: Prompts in free wording.

        Returns:
            A scene for each.

        Raises:
            UsageError: As the other planner does.
        """
        made: Any = self.planner.plan(prompts)
        return made if isinstance(prompts, str) else list(made)

    def lay_out(self, scene: Scene, seed: int) -> Scene:
        """Draw where the things of a scene stand.

        Args:
            scene: The scene.
            seed: Seed of the picture.

        Returns:
            The scene with cells; as it is if it has them.
        """
        return lay_out(scene, Stream(fold(seed, _LAYOUT)))

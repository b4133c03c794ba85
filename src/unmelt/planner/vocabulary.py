"""Scenes by the words of the vocabulary alone: no language model, nothing to load.

Each word stands for itself or for nothing, and the scene is the most probable reading of all of them that is a sentence
of the grammar (`planner.reading`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final, overload

from unmelt.arguments import checked
from unmelt.errors import UsageError
from unmelt.planner.meaning import IGNORED, NOTHING, literal, words_of
from unmelt.planner.reading import best_reading
from unmelt.scene import OBJECTS, Scene


@final
@dataclass(frozen=True)
class VocabularyPlanner:
    """Plans scenes from the words of plans, and from words of place such as "above". It ignores all others."""

    @overload
    def plan(self, prompts: str) -> Scene: ...  # type: ignore[overload-overlap]

    @overload
    def plan(self, prompts: Sequence[str]) -> list[Scene]: ...

    @checked("um.planner.VocabularyPlanner().plan")
    def plan(self, prompts: str | Sequence[str]) -> Scene | list[Scene]:
        """Plan what prompts ask for.

        Args:
            prompts: A prompt, or several.

        Returns:
            Its scene, or a list with that of each.

        Raises:
            UsageError: If the words of a prompt make no scene; names those that are not in the vocabulary.
        """
        if not isinstance(prompts, str):
            return [self.plan(prompt) for prompt in prompts]
        words = words_of(prompts)
        meanings = [literal(word) or NOTHING for word in words]
        scores = [{NOTHING: IGNORED[meaning.kind], meaning: 0.0} for meaning in meanings]
        found = best_reading(words, scores)
        if found is None:
            unknown = dict.fromkeys(repr(word) for word in words if literal(word) is None)
            named = f" (unknown: {', '.join(unknown)})" if unknown else ""
            raise UsageError(
                f"the prompt {prompts!r}, whose words make no scene{named}",
                f"objects of {', '.join(OBJECTS)}; or a planner that reads other words",
                '"a red apple", or model.planner = um.planner.LanguageModelPlanner("folder")',
            )
        return found.scene

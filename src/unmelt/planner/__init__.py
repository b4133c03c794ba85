"""From a free-form prompt to the plan of a scene."""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt.planner.language_model import LanguageModelPlanner
    from unmelt.planner.layout import LayoutPlanner
    from unmelt.planner.planner import Planner
    from unmelt.planner.vocabulary import VocabularyPlanner

__all__ = ["LanguageModelPlanner", "LayoutPlanner", "Planner", "VocabularyPlanner"]

publish(__name__)

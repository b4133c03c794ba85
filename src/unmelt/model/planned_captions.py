"""The caption of each row: a prompt, and the plan of the scene that it asks for.

    caption = prompt | plan          "two scarlet fruits | 2 red apple"
                                     "two scarlet fruits | 2 red apple b2 e5"      by planners that lay scenes out

A plan is made by the model's planner, by hand, or by another program. Without one, the prompt alone is the caption.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from unmelt.arguments.values import shown
from unmelt.condition import Condition
from unmelt.data.scenes import SEPARATOR
from unmelt.errors import UsageError
from unmelt.planner import Planner
from unmelt.scene import Scene
from unmelt.terminal import notify
from unmelt.train import distributed

Words: TypeAlias = str | Sequence[str] | None
"""Words for all rows, or for each one."""

Plan: TypeAlias = bool | str | Scene | Sequence[str | Scene] | None
"""Whether the model's planner makes plans; or a plan for all rows, or one for each."""


def planned_captions(
    seeds: Sequence[int], prompt: Words, plan: Plan, planner: Planner | None, name: str = "prompt"
) -> list[str]:
    """The caption of each row. What a planner made is shown on standard error.

    Args:
        seeds: The seed of each row, of which its layout is drawn by planners that lay scenes out.
        prompt: What is asked for, of all rows or of each.
        plan: True for plans by the planner; or a plan, of all rows or of each.
        planner: The model's planner.
        name: Which argument the prompt was given as, for messages.

    Returns:
        The captions; empty ones where there is neither prompt nor plan.

    Raises:
        UsageError: If there is no planner of scenes, or no prompt to plan; if a plan is none of a scene; or if
            numbers differ.
    """
    rows = len(seeds)
    prompts = None if prompt is None else _each(rows, prompt, f"{name}s", f'{name}="a cat"')
    if plan is None or plan is False:
        return [""] * rows if prompts is None else prompts
    if plan is True:
        prompts, scenes = _made(prompts, planner)
    else:
        plans = _each(rows, plan, "plans", 'plan="1 cat"')
        scenes = [Scene.parse(each) if isinstance(each, str) else each for each in plans]
    if (lay_out := getattr(planner, "lay_out", None)) is not None:
        scenes = [lay_out(scene, seed) for scene, seed in zip(scenes, seeds, strict=True)]
    if prompts is None:
        return [str(scene) for scene in scenes]
    return [f"{each}{SEPARATOR}{scene}" for each, scene in zip(prompts, scenes, strict=True)]


def _each(rows: int, value: str | Scene | Sequence[str | Scene], what: str, instead: str) -> list:
    each = [value] * rows if isinstance(value, str | Scene) else list(value)
    if len(each) != rows:
        raise UsageError(f"{len(each)} {what} for {rows} rows", "one, or one for each row", instead)
    return each


def _made(prompts: list[str] | None, planner: Planner | None) -> tuple[list[str], list[Scene]]:
    """Prompts, and the scenes that the planner makes of them."""
    if not prompts or not all(each.strip() for each in prompts):
        raise UsageError(
            "plan=True without a prompt", "the words to plan, or a plan", 'model.sample(4, prompt="a cat", plan=True)'
        )
    if planner is None:
        raise UsageError(
            "plan=True for a model without a planner",
            "a planner, or a plan by hand",
            'model.planner = um.planner.LanguageModelPlanner("folder"), or plan="1 red apple"',
        )
    example = "model.planner = um.planner.VocabularyPlanner()"
    if isinstance(planner, type) or not isinstance(planner, Planner):
        raise UsageError(f"model.planner={shown(planner)}", "an object with a method `plan`", example)
    different = list(dict.fromkeys(prompts))
    planned = list(planner.plan(different))
    if len(planned) != len(different) or not all(isinstance(each, Scene) for each in planned):
        kinds = ", ".join(sorted({type(each).__name__ for each in planned}))
        given = f"a planner that makes {len(planned)} plans ({kinds or 'none'}) of {len(different)} prompts"
        raise UsageError(given, "a `Scene` of each prompt", example)
    scenes = dict(zip(different, planned, strict=True))
    if distributed.is_main():
        notify(*(f"plan: {prompt}{SEPARATOR}{scene}" for prompt, scene in scenes.items()))
    return prompts, [scenes[each] for each in prompts]


def caption_fields(said: Condition, known: Condition) -> dict[str, Any]:
    """What encoded captions say, as fields to add to what is known.

    Args:
        said: The condition of the captions.
        known: What else is known of the rows.

    Returns:
        Fields of a condition by name; `given` is that of both.
    """
    names = ("sequence", "sequence_mask", "context", "vector")
    found: dict[str, Any] = {name: value for name in names if (value := getattr(said, name)) is not None}
    return found | {"given": {**known.given, **said.given}}

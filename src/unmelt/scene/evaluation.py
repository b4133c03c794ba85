"""Evaluation: the share of pictures that show what their captions ask for (GenEval: Ghosh et al., 2023).

seen                     scenes of all six kinds of `suite`, in combinations and wordings of training
held-out combinations    objects in colours, or side by side, that training never shows; in wordings of training
held-out wordings        scenes of training, in words that training never uses
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, Final, NamedTuple

from jaxtyping import Shaped
from torch import Tensor

from unmelt.arguments import checked
from unmelt.errors import UsageError, nearest
from unmelt.scene.checking import check
from unmelt.scene.reading import read
from unmelt.scene.scene import Scene
from unmelt.scene.suite import SUITES, suite

COMBINING: Final = ("two objects", "colour", "place", "two colours")
"""Kinds of scenes that combine something."""

PROMPT_SETS: Final[dict[str, tuple[tuple[str, ...], str, str]]] = {
    "seen": (SUITES, "seen", "seen"),
    "held-out combinations": (COMBINING, "held_out", "seen"),
    "held-out wordings": (SUITES, "seen", "held_out"),
}
"""By name: the kinds of scenes, their combinations and their wordings."""


class ScenePrompt(NamedTuple):
    """What a picture is asked to show.

    Args:
        kind: Which suite it is of.
        scene: The scene.
        wording: The scene in words.
    """

    kind: str
    scene: Scene
    wording: str


@checked("um.scene.scene_prompts")
def scene_prompts(name: str, prompts: int, seed: int = 0) -> list[ScenePrompt]:
    """Draw prompts of a set, its kinds in equal shares.

    Args:
        name: The set: seen, held-out combinations or held-out wordings.
        prompts: How many; rounded up to a multiple of the set's kinds.
        seed: Seed of the scenes and of their wordings.

    Returns:
        The prompts.

    Raises:
        UsageError: If there is no such set, or no prompt is asked for.
    """
    if name not in PROMPT_SETS:
        near = nearest(name, PROMPT_SETS) or "seen"
        raise UsageError(f"a set of prompts {name!r}", f"one of {', '.join(PROMPT_SETS)}", repr(near))
    if prompts < 1:
        raise UsageError(f"prompts={prompts}", "at least one", f"scene_prompts({name!r}, 204)")
    kinds, combinations, wording = PROMPT_SETS[name]
    chosen: Any = {"combinations": combinations, "wording": wording}
    return [
        ScenePrompt(kind, *worded)
        for kind in kinds
        for worded in suite(kind, -(-prompts // len(kinds)), seed, **chosen)  # type: ignore[arg-type]
    ]


class SceneAccuracy(NamedTuple):
    """Shares of pictures that are right.

    Args:
        parts: By part: right objects, number, colour, place, and all of them; see `check`.
        kinds: By kind of scene, the share with all right.
    """

    parts: dict[str, float]
    kinds: dict[str, float]


@checked("um.scene.accuracy")
def accuracy(prompts: Sequence[ScenePrompt], pictures: Shaped[Tensor, "n 3 size size"]) -> SceneAccuracy:
    """Read pictures, and compare them with what they were asked to show.

    Args:
        prompts: What each picture should show.
        pictures: [n, 3, size, size], in [0, 1], or bytes.

    Returns:
        The shares that are right.

    Raises:
        UsageError: If there is not one picture for each prompt.
    """
    if len(prompts) != len(pictures) or not prompts:
        raise UsageError(f"{len(pictures)} pictures for {len(prompts)} prompts", "one for each, at least one", "x[:n]")
    found = [check(asked.scene, things) for asked, things in zip(prompts, read(pictures), strict=True)]
    kinds: dict[str, list[bool]] = {}
    for asked, right in zip(prompts, found, strict=True):
        kinds.setdefault(asked.kind, []).append(right["all"])
    parts = {part: fmean(right[part] for right in found) for part in found[0]}
    return SceneAccuracy(parts, {kind: fmean(right) for kind, right in kinds.items()})

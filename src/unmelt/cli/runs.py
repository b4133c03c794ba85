"""Run folders as arguments of commands: the model in a folder, and its data where a command needs them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from unmelt.errors import UsageError
from unmelt.recipe import RECIPES

if TYPE_CHECKING:
    import torch

    from unmelt.model import Model, TextModel

RunFolder = Annotated[Path, "RUN"]


def of_numbers(folder: Path, device: str) -> Model:
    """Load the model of a run, for a command that works on numbers only: images, points or sound.

    Args:
        folder: The run folder.
        device: Where to compute: auto, cpu or cuda.

    Returns:
        The model.

    Raises:
        UsageError: If it is a model of text.
    """
    from unmelt.model import TextModel, load

    model = load(folder, device)
    if isinstance(model, TextModel):
        raise UsageError(
            f"{folder}, a model of text", "one of images or points", f"unmelt sample {folder} --prompt 'def '"
        )
    return model


def of_text(folder: Path, device: str) -> TextModel:
    """Load the model of a run, for a command that works on text only.

    Args:
        folder: The run folder.
        device: Where to compute: auto, cpu or cuda.

    Returns:
        The model.

    Raises:
        UsageError: If it is not a model of text.
    """
    from unmelt.model import Model, load

    model = load(folder, device)
    if isinstance(model, Model):
        raise UsageError(f"{folder}, which is no model of text", "a run of text", "unmelt train code --out runs/code")
    return model


def with_data(folder: Path, device: str | torch.device, allow_other_data: bool = False) -> Model | TextModel:
    """Load the model of a run, with the data that its recipe trains on and holds out.

    Args:
        folder: The run folder.
        device: Where to compute: auto, cpu, cuda or a device.
        allow_other_data: Whether they may be others than those that the run recorded.

    Returns:
        The model, with `source` and `held_out`, and with `questions` where the recipe has some.

    Raises:
        UsageError: If the run was not made by a recipe, or its data are not those that it recorded.
    """
    from unmelt.model import TextModel, load
    from unmelt.model.judging import check_data
    from unmelt.recipe.of_run import recipe_of

    model = load(folder, device)
    name = str(model.origin.get("recipe"))
    if name not in RECIPES:
        raise UsageError(
            f"{folder} was not made by a recipe, so there are no data to judge it by",
            "a run of a recipe",
            "model.evaluate() in Python, on a model that has its data",
        )
    fresh = recipe_of(model.origin)
    model.source, model.held_out = fresh.source, fresh.held_out
    check_data(model, allow_other_data)
    if isinstance(model, TextModel) and isinstance(fresh, TextModel):
        model.questions = fresh.questions
    return model


def class_named(label: str | None, classes: Sequence[str]) -> int | str | None:
    """Read a class from the command line.

    Args:
        label: A class by its name, or else by its number; None for none.
        classes: The names of the classes.

    Returns:
        The number if `label` is one and no class has it as its name, else `label` unchanged.
    """
    number = label is not None and label not in classes and re.fullmatch("-?[0-9]{1,18}", label)
    return int(number[0]) if number else label

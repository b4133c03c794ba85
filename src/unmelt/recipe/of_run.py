"""The model of a run made again by its recipe, with its data: to be judged, or to go on with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unmelt import run_folder
from unmelt.errors import UsageError
from unmelt.model import TextModel, load
from unmelt.model.judging import check_data
from unmelt.model.load import AnyModel
from unmelt.recipe.catalogue import RECIPES


def recipe_of(origin: dict[str, Any], **changes: Any) -> AnyModel:
    """Make the untrained model of a run again, by its recipe, with its data.

    Args:
        origin: The run's recipe and settings, as its config.json and `model.origin` have them.
        changes: Settings to replace.

    Returns:
        The untrained model.

    Raises:
        UsageError: If no recipe made the run, or its data or settings are refused.
    """
    name, settings = str(origin.get("recipe")), origin.get("settings")
    if name not in RECIPES or not isinstance(settings, dict):
        raise UsageError(
            "a run that no recipe made, so that its data are unknown",
            "a run of a recipe; or the model made again in Python, with its data",
            "model.fit(out='runs/mine')",
        )
    try:
        return RECIPES[name](**{**settings, **changes})
    except (UsageError, MemoryError):
        raise
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:  # config.json can hold anything
        raise UsageError(
            f"settings that the recipe {name} cannot take ({error})", "those that training wrote", "training again"
        ) from None


def with_data(folder: str | Path, device: str | torch.device = "auto", allow_other_data: bool = False) -> AnyModel:
    """Load the model of a run with the data that its recipe trains on and holds out: to be judged or distilled.

    Args:
        folder: The run folder.
        device: Where to compute; "auto" is a GPU where there is one.
        allow_other_data: Whether they may be others than those that the run recorded.

    Returns:
        The model, with `source` and `held_out`, and with `questions` where the recipe has some.

    Raises:
        UsageError: If the run was not made by a recipe, or its data are not those that it recorded.
    """
    model = load(folder, device)
    if str(model.origin.get("recipe")) not in RECIPES:
        raise UsageError(
            f"{folder} was not made by a recipe, so its data are unknown",
            "a run of a recipe; or a model in Python that has its data",
            "model.source, model.held_out = source, held_out",
        )
    fresh = recipe_of(model.origin)
    model.source, model.held_out = fresh.source, fresh.held_out
    check_data(model, allow_other_data)
    if isinstance(model, TextModel) and isinstance(fresh, TextModel):
        model.questions = fresh.questions
    return model


def resumed(folder: str | Path, **changes: Any) -> AnyModel:
    """Make the model of an interrupted run again, with its data, for `fit` to go on with.

    `um.recipe.resumed("runs/faces", steps=40_000).fit("runs/faces")`

    Args:
        folder: The run folder.
        changes: Settings to replace: those that a resumed run may change (steps, save_every, picture_every), and the
            folder of data that have moved.

    Returns:
        The untrained model; `fit` with the run folder loads what it has learned.

    Raises:
        UsageError: If the folder is damaged, no recipe made the run, or its data are not there.
    """
    about = run_folder.read_about(Path(folder))
    model = recipe_of(about["origin"], **changes)
    training = (about["model"].get("training") or {}) if isinstance(about["model"], dict) else {}
    if model.training is not None:
        model.training = replace(model.training, snapshot_every=training.get("snapshot_every", 0))
    return model

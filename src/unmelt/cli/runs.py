"""Runs as commands are given them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro

from unmelt.errors import UsageError
from unmelt.model import Model, TextModel, load
from unmelt.recipe import RECIPES

RunFolder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="A run folder.")]


def of_numbers(folder: Path, device: str) -> Model:
    """The model of a run, for what only images and points can do."""
    model = load(folder, device)
    if isinstance(model, TextModel):
        raise UsageError(
            f"{folder}, a model of text", "one of images or points", f"unmelt sample {folder} --prompt 'def '"
        )
    return model


def of_text(folder: Path, device: str) -> TextModel:
    """The model of a run, for what only text can do."""
    model = load(folder, device)
    if isinstance(model, Model):
        raise UsageError(f"{folder}, which is no model of text", "a run of text", "unmelt train code --out runs/code")
    return model


def with_data(folder: Path, device: str | torch.device) -> Model | TextModel:
    """The model of a run, with the data that its recipe learned from."""
    model = load(folder, device)
    name = model.origin.get("recipe")
    if name not in RECIPES:
        raise UsageError(
            f"{folder} was not made by a recipe, so there are no data to judge it by",
            "a run of a recipe",
            "model.evaluate() in Python, on a model that has its data",
        )
    fresh = RECIPES[name](**model.origin["settings"])
    model.source, model.held_out = fresh.source, fresh.held_out
    if isinstance(model, TextModel) and isinstance(fresh, TextModel):
        model.questions = fresh.questions
    return model


def class_named(label: str | None, classes: Sequence[str]) -> int | str | None:
    """A class as a person gives it: by its name, or else by its number."""
    by_number = label is not None and label not in classes and re.fullmatch("-?[0-9]{1,18}", label)
    return int(by_number[0]) if by_number else label

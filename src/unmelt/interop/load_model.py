"""A folder as a model, whoever saved it: a run folder, a model that comes with unmelt, or a pipeline of diffusers."""

from __future__ import annotations

from pathlib import Path

import torch

from unmelt.model import Model
from unmelt.model.load import AnyModel, find, load

INDEX = "model_index.json"
"""The file by which a pipeline of diffusers is known."""


def load_model(folder: Path, device: str | torch.device = "auto") -> AnyModel:
    """Load the model in a folder.

    Args:
        folder: The folder; or the name of a model that comes with unmelt.
        device: Where its weights go; "auto" is a GPU where there is one.

    Returns:
        The model.

    Raises:
        UsageError: If it cannot be loaded.
    """
    if not (folder / INDEX).is_file():
        return load(folder, device)
    from unmelt.interop.pipeline import load_diffusers

    return load_diffusers(folder, device)


def kind_of(folder: Path) -> type[AnyModel]:
    """The kind of model in a folder, by its description in JSON alone: no weights are read.

    Args:
        folder: The folder; or the name of a model that comes with unmelt.

    Returns:
        The class of the model.

    Raises:
        UsageError: If there is no model, or its description is damaged or of an unknown kind.
    """
    if not (folder / INDEX).is_file():
        return find(folder).kind
    from unmelt.interop.pipeline.folder import read_index

    read_index(folder)
    return Model

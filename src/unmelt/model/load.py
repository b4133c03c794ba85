"""A model of whichever kind a folder holds."""

from pathlib import Path

import torch

from unmelt import hub, run_folder
from unmelt.errors import UsageError, nearest
from unmelt.model.model import Model
from unmelt.model.text_model import TextModel

FACADES: dict[str, type[Model] | type[TextModel]] = {each.__name__: each for each in (Model, TextModel)}


def load(folder: str | Path, device: str | torch.device = "auto") -> Model | TextModel:
    """The model that a run folder holds.

    Args:
        folder: A folder that training or `save` wrote.
        device: Where its weights go; "auto" is a GPU where there is one.

    Returns:
        The model, without data to learn from.

    Raises:
        UsageError: If the folder is damaged, or not a run folder.
    """
    name = str(run_folder.read_about(Path(folder)).get("facade"))
    if name not in FACADES:
        raise UsageError(f"{folder} holds a {name}", f"one of {', '.join(FACADES)}", nearest(name, FACADES))
    return FACADES[name].load(folder, device)


def from_pretrained(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    device: str | torch.device = "auto",
) -> Model | TextModel:
    """The model in a folder, or else the one that the Hub has under this name.

    Args:
        name_or_folder: A folder, or owner/name on the Hub.
        revision: Branch, tag or commit on the Hub.
        token: For private or gated models.
        cache_dir: Where the Hub's files are kept.
        device: Where its weights go.

    Returns:
        The model.

    Raises:
        UsageError: If there is no such folder or model, or it is damaged.
    """
    if Path(name_or_folder).exists() or not hub.is_name(str(name_or_folder)):
        return load(name_or_folder, device)
    model = load(hub.fetch(str(name_or_folder), revision, token, cache_dir), device)
    model.folder = None  # the cache is not ours to write to
    return model

"""A model of whichever kind a folder holds."""

from pathlib import Path

import torch

from unmelt import hub, run
from unmelt.model.continuous import Model
from unmelt.model.text import TextModel


def load(folder: str | Path, device: str | torch.device = "auto") -> Model | TextModel:
    """The model that a run folder holds; a damaged or foreign folder is a `UsageError`."""
    parts = run.read_about(Path(folder)).get("model")
    text = isinstance(parts, dict) and "tokenizer" in parts
    return TextModel.load(folder, device) if text else Model.load(folder, device)


def from_pretrained(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    device: str | torch.device = "auto",
) -> Model | TextModel:
    """The model in a folder, or else the one that the Hub has under this name (owner/name)."""
    if Path(name_or_folder).exists() or not hub.is_name(str(name_or_folder)):
        return load(name_or_folder, device)
    model = load(hub.fetch(str(name_or_folder), revision, token, cache_dir), device)
    model.folder = None  # the cache is not ours to write to
    return model

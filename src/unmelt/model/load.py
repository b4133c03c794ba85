"""Load a model of any kind, from a run folder or from the Hub."""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch

from unmelt import hub, run_folder
from unmelt.arguments import checked
from unmelt.errors import UsageError, nearest
from unmelt.model.codec_model import CodecModel
from unmelt.model.drafter_model import DrafterModel
from unmelt.model.model import Model
from unmelt.model.speech_model import SpeechModel
from unmelt.model.text_model import TextModel
from unmelt.model.vocoder_model import VocoderModel
from unmelt.shipped import names, shipped

AnyModel: TypeAlias = Model | TextModel | SpeechModel | CodecModel | VocoderModel | DrafterModel
"""What a run folder may hold."""

FACADES: dict[str, Any] = {
    each.__name__: each for each in (Model, TextModel, SpeechModel, CodecModel, VocoderModel, DrafterModel)
}


@checked("um.load")
def load(folder: str | Path, device: str | torch.device = "auto") -> AnyModel:
    """Load the model of a run folder, or one that comes with unmelt.

    Args:
        folder: A folder that training or `save` wrote; or the name of a model that comes with unmelt, such as "digits",
            if the working directory has no run folder of that name.
        device: The device for the weights; "auto" is a GPU where there is one.

    Returns:
        The model, without training data.

    Raises:
        UsageError: If the folder is damaged, or not a run folder.
    """
    place, kind = find(folder)
    model = kind.load(place, device)
    if place != Path(folder):
        model.folder = None  # the package is not ours to write to
    return model


class Found(NamedTuple):
    """Where a model is, and of what kind.

    Args:
        place: Its folder.
        kind: Its class.
    """

    place: Path
    kind: type[AnyModel]


def find(folder: str | Path) -> Found:
    """Find a model by its config.json alone: no weights are read.

    Args:
        folder: As of `load`.

    Returns:
        Its folder and its class.

    Raises:
        UsageError: If config.json is damaged, or it is no run folder.
    """
    place = shipped(folder) or Path(folder)
    if not place.exists() and not place.parent.is_dir() and hub.is_remote(str(folder)):
        raise UsageError(
            f"there is no run folder {folder}",
            "a run folder, or um.from_pretrained for a model on the Hub",
            f"um.from_pretrained({str(folder)!r})",
        )
    if str(folder) in import_module("unmelt.recipe").__all__ and not place.exists():
        raise UsageError(
            f"there is no run folder {folder}, which is a recipe",
            "a run folder; the recipe makes one",
            f"um.recipe.{folder}().fit(out='runs/{folder}')",
        )
    meant = get_close_matches(Path(folder).name.lower(), names(), n=1)
    if meant and len(Path(folder).parts) == 1 and not place.exists():
        needed = f"a run folder, or a model that comes with unmelt: {', '.join(names())}"
        raise UsageError(f"there is no run folder {folder}", needed, f"um.load({meant[0]!r})")
    name = str(run_folder.read_about(place).get("facade"))
    if name not in FACADES:
        raise UsageError(f"{folder} holds a {name}", f"one of {', '.join(FACADES)}", nearest(name, FACADES))
    return Found(place, FACADES[name])


@checked("um.from_pretrained")
def from_pretrained(
    name_or_folder: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    device: str | torch.device = "auto",
) -> AnyModel:
    """Load the model in a folder, or else the one of this name on the Hub.

    Args:
        name_or_folder: A folder, or owner/name on the Hub.
        revision: Branch, tag or commit on the Hub.
        token: Access token, for private or gated models.
        cache_dir: Folder for downloaded files; None is the Hub client's own.
        device: The device for the weights; "auto" is a GPU where there is one.

    Returns:
        The model.

    Raises:
        UsageError: If there is no such folder or model, or it is damaged.
    """
    if Path(name_or_folder).exists() or not hub.is_remote(str(name_or_folder)):
        return load(name_or_folder, device)
    model = load(hub.fetch(str(name_or_folder), revision, token, cache_dir), device)
    model.folder = None  # the cache is not ours to write to
    return model

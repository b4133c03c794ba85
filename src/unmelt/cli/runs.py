"""Run folders as arguments of commands: the model in a folder, and its data where a command needs them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from unmelt.errors import UsageError

if TYPE_CHECKING:
    import torch

    from unmelt.model import Model, SpeechModel, TextModel
    from unmelt.model.load import AnyModel

RunFolder = Annotated[Path, "RUN"]


def load_model(folder: Path, device: str | torch.device) -> AnyModel:
    """Load the model of a run folder, or of a folder that diffusers saved a pipeline to.

    Args:
        folder: The folder; or the name of a model that comes with unmelt.
        device: Where to compute: auto, cpu or cuda.

    Returns:
        The model.

    Raises:
        UsageError: If it cannot be loaded.
    """
    from unmelt.model import load

    if not (folder / "model_index.json").is_file():
        return load(folder, device)
    from unmelt.interop import load_diffusers

    return load_diffusers(folder, device)


def refuse_autoencoder(folder: Path, model: AnyModel) -> Model | TextModel | SpeechModel:
    """Refuse an autoencoder and a vocoder, which make nothing from noise.

    Args:
        folder: The run folder, for the message.
        model: What is in it.

    Returns:
        The model.

    Raises:
        UsageError: If it is an autoencoder or a vocoder.
    """
    from unmelt.model import CodecModel, VocoderModel

    if isinstance(model, VocoderModel):
        raise UsageError(
            f"{folder}, a vocoder, which makes nothing from noise",
            "a model of speech that has it",
            f"unmelt train speech --vocoder {folder} --folder RECORDINGS --out runs/speech",
        )
    if isinstance(model, CodecModel):
        raise UsageError(
            f"{folder}, an autoencoder, which makes nothing from noise",
            "a model of its latents",
            f"unmelt train latents --codec {folder} --folder IMAGES --out runs/latents",
        )
    return model


def refuse_speech(folder: Path, model: Model | TextModel | SpeechModel) -> Model | TextModel:
    """Refuse a model of speech, whose samples need a text.

    Args:
        folder: The run folder, for the message.
        model: What is in it.

    Returns:
        The model.

    Raises:
        UsageError: If it is a model of speech.
    """
    from unmelt.model import SpeechModel

    if isinstance(model, SpeechModel):
        raise UsageError(f"{folder}, a model of speech", "what it is to say", f"unmelt say {folder} 'some text'")
    return model


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
    from unmelt.model import TextModel

    model = refuse_speech(folder, refuse_autoencoder(folder, load_model(folder, device)))
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

    model = refuse_speech(folder, refuse_autoencoder(folder, load(folder, device)))
    if isinstance(model, Model):
        raise UsageError(f"{folder}, which is no model of text", "a run of text", "unmelt train code --out runs/code")
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
